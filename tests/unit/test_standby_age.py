"""Age of a standby: from positions in the log, without the clock of a server."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from superimap.db.replication import ServerPosition, StandbyAge

STARTED = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)


def primary(position: int) -> ServerPosition:
    return ServerPosition(1, STARTED, position)


def standby(position: int | None, *, system: int = 1, started: datetime = LATER) -> ServerPosition:
    return ServerPosition(system, started, position)


@pytest.fixture
def age() -> StandbyAge:
    return StandbyAge(memory=5)


def test_a_standby_that_shows_everything_is_as_old_as_the_check(age):
    age.record(primary(100), standby(100), at=10)

    assert age.seconds(10) == 0
    assert age.seconds(12.5) == 2.5


def test_before_the_first_check_its_age_is_unknown(age):
    assert age.seconds(10) == float("inf")


def test_it_is_as_old_as_the_last_position_that_it_shows(age):
    for at, written, shown in ((10, 100, 100), (11, 200, 150), (12, 300, 200)):
        age.record(primary(written), standby(shown), at=at)

    assert age.seconds(12) == 1


def test_an_interrupted_replication_makes_it_older(age):
    for at in range(10, 20):
        age.record(primary(at), standby(12), at=at)

        assert age.seconds(at) == (max(0, at - 12) if at <= 17 else float("inf"))


def test_nothing_written_makes_it_no_older(age):
    for at in range(10, 100, 10):
        age.record(primary(100), standby(100), at=at)

    assert age.seconds(90) == 0


@pytest.mark.parametrize(
    "other",
    [standby(900, system=2), standby(None), standby(99)],
    ids=["of another cluster", "promoted beside the primary", "behind"],
)
def test_what_is_no_standby_of_the_primary_or_behind_it_is_not_used(age, other):
    age.record(primary(100), other, at=10)

    assert age.seconds(10) == float("inf")


def test_the_primary_itself_is_used(age):
    age.record(primary(100), standby(None, started=STARTED), at=10)

    assert age.seconds(10) == 0


def test_after_a_failover_that_lost_some_of_the_log_earlier_positions_say_nothing(age):
    age.record(primary(100), standby(100), at=10)
    age.record(primary(50), standby(40), at=11)

    assert age.seconds(11) == float("inf")


def test_after_an_error_it_is_not_used_until_the_next_check(age):
    age.record(primary(100), standby(100), at=10)
    age.forget()
    assert age.seconds(10) == float("inf")

    age.record(primary(100), standby(100), at=11)
    assert age.seconds(11) == 0
