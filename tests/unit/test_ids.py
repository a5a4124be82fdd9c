"""Ids: UUIDs version 7, which increase with time."""

from superimap.core.ids import uuid7


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
