"""Memory of all connections together is bounded, whatever their servers send or announce."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.idler.limits import ByteLimits
from superimap.idler.rooms import RoomPool, SessionRoom
from superimap.imap.errors import LimitExceeded

KIB = 1024


class Connection:
    """A connection that may be ended."""

    def __init__(
        self, pool: RoomPool, limits: ByteLimits, host: str = "imap.example.com", *, is_named: bool = False
    ) -> None:
        self.room = SessionRoom(pool, limits.for_host(host, is_named=is_named), host, is_named=is_named)
        self.room.open(self.end)
        self.error: LimitExceeded | None = None

    def end(self, error: LimitExceeded) -> None:
        self.error = error
        self.room.hold(0)


async def test_what_a_reservation_covers_takes_nothing_else():
    pool, limits = RoomPool(), ByteLimits(1000 * KIB)
    connection = Connection(pool, limits)

    held = await connection.room.acquire(300 * KIB)
    connection.room.hold(301 * KIB, announced=300 * KIB)
    assert pool.held_bytes == 0
    assert limits.for_host("other").has_room(500 * KIB)

    connection.room.hold(0)
    connection.room.release(held)
    assert limits.for_host("imap.example.com").has_room(500 * KIB)


def test_a_literal_beyond_the_reservation_is_admitted_only_if_there_is_room():
    pool, limits = RoomPool(), ByteLimits(1000 * KIB)
    first, second = Connection(pool, limits), Connection(pool, limits)

    first.room.hold(500 * KIB, announced=499 * KIB)
    with pytest.raises(LimitExceeded) as caught:
        second.room.hold(400 * KIB, announced=399 * KIB)
    assert caught.value.announced == 399 * KIB

    second.room.hold(0)
    first.room.hold(0)
    second.room.hold(400 * KIB, announced=399 * KIB)


def test_a_full_pool_ends_the_largest_connection_of_the_host_that_holds_most():
    pool, limits = RoomPool(300 * KIB), ByteLimits(10)
    flood = [Connection(pool, limits, "flood.example.com") for _ in range(10)]
    good = [Connection(pool, limits, "imap.example.com") for _ in range(4)]

    for connection in good:
        connection.room.hold(20 * KIB)
    for size, connection in enumerate(flood, start=25):
        connection.room.hold(size * KIB)

    assert not any(connection.error for connection in good)
    assert [connection for connection in flood if connection.error]
    assert pool.held_bytes <= 300 * KIB


def test_servers_that_people_named_get_half_of_the_pool_together():
    pool, limits = RoomPool(200 * KIB), ByteLimits(10)
    named = [Connection(pool, limits, f"host{number}", is_named=True) for number in range(10)]

    for connection in named:
        connection.room.hold(30 * KIB)
    Connection(pool, limits).room.hold(60 * KIB)

    assert 0 < sum(connection.error is not None for connection in named) <= 7
    assert pool.held_bytes <= 160 * KIB


def test_search_results_count_in_the_pool_and_not_in_the_limit():
    pool, limits = RoomPool(), ByteLimits(100 * KIB)
    connection = Connection(pool, limits)

    connection.room.hold(0, results=8000 * KIB)

    assert pool.held_bytes == 8000 * KIB
    assert limits.for_host("imap.example.com").has_room(50 * KIB)


steps = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 400 * KIB), st.integers(0, 50 * KIB), st.booleans()),
    max_size=60,
)


@given(steps)
def test_no_sequence_of_claims_exceeds_the_pool_or_leaks(steps):
    pool, limits = RoomPool(256 * KIB), ByteLimits(1000 * KIB)
    connections = [
        Connection(pool, limits, f"host{number % 4}", is_named=number % 4 == 3) for number in range(10)
    ]
    for number, size, results, is_announced in steps:
        connection = connections[number]
        try:
            connection.room.hold(size, results=results, announced=size if is_announced else None)
        except LimitExceeded:
            connection.room.hold(0)
        assert pool.held_bytes <= 256 * KIB

    for connection in connections:
        connection.room.hold(0)
    assert pool.held_bytes == 0
    assert limits.for_host("host0").has_room(500 * KIB)
    assert limits.for_host("host3", is_named=True).has_room(500 * KIB)
