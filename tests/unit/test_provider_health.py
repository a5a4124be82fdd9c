"""Health of a provider in words: the last hour against the last seven days."""

from __future__ import annotations

import pytest

from superimap.domain.activity import ActivityCounts
from superimap.domain.provider_health import WEEK_HOURS, judge_provider

H = int(WEEK_HOURS)


@pytest.mark.parametrize(
    ("hour", "week", "tone", "text"),
    [
        ({}, {}, "", "Nothing happened in the last seven days."),
        ({"mails": 90}, {"mails": 100 * H}, "good", "As usual."),
        ({"mails": 9}, {"mails": 100 * H}, "warn", "Had 9 mails, usually 100 an hour."),
        ({"mails": 0}, {"mails": 19 * H}, "good", "As usual."),
        ({"refusals": 2}, {"refusals": 2}, "good", "As usual."),
        ({"refusals": 3}, {"refusals": 84}, "bad", "Refused 3 mailboxes, usually 0.5 an hour."),
        ({"refusals": 4000}, {"refusals": 1000 * H}, "good", "As usual."),
        (
            {"refusals": 4001},
            {"refusals": 1000 * H},
            "bad",
            "Refused 4,001 mailboxes, usually 1,000 an hour.",
        ),
        ({"silences": 3}, {"silences": 84}, "bad", "Fell silent for 3 mailboxes, usually 0.5 an hour."),
        (
            {"refusals": 214, "mails": 1},
            {"refusals": 214, "mails": 50 * H},
            "bad",
            "Refused 214 mailboxes, usually 1.3 an hour; had 1 mail, usually 50 an hour.",
        ),
        ({"refusals": 3}, {"refusals": 3}, "bad", "Refused 3 mailboxes, usually less than 0.1 an hour."),
    ],
)
def test_the_last_hour_is_compared_with_what_is_usual(hour, week, tone, text):
    health = judge_provider(ActivityCounts(**hour), ActivityCounts(**week))

    assert (health.tone, health.text) == (tone, text)


def test_without_hours_nothing_is_usual():
    assert (
        judge_provider(ActivityCounts(refusals=3), ActivityCounts(refusals=3), hours=0.0).usual_refusals == 0
    )


@pytest.mark.parametrize(
    ("unreachable", "refusals", "verdict"),
    [
        (1, 0, ("warn", "some trouble", "1 mailbox cannot be read at this moment.")),
        (3, 0, ("bad", "trouble", "3 mailboxes cannot be read at this moment.")),
        (
            1,
            9,
            (
                "bad",
                "trouble",
                "1 mailbox cannot be read at this moment; refused 9 mailboxes, usually less than 0.1 an hour.",
            ),
        ),
    ],
)
def test_mailboxes_that_cannot_be_reached_are_not_usual(unreachable, refusals, verdict):
    counts = ActivityCounts(mails=9, refusals=refusals)

    health = judge_provider(counts, counts, unreachable=unreachable)

    assert (health.tone, health.word, health.text) == verdict
