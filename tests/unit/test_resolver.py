"""Names whose servers do not answer block no other name."""

import asyncio
import socket
import threading
from collections.abc import Iterator

import pytest

from superimap.core import resolver as module
from superimap.core.resolver import MAX_NAMED_LOOKUPS, MAX_SLOW_LOOKUPS, Resolver


class Names:
    """A system resolver that does not answer for some names until it is released."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.released = threading.Event()

    def getaddrinfo(self, host, port, *_more, **_options):
        self.asked.append(host)
        if host.startswith("dead"):
            self.released.wait(20)
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port))]


@pytest.fixture
def names(monkeypatch) -> Iterator[Names]:
    names = Names()
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    yield names
    names.released.set()


async def until(condition) -> None:
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.005)


async def test_names_that_people_entered_take_half_of_the_seats_at_most(names):
    resolver = Resolver()
    dead = [
        asyncio.create_task(resolver.look_up(f"dead{number}", 993, is_named=True))
        for number in range(3 * MAX_NAMED_LOOKUPS)
    ]
    await until(lambda: len(names.asked) >= MAX_NAMED_LOOKUPS)

    async with asyncio.timeout(5):
        found = await resolver.look_up("imap.example.com", 993)

    assert found[0][4] == ("192.0.2.1", 993)
    assert len(names.asked) == MAX_NAMED_LOOKUPS + 1
    names.released.set()
    assert all(isinstance(each, OSError) for each in await asyncio.gather(*dead, return_exceptions=True))


async def test_all_who_ask_for_a_host_share_one_lookup_and_may_give_up(names):
    resolver = Resolver()
    asking = [asyncio.create_task(resolver.look_up("dead", 993, is_named=True)) for _ in range(50)]
    await until(lambda: names.asked)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)

    again = asyncio.create_task(resolver.look_up("dead", 993, is_named=True))
    await asyncio.sleep(0)
    names.released.set()

    with pytest.raises(OSError, match="no answer"):
        await again
    assert names.asked == ["dead"]


async def test_names_that_were_slow_leave_seats_to_names_that_were_not(names, monkeypatch):
    monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
    resolver = Resolver()
    names.released.set()
    hosts = [f"dead{number}" for number in range(MAX_NAMED_LOOKUPS)]
    await asyncio.gather(
        *(resolver.look_up(host, 993, is_named=True) for host in hosts), return_exceptions=True
    )
    names.released.clear()
    names.asked.clear()

    dead = [asyncio.create_task(resolver.look_up(host, 993, is_named=True)) for host in hosts]
    await until(lambda: len(names.asked) >= MAX_SLOW_LOOKUPS)
    async with asyncio.timeout(5):
        await resolver.look_up("mail.example.org", 993, is_named=True)

    assert len(names.asked) == MAX_SLOW_LOOKUPS + 1
    names.released.set()
    await asyncio.gather(*dead, return_exceptions=True)


async def test_a_name_that_was_slow_once_overtakes_those_that_never_answer_and_recovers(names, monkeypatch):
    resolver = Resolver()
    hosts = [f"dead{number}" for number in range(3 * MAX_SLOW_LOOKUPS)]

    async def look_up(*those: str) -> None:
        asking = (resolver.look_up(host, 993, is_named=True) for host in those)
        await asyncio.gather(*asking, return_exceptions=True)

    async def be_slow(*those: str) -> None:
        names.released.set()
        monkeypatch.setattr(module, "SLOW_SECONDS", 0.0)
        await look_up(*those)
        monkeypatch.setattr(module, "SLOW_SECONDS", 30.0)
        names.released.clear()
        names.asked.clear()

    await be_slow(*hosts)
    await be_slow(*hosts, "mail.example.org")
    dead = asyncio.create_task(look_up(*hosts))
    await until(lambda: len(names.asked) == MAX_SLOW_LOOKUPS)
    once_slow = asyncio.create_task(look_up("mail.example.org"))
    await asyncio.sleep(0)
    names.released.set()
    await asyncio.gather(dead, once_slow)
    assert names.asked.index("mail.example.org") == MAX_SLOW_LOOKUPS  # the first that gets a seat

    await be_slow(*hosts)
    dead = asyncio.create_task(look_up(*hosts))
    await until(lambda: len(names.asked) == MAX_SLOW_LOOKUPS)
    async with asyncio.timeout(5):
        await look_up("mail.example.org")  # has a seat among the others again
    names.released.set()
    await dead


async def test_a_slow_name_that_is_not_waited_for_any_more_leaves_no_seat_taken():
    seats = module.RankedSeats(1)
    async with seats.take(1):
        waiting = [asyncio.create_task(_hold(seats, rank)) for rank in (3, 2, 1)]
        await asyncio.sleep(0)
        waiting[2].cancel()
        await asyncio.sleep(0)
    waiting[1].cancel()  # in the moment in which it has got the seat
    await asyncio.gather(*waiting, return_exceptions=True)

    async with asyncio.timeout(5):
        assert not waiting[0].cancelled()
        await _hold(seats, 9)


async def _hold(seats: module.RankedSeats, rank: int) -> None:
    async with seats.take(rank):
        await asyncio.sleep(0)
