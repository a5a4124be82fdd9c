"""Ids: UUIDs version 7, which increase with time."""

from datetime import UTC, datetime
from uuid import UUID

from superimap.core.ids import derived_uuid7, time_of, uuid7


def test_ids_have_version_7():
    made = uuid7()

    assert made.version == 7
    assert made.variant == "specified in RFC 4122"


def test_ids_increase_with_time(monkeypatch):
    moments = iter(range(10**18, 10**18 + 50 * 10**6, 10**6))
    monkeypatch.setattr("superimap.core.ids.time.time_ns", lambda: next(moments))
    made = [uuid7() for _ in range(50)]

    assert made == sorted(made)
    assert len(set(made)) == 50


def test_an_id_says_the_time_by_which_it_is_sorted():
    when = datetime(2026, 9, 21, 12, 30, 15, tzinfo=UTC)

    assert time_of(derived_uuid7(when, 7, b"x" * 10)) == when.replace(microsecond=7000)
    now = time_of(uuid7())
    assert now is not None and abs((now - datetime.now(UTC)).total_seconds()) < 5
    assert time_of(UUID(int=2**128 - 1)) is None
    assert time_of(UUID("ffffffff-ffff-7fff-8fff-ffffffffffff")) is None
