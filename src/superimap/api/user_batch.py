"""Batches of users: the users of a request, each read by itself, and the description of their results."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from typing import TypeVar
from weakref import WeakValueDictionary

from fastapi import Request
from pydantic import ValidationError

from superimap.api.errors import Problem, field_faults, invalid_fields, problem_of
from superimap.api.request_body import parse_fields
from superimap.api.schemas.accounts import NewUser, UserOut
from superimap.api.schemas.common import ProblemOut
from superimap.api.schemas.user_batches import MAX_BATCH_USERS, BatchOutcome, BatchResult
from superimap.core.errors import SuperImapError
from superimap.db.accounts.new_users import ShownUser, UserExists

USERS_PER_TURN = 50
"""Users that are read or described in one turn of the event loop, about 5 ms."""

Item = TypeVar("Item")


class BatchTurns:
    """Turns of the batches of each partner in this process.

    Batches of a partner wait in PostgreSQL for what is left of its quota. One at a time holds one connection; all
    of them would hold those that other partners need.
    """

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()

    def of(self, partner_id: int) -> asyncio.Lock:
        """Return the lock that a batch of the partner holds while it runs."""
        return self._locks.setdefault(partner_id, asyncio.Lock())


async def read_batch(request: Request) -> list[NewUser | Problem]:
    """Read the users of the body; one that is malformed is the Problem with it. Raises Problem for the body."""
    body = await request.body()
    fields = parse_fields(request.headers.get("content-type", ""), body) if body else {}
    users = fields.get("users")
    if "users" not in fields:
        raise invalid_fields([("users", "is missing")])
    if not isinstance(users, list) or not 1 <= len(users) <= MAX_BATCH_USERS:
        raise invalid_fields([("users", f"must be a list of 1 to {MAX_BATCH_USERS:,} users")])
    return [_read_user(user) async for user in _in_turns(users)]


async def describe_results(
    results: Sequence[ShownUser | SuperImapError], show: Callable[[ShownUser], UserOut]
) -> list[BatchResult]:
    """Return the results as the API shows them, in the order of the users."""
    return [_describe(index, result, show) async for index, result in _in_turns(list(enumerate(results)))]


async def _in_turns(items: Sequence[Item]) -> AsyncIterator[Item]:
    """Yield the items, and let other requests run in between."""
    for index, item in enumerate(items, 1):
        yield item
        if index % USERS_PER_TURN == 0:
            await asyncio.sleep(0)


def _read_user(user: object) -> NewUser | Problem:
    if not isinstance(user, dict):
        return invalid_fields([("users", 'must contain objects, such as {"tag": "MY_USER"}')])
    try:
        return NewUser.model_validate(user)
    except ValidationError as error:
        return invalid_fields(field_faults(error.errors(include_input=False, include_url=False)))


def _describe(
    index: int, result: ShownUser | SuperImapError, show: Callable[[ShownUser], UserOut]
) -> BatchResult:
    if isinstance(result, ShownUser):
        return BatchResult(index=index, outcome=BatchOutcome.CREATED, user=show(result), problem=None)
    problem = problem_of(result)
    if problem is None:
        raise result
    outcome = BatchOutcome.INVALID if problem.status == 422 else BatchOutcome.REFUSED
    user = None
    if isinstance(result, UserExists):
        outcome, user = BatchOutcome.EXISTS, show(result.user)
    return BatchResult(
        index=index, outcome=outcome, user=user, problem=ProblemOut.model_validate(problem.body())
    )
