"""Decisions of lanes: how many POSTs, when to yield, and what to do after a look."""

from __future__ import annotations

import pytest

from superimap.dispatcher.lanes.limits import (
    CROWDED_LANE_YIELD_SECONDS,
    LANE_YIELD_SECONDS,
    MAX_UNPROVEN_POSTS,
    LaneLimits,
    NextStep,
    next_step,
)

LIMITS = LaneLimits(max_lanes=20, posts_per_endpoint=10, budget_seconds=20)


@pytest.mark.parametrize(
    ("max_lanes", "partner_slots", "unhealthy_slots"), [(1, 1, 1), (4, 1, 1), (20, 4, 5), (100, 20, 25)]
)
def test_shares_of_the_slots(max_lanes: int, partner_slots: int, unhealthy_slots: int):
    limits = LaneLimits(max_lanes=max_lanes, posts_per_endpoint=10, budget_seconds=20)

    assert (limits.partner_slots, limits.unhealthy_slots) == (partner_slots, unhealthy_slots)


@pytest.mark.parametrize(
    ("lane_posts", "all_posts", "is_answering", "has_unhealthy_slot", "room"),
    [
        (0, 0, True, False, 10),
        (4, 4, True, False, 6),
        (10, 10, True, False, 0),
        (0, 0, False, False, MAX_UNPROVEN_POSTS),  # new, or did not answer
        (2, 2, False, False, 0),
        (5, 5, False, False, -3),  # answered until just now
        (0, 99, True, False, 10),
        (0, 100, True, False, MAX_UNPROVEN_POSTS),  # half of all 200 POSTs are in flight
        (0, 0, False, True, 10),  # the breaker limits the POSTs of an unhealthy endpoint
        (0, 195, False, True, 5),
        (0, 200, True, True, 0),
        (0, 203, True, True, -3),  # claims overlapped
    ],
)
def test_room_for_posts(
    lane_posts: int, all_posts: int, is_answering: bool, has_unhealthy_slot: bool, room: int
):
    assert room == LIMITS.post_room(
        lane_posts=lane_posts,
        all_posts=all_posts,
        is_answering=is_answering,
        has_unhealthy_slot=has_unhealthy_slot,
    )


@pytest.mark.parametrize(
    ("lanes", "seconds"),
    [
        (1, LANE_YIELD_SECONDS),
        (10, LANE_YIELD_SECONDS),
        (11, CROWDED_LANE_YIELD_SECONDS),
        (20, CROWDED_LANE_YIELD_SECONDS),
    ],
)
def test_lanes_yield_sooner_when_more_than_half_of_them_run(lanes: int, seconds: float):
    assert LIMITS.yield_seconds(lanes) == seconds


@pytest.mark.parametrize("was_idle", [False, True])
@pytest.mark.parametrize("is_idle", [False, True])
def test_a_rung_lane_with_room_claims_again(was_idle: bool, is_idle: bool):
    assert next_step(is_rung=True, has_room=True, was_idle=was_idle, is_idle=is_idle) is NextStep.CLAIM


@pytest.mark.parametrize(
    ("is_rung", "has_room", "was_idle", "is_idle", "step"),
    [
        (False, True, False, True, NextStep.END),  # nothing is due, and nothing in flight
        (False, True, True, True, NextStep.END),
        (False, False, False, True, NextStep.END),
        (False, False, True, True, NextStep.END),
        (True, False, True, True, NextStep.END),  # other processes fill the limit, and look again
        (True, False, False, True, NextStep.WAIT),  # its own POSTs filled the limit and have just ended
        (True, False, False, False, NextStep.WAIT),
        (True, False, True, False, NextStep.WAIT),
        (False, True, False, False, NextStep.WAIT),
        (False, True, True, False, NextStep.WAIT),
        (False, False, False, False, NextStep.WAIT),
        (False, False, True, False, NextStep.WAIT),
    ],
)
def test_step_after_a_look_without_more_to_claim(
    is_rung: bool, has_room: bool, was_idle: bool, is_idle: bool, step: NextStep
):
    assert next_step(is_rung=is_rung, has_room=has_room, was_idle=was_idle, is_idle=is_idle) is step
