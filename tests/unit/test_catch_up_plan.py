"""Plans for a catch-up: by UID from the cursor, by date where UIDs are void; complete fast fetches; folders."""

from datetime import UTC, date, datetime, timedelta

import pytest

from superimap.db.watching.intake import Cursor
from superimap.idler.catch_up_plan import CatchUpPlan, are_complete, plan_catch_up
from superimap.imap.types import Selected, UidValidity

CONNECTED = datetime(2026, 11, 1, 12, 0, 0, 700_000, tzinfo=UTC)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SELECTED = Selected("INBOX", UidValidity(7), 100, 10)


def planned(cursor: Cursor) -> CatchUpPlan:
    return plan_catch_up(cursor, SELECTED, connected_at=CONNECTED, now=NOW)


def test_the_catch_up_continues_from_a_cursor_of_the_same_uidvalidity():
    assert planned(Cursor(7, 41, None)) == CatchUpPlan(7, after=41)


def test_L3_the_cursor_counts_however_old_the_last_mail_is():
    assert planned(Cursor(7, 41, NOW - timedelta(days=900))) == CatchUpPlan(7, after=41)


def test_the_first_catch_up_starts_on_the_day_before_the_connect():
    assert planned(Cursor(None, None, None)) == CatchUpPlan(7, since=date(2026, 10, 31))


def test_a_new_uidvalidity_is_caught_up_by_date_from_before_the_last_mail():
    assert planned(Cursor(6, 41, datetime(2026, 11, 20, 8, tzinfo=UTC))) == CatchUpPlan(
        7, since=date(2026, 11, 18)
    )


def test_C39_a_date_in_the_future_hides_no_mail():
    assert planned(Cursor(6, 41, NOW + timedelta(days=900))) == CatchUpPlan(7, since=date(2026, 11, 21))


@pytest.mark.parametrize(
    ("uids", "announced", "is_complete"),
    [
        ([42], 1, True),
        ([42, 43], 2, True),
        ([], 1, False),  # moved away at once, or behind a gap
        ([43], 1, False),  # behind a gap: what was 42?
        ([42, 44], 2, False),
        ([42], 2, False),  # two are announced
        ([42, 43], 1, False),  # more than announced: how many?
        ([42], 0, False),
    ],
)
def test_a_fast_fetch_is_complete_only_if_no_mail_can_be_missing(uids, announced, is_complete):
    assert are_complete(uids, after=41, announced=announced) is is_complete
