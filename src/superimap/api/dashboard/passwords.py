"""Passwords of operators, hashed by Argon2id (RFC 9106) in threads, of which few run at once."""

import asyncio
from collections.abc import Callable
from functools import cache
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from superimap.api.errors import Problem

MAX_AT_ONCE = 2
"""Each hash takes 64 MiB and some 50 ms of a core."""
RETRY_SECONDS = 1

_Result = TypeVar("_Result")
_under_way = 0


@cache
def _hasher() -> PasswordHasher:
    return PasswordHasher()


@cache
def _hash_of_nobody() -> str:
    return _hasher().hash("nobody's password")


async def hash_password(password: str) -> str:
    """Return the hash to store. Raises Problem 429 if too many are computed at this moment."""
    return await _in_thread(_hasher().hash, password)


async def is_password(password: str, hashed: str | None) -> bool:
    """Whether this is the password. Without a hash it takes as long, and is False. Raises Problem 429."""
    return await _in_thread(_verify, hashed, password)


def _verify(hashed: str | None, password: str) -> bool:
    try:
        return _hasher().verify(hashed or _hash_of_nobody(), password) and hashed is not None
    except (VerificationError, InvalidHashError):
        return False


async def _in_thread(work: Callable[..., _Result], *values: object) -> _Result:
    global _under_way  # noqa: PLW0603
    if _under_way >= MAX_AT_ONCE:
        raise Problem(
            429, "Too many people sign in at this moment. Try again in a second.",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )  # fmt: skip
    _under_way += 1
    try:
        return await asyncio.to_thread(work, *values)
    finally:
        _under_way -= 1
