"""The walk through all shards: slices of bounded size, each shard once, and no sooner than the interval."""

import pytest

from superimap.dispatcher.shard_walk import FIRST_SLICE_SHARDS, SLICE_USERS, ShardWalk

SHARDS = 4096


def walk_once(walk: ShardWalk, now: float, users_per_shard: float) -> list[range]:
    slices = []
    while (piece := walk.next_slice(now)) is not None:
        slices.append(piece)
        if walk.advance(piece, users=int(len(piece) * users_per_shard)):
            break
    return slices


@pytest.mark.parametrize("users_per_shard", [0, 0.01, 1, 73, 700, 50_000])
def test_each_walk_visits_each_shard_once_in_slices_of_bounded_size(users_per_shard):
    walk = ShardWalk(interval=30)

    for now in (0.0, 30.0):
        slices = walk_once(walk, now, users_per_shard)

        assert [shard for piece in slices for shard in piece] == list(range(SHARDS))
        assert len(slices[0]) == FIRST_SLICE_SHARDS or now
        assert all(len(piece) == 1 or len(piece) * users_per_shard <= SLICE_USERS for piece in slices[1:])


def test_few_users_take_two_slices():
    assert len(walk_once(ShardWalk(interval=30), 0.0, 0.5)) == 2


def test_a_walk_starts_an_interval_after_the_start_of_the_one_before():
    walk = ShardWalk(interval=30)
    first = walk.next_slice(100.0)
    walk.advance(first, users=0)
    walk.advance(walk.next_slice(110.0), users=0)

    assert walk.next_slice(129.0) is None
    assert walk.next_slice(130.0) is not None


def test_a_slice_that_was_not_done_is_given_again_and_a_restart_begins_with_the_first_shard():
    walk = ShardWalk(interval=30)
    walk.advance(walk.next_slice(0.0), users=10_000)
    assert walk.next_slice(0.0) == walk.next_slice(0.0) == range(128, 256)

    walk.restart(not_before=60.0)

    assert walk.next_slice(59.0) is None
    assert walk.next_slice(60.0) == range(128)
