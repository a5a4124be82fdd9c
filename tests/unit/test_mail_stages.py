"""Stages of a mail: moments of announcements, bounded labels, and durations of which one may be negative."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from superimap.core.metric_labels import MAX_PROVIDERS, ProviderLabels
from superimap.domain.mail_stages import FoundBy, MailStages, Sighting
from superimap.idler.arrivals import Sightings
from superimap.imap import state
from superimap.imap.state import MAX_ANNOUNCEMENTS, MailboxState

NOON = datetime(2026, 9, 21, 12, tzinfo=UTC)


@pytest.fixture
def clock(monkeypatch):
    """A clock for announcements: each reading is a second after the last."""
    readings = iter(range(1, 10_000))
    monkeypatch.setattr(state.time, "monotonic", lambda: float(next(readings)))


def announced(*counts: int) -> MailboxState:
    mailbox = MailboxState()
    for count in counts:
        mailbox.record_count(b"EXISTS", str(count).encode(), opening=False)
    return mailbox


def test_each_arrival_has_the_time_of_its_announcement_until_it_is_looked_for(clock):
    mailbox = announced(2, 3)

    assert [mailbox.announced_at(number) for number in (1, 2, 3, 4)] == [1.0, 1.0, 2.0, None]

    mailbox.forget_announcements(2)
    assert mailbox.announced_at(3) == 2.0
    mailbox.forget_announcements(3)
    assert mailbox.announced_at(3) is None


def test_a_flood_of_announcements_takes_bounded_memory_and_dates_the_rest_with_the_last(clock):
    mailbox = announced(*range(1, 10 * MAX_ANNOUNCEMENTS))

    assert mailbox.announced_at(9 * MAX_ANNOUNCEMENTS) == float(MAX_ANNOUNCEMENTS)
    assert len(mailbox._announcements) == MAX_ANNOUNCEMENTS


def test_a_mail_without_an_announcement_was_found_when_the_catch_up_met_it(clock):
    sightings = Sightings(announced(1), 0, FoundBy.ANNOUNCED)

    first, second, third = sightings.next(), sightings.next(), sightings.next()

    assert first == Sighting(1.0, FoundBy.ANNOUNCED)
    assert second == third == Sighting(2.0, FoundBy.POLLED)


def test_providers_beyond_the_limit_share_a_label():
    labels = ProviderLabels()
    codes = [f"P{number}" for number in range(MAX_PROVIDERS + 2)]

    assert [labels.of(code) for code in codes] == [*codes[:MAX_PROVIDERS], "other", "other"]
    assert labels.of("P0") == "P0"


def test_a_clock_that_is_ahead_is_a_negative_delay_and_changes_no_other_stage():
    stages = MailStages(
        FoundBy.ANNOUNCED,
        received_at=NOON + timedelta(seconds=5),
        found_at=NOON,
        recorded_at=NOON + timedelta(milliseconds=12),
        first_attempt_at=NOON + timedelta(milliseconds=30),
        attempt_seconds=0.25,
        settled_at=NOON + timedelta(seconds=1),
    )

    assert (stages.provider_seconds, stages.recording_seconds, stages.sending_seconds) == (-5.0, 0.012, 0.018)
    assert (stages.receiver_seconds, stages.settled_seconds) == (0.25, 1.0)


def test_stages_of_a_mail_from_before_they_were_recorded_are_unknown():
    stages = MailStages(None, received_at=NOON, found_at=None, recorded_at=NOON)

    assert (stages.provider_seconds, stages.recording_seconds, stages.settled_seconds) == (None, None, None)
