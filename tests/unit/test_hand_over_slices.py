"""Slices of a hand-over: as many sessions as receivers log in, and any number of users that have none."""

from __future__ import annotations

import pytest

from superimap.idler.balance import Move
from superimap.idler.hand_over import MAX_SLICE_SHARDS, first_slice


def moves(*sessions: int) -> list[Move]:
    """A hand-over of a shard with 2,441 users for each of these numbers of sessions."""
    return [
        Move(shard, target=2, users=2441, max_users=10_000, max_shards=5, sessions=count)
        for shard, count in enumerate(sessions)
    ]


@pytest.mark.parametrize(
    ("sessions", "room", "shards"),
    [
        ((2441, 2441), 100, 1),  # one at least
        ((60, 40, 1), 100, 2),
        ((60, 40, 0, 0), 100, 4),
        ((2441, 0, 0, 2441, 0), 0.1, 3),  # those without sessions do not wait for the others
        ((0,) * 600, 0.1, MAX_SLICE_SHARDS),
        ((), 100, 0),
    ],
)
def test_a_slice_ends_before_it_ends_more_sessions_than_it_may(sessions, room, shards):
    planned = moves(*sessions)

    assert first_slice(planned, room) == planned[:shards]
