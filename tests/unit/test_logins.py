"""Decisions about refused logins: when an unclear answer counts, and how the pauses grow."""

from __future__ import annotations

import pytest

from superimap.domain.logins import (
    ESCALATION_REFUSALS,
    ESCALATION_SECONDS,
    LoginHistory,
    persistence_note,
    refused_pause,
    refuses_credentials,
)

LONG, MANY = ESCALATION_SECONDS, ESCALATION_REFUSALS - 1
HOUR = 3600.0


@pytest.mark.parametrize(
    ("history", "is_certain", "refuses"),
    [
        (LoginHistory(), True, True),
        (LoginHistory(was_accepted=True), True, True),
        (LoginHistory(), False, True),  # new credentials: most likely mistyped
        (LoginHistory(was_accepted=True), False, False),
        (LoginHistory(True, MANY, LONG - 1), False, False),
        (LoginHistory(True, MANY - 1, LONG), False, False),
        (LoginHistory(True, MANY, LONG), False, True),
    ],
)
def test_an_unclear_refusal_counts_for_new_credentials_or_after_hours(history, is_certain, refuses):
    assert refuses_credentials(history, is_certain=is_certain) is refuses


def test_the_pauses_after_refusals_grow_from_minutes_to_hours():
    def pauses(chance: float) -> list[float]:
        histories = [LoginHistory(refusals=count) for count in range(9)]
        return [refused_pause(each, first=300.0, longest=21_600.0, chance=chance) for each in histories]

    assert pauses(0.0) == [300, 450, 750, 1350, 2550, 4950, 9750, 10950, 10950]
    assert pauses(1.0) == [450, 750, 1350, 2550, 4950, 9750, 19350, 21750, 21750]
    assert refused_pause(LoginHistory(refusals=10**9), first=300.0, longest=21_600.0, chance=0.0) == 10950


def test_unclear_refusals_are_escalated_by_the_pauses_alone_within_a_day():
    seconds, refusals = 0.0, 0
    while not refuses_credentials(LoginHistory(True, refusals, seconds), is_certain=False):
        seconds += refused_pause(LoginHistory(refusals=refusals), first=300.0, longest=21_600.0, chance=1.0)
        refusals += 1

    assert 3 * HOUR <= seconds < 24 * HOUR
    assert refusals >= ESCALATION_REFUSALS - 1


def test_a_temporary_refusal_that_lasts_for_hours_asks_a_person_to_look_unless_its_code_explains_it():
    lasting = LoginHistory(was_accepted=True, failing_seconds=5 * HOUR)

    assert persistence_note(LoginHistory(failing_seconds=LONG - 1), has_code=False) == ""
    assert "no login accepted for 5 h; the account or its password" in persistence_note(
        lasting, has_code=False
    )
    assert persistence_note(lasting, has_code=True) == " (no login accepted for 5 h)"
