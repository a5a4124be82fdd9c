"""The memory of API keys: for how long, how many, and what it never remembers."""

from __future__ import annotations

import asyncio
import math

import pytest

from superimap.api import known_keys
from superimap.api.known_keys import KNOWN_SECONDS, UNKNOWN_SECONDS, KnownKeys
from superimap.db.accounts.callers import Caller, CallingPartner, UsedKey
from superimap.domain.api_keys import KeyRights


class Table:
    """The keys of a database, which counts the looks."""

    def __init__(self) -> None:
        self.now = 100.0
        self.looks = 0
        self.callers: dict[str, Caller] = {}
        self.known = KnownKeys(clock=lambda: self.now)

    def add(self, api_key: str, *, valid_seconds: float = math.inf) -> None:
        key = UsedKey(len(self.callers), ["read"], [], None)
        self.callers[api_key] = Caller(CallingPartner(1), key, None, valid_seconds, KeyRights(frozenset()))

    async def find(self, api_key: str, *, is_fresh: bool = False) -> Caller | None:
        async def look_up() -> Caller | None:
            self.looks += 1
            return self.callers.get(api_key)

        return await self.known.find(api_key, look_up, is_fresh=is_fresh)


@pytest.fixture
def table():
    made = Table()
    made.add("valid")
    return made


async def test_a_key_is_read_once_a_second(table):
    for _ in range(5):
        assert await table.find("valid") is not None
    table.now += KNOWN_SECONDS - 0.01
    await table.find("valid")
    looks = table.looks
    table.now += 0.01
    await table.find("valid")

    assert (looks, table.looks) == (1, 2)


async def test_a_key_that_is_retired_works_for_a_second_at_most_however_often_it_is_used(table):
    await table.find("valid")
    table.callers.clear()
    for _ in range(7):
        table.now += KNOWN_SECONDS / 8
        await table.find("valid")
    table.now += KNOWN_SECONDS / 8

    assert KNOWN_SECONDS <= 1.0
    assert await table.find("valid") is None


async def test_a_key_is_not_used_after_its_end(table):
    table.add("ending", valid_seconds=0.3)
    await table.find("ending")
    del table.callers["ending"]
    table.now += 0.3

    assert await table.find("ending") is None


async def test_an_unknown_key_is_looked_up_once_in_ten_seconds(table):
    for _ in range(5):
        assert await table.find("unknown") is None
        table.now += UNKNOWN_SECONDS / 5 - 0.01

    assert table.looks == 1


async def test_random_keys_take_bounded_memory_and_displace_no_valid_key(table, monkeypatch):
    monkeypatch.setattr(known_keys, "MAX_UNKNOWN_KEYS", 10)
    await table.find("valid")
    for number in range(100):
        await table.find(f"random {number}")
    looks = table.looks
    await table.find("valid")

    assert table.looks == looks
    assert len(table.known._unknown) == 10


async def test_of_too_many_keys_the_one_that_was_read_longest_ago_is_forgotten(table, monkeypatch):
    monkeypatch.setattr(known_keys, "MAX_KNOWN_KEYS", 2)
    for name in "ab":
        table.add(name)
    for name in ("valid", "a", "b"):
        await table.find(name)
    looks = table.looks
    await table.find("b")
    await table.find("a")
    kept = table.looks
    await table.find("valid")

    assert (kept - looks, table.looks - kept) == (0, 1)


async def test_a_fresh_look_reads_the_key_and_is_remembered(table):
    await table.find("valid")
    await table.find("valid", is_fresh=True)
    await table.find("valid")

    assert table.looks == 2


async def test_a_look_that_began_before_keys_were_forgotten_is_not_remembered(table):
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow() -> Caller | None:
        begun.set()
        await go_on.wait()
        return table.callers["valid"]

    looking = asyncio.create_task(table.known.find("valid", slow))
    await begun.wait()
    table.known.forget()
    go_on.set()
    await looking
    del table.callers["valid"]

    assert await table.find("valid") is None
