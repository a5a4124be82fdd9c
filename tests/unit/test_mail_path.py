"""Stages of a mail in words: durations, and whose time passed before a mail was found."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from superimap.api.dashboard.mail_path import exact_duration, stages
from superimap.db.monitoring.messages import MessageRow
from superimap.domain.mail_stages import FoundBy, MailStages

RECORDED = datetime(2026, 9, 21, tzinfo=UTC)
MAIL = MessageRow(
    id=1, seen_at=RECORDED, mailbox="INBOX", uid_validity=1, uid=7, internal_date=None, size=1, message_id=None,
    outcome="delivered", reason="", duplicate_of=None, delivery=None,
    stages=MailStages(FoundBy.ANNOUNCED, RECORDED - timedelta(minutes=2), RECORDED, RECORDED),
)  # fmt: skip


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0294, "29 ms"),
        (1.8124, "1.812 s"),
        (61.5, "1 min 1.5 s"),
        (119.97, "2 min 0.0 s"),
        (3599.99, "59 min 59.9 s"),
        (3600, "1 h 0 min 0 s"),
        (7385.4, "2 h 3 min 5 s"),
        (28_800 * 60 + 0.5, "20 d 0 h 0 min"),
    ],
)
def test_durations_use_the_units_that_fit(seconds, words):
    assert exact_duration(seconds) == words


@pytest.mark.parametrize(
    ("found_by", "name"),
    [
        (FoundBy.ANNOUNCED, "Provider"),
        (FoundBy.POLLED, "Provider"),
        (FoundBy.CATCH_UP, "Not watched, or provider"),
        (FoundBy.SWEEP, "Not watched, or provider"),
    ],
)
def test_the_time_of_an_unwatched_mailbox_is_not_put_down_to_the_provider(found_by, name):
    first, *_ = stages(replace(MAIL, stages=replace(MAIL.stages, found_by=found_by)), [])

    assert (first.name, first.took) == (name, "2 min 0.0 s")
