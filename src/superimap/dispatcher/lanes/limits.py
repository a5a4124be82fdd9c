"""Limits of lanes: slots, POSTs in flight, and when a lane claims, waits, yields or ends. Pure decisions."""

from __future__ import annotations

from enum import Enum

PARTNER_SLOTS_DIVISOR = 5
"""One partner holds at most a fifth of the slots."""

UNHEALTHY_SLOTS_DIVISOR = 4
"""All unhealthy endpoints together hold at most a quarter of the slots."""

MAX_UNPROVEN_POSTS = 2
"""POSTs in flight to an endpoint that did not answer the last POST, or that is new to this process. More than one,
so that a single mail takes a single claim."""

LANE_YIELD_SECONDS = 0.25
"""A lane yields its slot if none of its POSTs ends for so long."""

CROWDED_LANE_YIELD_SECONDS = 0.02
"""The same while more than half of all lanes run: others need the slot."""


class LaneLimits:
    """The limits of one process, from its settings."""

    def __init__(self, *, max_lanes: int, posts_per_endpoint: int, budget_seconds: float) -> None:
        """`max_lanes` is the number of slots. A lane that has run for `budget_seconds` rings its own doorbell and
        ends, so that another endpoint gets the slot."""
        self.max_lanes = max_lanes
        self.posts_per_endpoint = posts_per_endpoint
        self.budget_seconds = budget_seconds
        self.max_posts = max_lanes * posts_per_endpoint
        self.partner_slots = max(1, max_lanes // PARTNER_SLOTS_DIVISOR)
        self.unhealthy_slots = max(1, max_lanes // UNHEALTHY_SLOTS_DIVISOR)

    def post_room(
        self, *, lane_posts: int, all_posts: int, is_answering: bool, has_unhealthy_slot: bool
    ) -> int:
        """How many more POSTs a lane may start; none if this is 0 or less.

        `lane_posts` and `all_posts` are those in flight, of the lane and of the process. Where claims overlap, the
        process has a few POSTs too many. The POSTs of an unhealthy endpoint are limited by its breaker instead.
        """
        limit = self.posts_per_endpoint
        is_proven = is_answering and all_posts < self.max_posts // 2
        if not is_proven and not has_unhealthy_slot:
            limit = min(limit, MAX_UNPROVEN_POSTS)
        return min(limit - lane_posts, self.max_posts - all_posts)

    def yield_seconds(self, lanes: int) -> float:
        """Seconds that a lane waits for one of its POSTs to end before it yields, with `lanes` running."""
        return CROWDED_LANE_YIELD_SECONDS if lanes > self.max_lanes // 2 else LANE_YIELD_SECONDS


class NextStep(Enum):
    """What a lane does after it has looked for deliveries."""

    CLAIM = "claim"
    WAIT = "wait"
    END = "end"


def next_step(*, is_rung: bool, has_room: bool, was_idle: bool, is_idle: bool) -> NextStep:
    """What a lane does next. `has_room`: a claim could give more now.

    `was_idle` and `is_idle`: the lane had no POST in flight before the look, and has none after it. A lane that is
    rung and idle, without room, ends if it was idle before too: POSTs of other processes fill the endpoint's
    limit, and those processes look again.
    """
    if is_rung and has_room:
        return NextStep.CLAIM
    if is_idle and (was_idle or not is_rung):
        return NextStep.END
    return NextStep.WAIT
