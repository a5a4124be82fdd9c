"""Delivery, explored by states: the real deciders of dispatchers, on tables in memory.

The tables have the conditions of the SQL statements (docs/model/README.md). Dispatchers are killed, answers of any
kind come late or are lost, leases end, and doorbells are lost, in any order. In the end the faults stop, and every
delivery is settled.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from superimap.db.presence import Absences
from superimap.dispatcher.lanes.lane import Lane
from superimap.dispatcher.lanes.limits import LaneLimits, NextStep, next_step
from superimap.domain import breaker
from superimap.domain.answers import RETRY_SCHEDULE_SECONDS, judge_answer
from superimap.domain.breaker import Observation
from superimap.domain.deliveries import AttemptOutcome, EndpointHealth

LEASE_SECONDS = 40.0
MAX_POSTS = 3
START = datetime(2026, 1, 1, tzinfo=UTC)
ACTIONS = ("record", "look", "look", "answer", "answer", "sweep", "pass_time", "kill", "join")
RARELY = st.sampled_from([False, False, False, True])
STATUSES = (200, 200, 200, 200, 200, 200, 302, 403, 410, 429, 500, 500, None)


@dataclass
class Lease:
    token: int
    until: float
    holder: int


@dataclass
class Delivery:
    due_at: float
    state: str = "pending"
    attempts: int = 0
    lease: Lease | None = None


@dataclass
class Post:
    """A POST in flight: the delivery, the token of its claim, and the setbacks of the endpoint at the claim."""

    delivery: int
    token: int
    setbacks: int


@dataclass
class Process:
    """A dispatcher: its lane, whether that runs, and its POSTs."""

    lane: Lane = field(default_factory=lambda: Lane(1))
    runs: bool = False
    has_ended: bool = False
    posts: list[Post] = field(default_factory=list)


class DeliveryStates(RuleBasedStateMachine):
    """Two or more dispatchers, one endpoint, its deliveries and their leases."""

    def __init__(self) -> None:
        super().__init__()
        self.now, self.tokens = 0.0, 0
        self.deliveries: list[Delivery] = []
        self.needs_sweep = False  # something was lost, or became due by the clock: no doorbell rings for it
        self.health = EndpointHealth()
        self.dispatchers: dict[int, Process] = {}
        self.absences = Absences(clock=lambda: self.now)
        self.limits = LaneLimits(max_lanes=10, posts_per_endpoint=MAX_POSTS, budget_seconds=20)

    @initialize()
    def start(self) -> None:
        self.join()
        self.join()

    # One rule for all actions: hypothesis leaves some rules out of most runs.
    @rule(data=st.data(), action=st.sampled_from(ACTIONS))
    def act(self, data: st.DataObject, action: str) -> None:
        getattr(self, action)(data)

    def join(self, _: st.DataObject | None = None) -> None:
        if len(self.dispatchers) < 4:
            self.dispatchers[len(self.dispatchers) + 1] = Process()

    def pass_time(self, data: st.DataObject) -> None:
        self.now += data.draw(st.sampled_from([0.5, 7.0, 30.0, 50.0, 400.0]))
        self.needs_sweep = True

    def alive(self) -> list[int]:
        return [id_ for id_, each in self.dispatchers.items() if not each.has_ended]

    def record(self, data: st.DataObject) -> None:
        self.deliveries.append(Delivery(self.now))
        if data.draw(RARELY):  # the wake-up is lost
            self.needs_sweep = True
        else:
            self.ring(data.draw(st.sampled_from(self.alive())))

    def kill(self, data: st.DataObject) -> None:
        if len(ids := self.alive()) > 1:
            self.dispatchers[data.draw(st.sampled_from(ids))].has_ended = self.needs_sweep = True

    def ring(self, id_: int) -> None:
        """As `Lanes._ring`."""
        each = self.dispatchers[id_]
        each.lane.ring()
        each.runs = each.runs or not each.posts or self.room(each) > 0

    def room(self, each: Process) -> int:
        return self.limits.post_room(
            lane_posts=len(each.posts), all_posts=len(each.posts), is_answering=True, has_unhealthy_slot=False
        )

    def look(self, data: st.DataObject) -> None:
        if ids := [id_ for id_ in self.alive() if self.dispatchers[id_].runs]:
            self.look_with(data.draw(st.sampled_from(ids)), data.draw(RARELY), data.draw(RARELY))

    def look_with(self, id_: int, is_rung_meanwhile: bool = False, is_answer_lost: bool = False) -> None:
        """One turn of `Lanes._claim_and_post`."""
        each = self.dispatchers[id_]
        lane, was_idle, room = each.lane, not each.posts, self.room(each)
        has_room = room > 0
        if lane.is_rung and has_room:
            lane.remove_mark()
            taken, room = self.claim(id_, room)
            if is_answer_lost:
                each.runs, self.needs_sweep = False, True
                return
            if is_rung_meanwhile:
                self.deliveries.append(Delivery(self.now))
                lane.ring()
            has_room = lane.is_rung or len(taken) < room
            lane.set_mark(lane.is_rung or len(taken) >= room)
            each.posts += taken
        step = next_step(is_rung=lane.is_rung, has_room=has_room, was_idle=was_idle, is_idle=not each.posts)
        each.runs = step is NextStep.CLAIM  # waiting is yielding: the next POST to end starts the lane again
        if step is NextStep.END:
            each.lane.set_mark(False)  # it is forgotten

    def claim(self, id_: int, limit: int) -> tuple[list[Post], int]:
        """The statement `claim_deliveries`: what it takes, and the room that it found."""
        health, now = self.health, self.moment
        is_closed = health.disabled_at is not None or (health.probe_at is not None and health.probe_at > now)
        width = 1 if health.breaker == "open" else min(MAX_POSTS, health.width or MAX_POSTS)
        room = 0 if is_closed else max(0, min(limit, width - len(self.leased())))
        due = [number for number in range(len(self.deliveries)) if self.is_due(number)][:room]
        if health.breaker == "open" and due:
            self.health = replace(health, probe_at=now + timedelta(seconds=LEASE_SECONDS))
        self.tokens += 1
        for number in due:
            self.deliveries[number].lease = Lease(self.tokens, self.now + LEASE_SECONDS, id_)
        return [Post(number, self.tokens, health.setbacks) for number in due], room

    @property
    def moment(self) -> datetime:
        return START + timedelta(seconds=self.now)

    def leased(self) -> list[Delivery]:
        return [each for each in self.deliveries if each.lease is not None and each.lease.until > self.now]

    def is_due(self, number: int) -> bool:
        each = self.deliveries[number]
        return each.state == "pending" and each.due_at <= self.now and each not in self.leased()

    def answer(self, data: st.DataObject) -> None:
        if ids := [id_ for id_ in self.alive() if self.dispatchers[id_].posts]:
            id_ = data.draw(st.sampled_from(ids))
            self.end_post(
                id_,
                data.draw(st.sampled_from(self.dispatchers[id_].posts)),
                data.draw(st.sampled_from(STATUSES)),
            )

    def end_post(self, id_: int, post: Post, status: int | None) -> None:
        each, delivery = self.dispatchers[id_], self.deliveries[post.delivery]
        judged = judge_answer(status, attempt=delivery.attempts + 1, chance=0.5)
        self.needs_sweep |= judged.outcome is not AttemptOutcome.DELIVERED
        if judged.signal is not None:
            observation = Observation(judged.signal, post.setbacks, judged.pause)
            self.health = breaker.next_health(self.health, observation, now=self.moment, max_posts=MAX_POSTS)
        self.settle(delivery, post.token, judged.outcome, judged.delay)
        each.posts.remove(post)
        if each.lane.is_rung:
            each.runs = True

    def settle(self, delivery: Delivery, token: int, outcome: AttemptOutcome, delay: float) -> None:
        """The statement `settle_attempts`."""
        holds = delivery.lease is not None and delivery.lease.token == token
        if outcome is AttemptOutcome.DELIVERED:
            delivery.state = "delivered"
        elif holds and delivery.state == "pending":
            delivery.attempts += 1
            if outcome is AttemptOutcome.RETRY:
                delivery.due_at = self.now + delay
            else:
                assert (
                    outcome is AttemptOutcome.ARCHIVE or delivery.attempts == len(RETRY_SCHEDULE_SECONDS) + 1
                )
                delivery.state = "failed"
        if holds:
            delivery.lease = None

    def sweep(self, data: st.DataObject) -> None:
        if ids := self.alive():
            self.sweep_with(data.draw(st.sampled_from(ids)))

    def sweep_with(self, id_: int) -> None:
        dead = {each.lease.holder for each in self.deliveries if each.lease} - {*self.alive()}
        absent = self.absences.record(dict.fromkeys(dead, 5.0))
        for each in self.deliveries:
            if each.lease and (each.lease.until <= self.now or each.lease.holder in absent):
                each.lease = None
        if any(map(self.is_due, range(len(self.deliveries)))):
            self.ring(id_)
        tokens = {post.token for each in self.alive() for post in self.dispatchers[each].posts}
        is_left = any(each.lease and each.lease.token not in tokens for each in self.deliveries)
        self.needs_sweep = is_left or self.health.breaker != "closed" or self.health.probe_at is not None

    @invariant()
    def no_more_posts_than_the_limit_are_leased(self) -> None:
        assert len(self.leased()) <= MAX_POSTS

    @invariant()
    def every_due_delivery_has_a_lane_that_will_look(self) -> None:
        """Unless it is for the sweeper: wake-ups alone suffice while nothing fails."""
        works = any(self.dispatchers[id_].runs or self.dispatchers[id_].posts for id_ in self.alive())
        is_due = any(map(self.is_due, range(len(self.deliveries))))
        assert works or not is_due or self.needs_sweep or self.health.disabled_at is not None

    def teardown(self) -> None:
        """Once the receiver answers, every delivery is settled within the longest wait of the schedule."""
        if self.health.disabled_at is not None:
            self.health = EndpointHealth()  # an operator enables the endpoint
        for _ in range(400):
            self.now += 30.0 if any(map(self.is_due, range(len(self.deliveries)))) else 1000.0
            for id_ in self.alive():
                self.sweep_with(id_)
                while self.dispatchers[id_].runs:
                    self.look_with(id_)
                for post in [*self.dispatchers[id_].posts]:
                    self.end_post(id_, post, 200)
        assert {each.state for each in self.deliveries} <= {"delivered", "failed"}
        assert not any(
            each.runs or each.posts for id_, each in self.dispatchers.items() if id_ in self.alive()
        )


TestDeliveryStates = DeliveryStates.TestCase
TestDeliveryStates.settings = settings(max_examples=100, stateful_step_count=50, deadline=None)
