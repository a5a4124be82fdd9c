"""Operators whose rows are locked: two requests at once, and tries of the password in an open session."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import httpx
from sqlalchemy import select, text, update

from superimap.db.models import Operator, OperatorToken
from superimap.db.operators import accounts
from superimap.domain.operators import MAX_REFUSALS
from tests.support.api import ApiWorld
from tests.support.dashboard import PASSWORD, browser, operator, signed_in

OWNER = "owner@example.com"
WAITS = """
    SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database())
"""


async def meanwhile(world: ApiWorld, request: Awaitable[httpx.Response], **values: Any) -> httpx.Response:
    """Change the owner in a transaction for which the request waits; return its answer."""
    async with world.sessionmaker.begin() as db:
        await accounts.by_email(db, OWNER, lock=True)
        answer = asyncio.ensure_future(request)
        async with asyncio.timeout(10):
            while True:
                async with world.sessionmaker.begin() as other:
                    if await other.scalar(text(WAITS)):
                        break
        await db.execute(update(Operator).values(**values))
    return await answer


async def test_what_was_changed_while_a_request_waited_for_the_lock_counts(world):
    owner = await signed_in(world)
    wrong = {"form": await owner.token("/confirm"), "password": "wrong"}
    token = {"form": await owner.token("/account/tokens/new"), "name": "cron", "role": "owner", "days": "5"}

    tried = await meanwhile(world, owner.client.post("/admin/confirm", data=wrong), refusals=2)
    made = await meanwhile(world, owner.client.post("/admin/account/tokens/new", data=token), role="viewer")

    async with world.sessionmaker.begin() as db:
        locked_until = await db.scalar(select(Operator.locked_until))
        tokens = (await db.scalars(select(OperatorToken.role))).all()
    assert (tried.status_code, locked_until is not None) == (422, True)
    assert (made.status_code, tokens) == (422, [])


async def test_the_present_password_cannot_be_tried_freely_in_an_open_session(world):
    await operator(world)
    owner = browser(world)
    await owner.client.post("/admin/sign-in", data={"email": OWNER, "password": PASSWORD})
    new = {"password": "nine loud donkeys", "again": "nine loud donkeys"}

    for _ in range(MAX_REFUSALS):
        await owner.post("/account/password", new | {"present": "wrong"}, page="/account")
    right = await owner.post("/account/password", new | {"present": PASSWORD}, page="/account")

    assert (right.status_code, "locked" in right.text) == (422, True)
