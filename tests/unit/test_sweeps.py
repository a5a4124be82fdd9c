"""Decisions about sweeps: what is next, which mails are in range, and what is left to look at."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain import sweeps
from superimap.domain.sweeps import Proceed, Stop, SweepDirection, SweepFacts, SweepState, Wait
from superimap.domain.users import UserStatus
from superimap.imap.uid_ranges import UidRanges

WELL = SweepFacts(
    SweepState.RUNNING,
    is_archived=False,
    is_connected=True,
    status=UserStatus.WATCHING,
    is_held=False,
    has_url=True,
    is_disabled=False,
    is_breaker_open=False,
    owed=0,
)
FACTS = st.builds(
    SweepFacts,
    state=st.sampled_from(SweepState),
    is_archived=st.booleans(),
    is_connected=st.booleans(),
    status=st.sampled_from(UserStatus),
    is_held=st.booleans(),
    has_url=st.booleans(),
    is_disabled=st.booleans(),
    is_breaker_open=st.booleans(),
    owed=st.integers(0, 6),
    dry_run=st.booleans(),
)
UIDS = st.sets(st.integers(1, 2**63 - 1), max_size=60)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        ({}, Proceed()),
        ({"owed": 5}, Proceed()),
        ({"owed": 6}, Wait(10.0, "earlier webhooks of the endpoint are sent first", is_brief=True)),
        ({"state": SweepState.PAUSED}, Stop(SweepState.PAUSED)),
        ({"is_archived": True}, Stop(SweepState.CANCELLED, "the user is archived")),
        ({"status": UserStatus.THROTTLED}, Wait(60.0, "the mail server requests a pause")),
        ({"status": UserStatus.CATCHING_UP}, Proceed()),
        ({"is_disabled": True}, Wait(30.0, "the new_mail endpoint is disabled")),
        ({"has_url": False, "dry_run": True}, Proceed()),
    ],
)
def test_the_step_that_follows(change, step):
    assert sweeps.next_step(dataclasses.replace(WELL, **change)) == step


@given(FACTS)
def test_every_step_is_a_batch_of_a_sweep_that_runs_a_wait_with_a_reason_or_the_end(facts):
    match sweeps.next_step(facts):
        case Proceed():
            assert facts.state in (SweepState.WAITING, SweepState.RUNNING)
            assert facts.is_connected
            assert not facts.is_archived
            assert facts.dry_run or facts.owed <= sweeps.MAX_OWED_WEBHOOKS
        case Wait(seconds, reason):
            assert 0 < seconds <= sweeps.LONGEST_RETRY_SECONDS
            assert reason
        case Stop(state, reason):
            assert state is facts.state or (state is SweepState.CANCELLED and reason)


@given(UIDS, st.integers(0, 60))
def test_uids_below_a_number_and_in_descending_order(uids, number):
    near = {uid % 50 for uid in uids} - {0}

    assert list(UidRanges(near).below(number)) == sorted(uid for uid in near if uid < number)
    assert list(reversed(UidRanges(near))) == sorted(near, reverse=True)


@given(UIDS, st.sampled_from(SweepDirection), st.integers(1, 2**63 - 1), st.integers(1, 20))
def test_a_sweep_that_is_interrupted_after_any_batch_looks_at_each_uid_once(uids, direction, up_to, size):
    seen: list[int] = []
    done = None
    while True:
        above, below = sweeps.remaining_bounds(direction, up_to=up_to, done=done)
        left = UidRanges(uids).above(above).below(below)
        if not left:
            break
        ordered = left if direction is SweepDirection.OLDEST else reversed(left)
        batch = list(islice(ordered, size))  # and the process ends
        seen += batch
        done = batch[-1]

    assert seen == sorted((uid for uid in uids if uid <= up_to), reverse=direction is SweepDirection.NEWEST)


@given(st.datetimes(min_value=datetime(1990, 1, 1)), st.integers(-26, 26))
def test_a_search_by_day_finds_every_mail_of_the_range_in_any_time_zone_of_the_server(since, hours):
    since = since.replace(tzinfo=UTC)
    day = sweeps.search_day(since)

    assert day is not None
    assert (since + timedelta(hours=max(-24, min(hours, 24)))).date() >= day


def test_the_range_has_its_beginning_and_not_its_end_and_undated_mails_only_without_bounds():
    noon = datetime(2026, 9, 1, 12, tzinfo=UTC)
    second = timedelta(seconds=1)

    assert sweeps.is_in_range(noon, since=noon, until=noon + second)
    assert not sweeps.is_in_range(noon, since=None, until=noon)
    assert not sweeps.is_in_range(noon - second, since=noon, until=None)
    assert sweeps.is_in_range(None, since=None, until=None)
    assert not sweeps.is_in_range(None, since=noon, until=None)


def test_waits_after_failures_double_up_to_half_an_hour():
    assert [sweeps.retry_delay(n) for n in (1, 2, 3, 9, 30)] == [10, 20, 40, 1800, 1800]


@given(st.integers(0, 5), st.integers(0, 100), st.floats(0, 10))
def test_a_mailbox_reads_40_mails_a_second_and_looks_at_1000_at_most(mails, others, seconds):
    looked_at = mails + others
    took = seconds + sweeps.pause_after(mails, looked_at=looked_at, seconds=seconds)

    assert took >= max(mails / 40, looked_at / 1000) - 1e-9


def test_a_mail_that_cannot_be_read_is_tried_again_after_a_minute_to_an_hour():
    assert [sweeps.mail_retry_delay(n) for n in (1, 2, 3, 7, 1000)] == [60, 120, 240, 3600, 3600]


@pytest.mark.parametrize(
    ("retry_in", "unread", "is_full", "step"),
    [
        (None, 0, False, Stop(SweepState.FINISHED)),
        (None, 2, False, Stop(SweepState.FINISHED, "2 mails could not be read")),
        (None, 1000, True, Stop(SweepState.FAILED, "1,000 mails could not be read within two days")),
        (-5.0, 1, False, Wait(1.0, "1 mail could not be read; it is tried again")),
        (90.0, 3, False, Wait(90.0, "3 mails could not be read; they are tried again")),
        (
            9.0,
            1000,
            True,
            Wait(
                9.0,
                "1,000 mails could not be read; they are tried again, and no other mail is read until then",
            ),
        ),
    ],
)
def test_a_sweep_ends_when_each_mail_is_read_or_given_up(retry_in, unread, is_full, step):
    assert sweeps.after_last_mail(retry_in=retry_in, unread=unread, is_full=is_full) == step
