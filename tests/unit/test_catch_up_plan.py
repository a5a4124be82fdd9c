"""Plans for a catch-up: by UID from the cursor, by date where UIDs are void; complete fast fetches; folders."""

from datetime import UTC, date, datetime, timedelta

import pytest

from superimap.db.watching.intake import Cursor, cursor_at
from superimap.domain.numbering import first_numbering
from superimap.idler.catch_up_plan import CatchUpPlan, are_complete, date_tolerance, plan_catch_up

CONNECTED = datetime(2026, 11, 1, 12, 0, 0, 700_000, tzinfo=UTC)
SECOND = CONNECTED.replace(microsecond=0)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
NUMBERING = first_numbering(7)


def at(last_uid: int | None, latest: datetime | None, *, uid_validity: int = 7) -> Cursor:
    return cursor_at(first_numbering(uid_validity), last_uid, latest)


@pytest.mark.parametrize(
    ("cursor", "after"),
    [
        (at(41, None), 41),
        (at(41, NOW - timedelta(days=900)), 41),  # however old
        (at(0, None), 0),
        (Cursor(7, 41, None, 7), 41),
    ],
)
def test_L3_the_catch_up_continues_from_a_cursor_of_the_same_numbering(cursor, after):
    plan = plan_catch_up(cursor, NUMBERING, connected_at=CONNECTED, now=NOW)

    assert plan == CatchUpPlan(NUMBERING, after=after)


@pytest.mark.parametrize(
    ("cursor", "since"),
    [
        (Cursor(None, None, None), date(2026, 10, 31)),  # the first visit: since the day before the connect
        (at(41, datetime(2026, 11, 20, 8, tzinfo=UTC), uid_validity=6), date(2026, 11, 18)),
        (at(41, NOW + timedelta(days=900), uid_validity=6), date(2026, 11, 21)),  # C39: a date in the future
        (at(None, NOW - timedelta(days=5)), date(2026, 11, 16)),  # the search by date was not over
        (Cursor(99, 41, NOW, 7, 1), date(2026, 11, 21)),  # the same UIDVALIDITY, another numbering
        (at(41, datetime(2001, 1, 3, tzinfo=UTC), uid_validity=6), date(2001, 1, 1)),  # a clock that is slow
        (Cursor(None, None, datetime(2001, 1, 3, tzinfo=UTC)), date(2026, 10, 31)),  # that of another folder
    ],
)
def test_C39_without_a_cursor_in_the_numbering_the_catch_up_is_by_date(cursor, since):
    plan = plan_catch_up(cursor, NUMBERING, connected_at=CONNECTED, now=NOW)

    assert plan == CatchUpPlan(NUMBERING, since=since)


@pytest.mark.parametrize(
    ("cursor", "by_date", "oldest"),
    [
        (Cursor(None, None, None), True, SECOND),  # the first visit
        (Cursor(None, None, SECOND - timedelta(hours=2)), True, SECOND),
        (at(None, None), True, SECOND),
        (at(None, SECOND + timedelta(hours=2)), True, SECOND),
        (at(None, SECOND - timedelta(hours=2)), True, SECOND - timedelta(seconds=2 * 3600 - 1)),
        (at(0, None), False, SECOND - timedelta(days=1)),  # the mailbox was empty at first
        (at(41, NOW), False, SECOND - timedelta(days=1)),  # below the cursor
    ],
)
def test_a_date_may_be_older_than_the_connection_where_no_other_mail_can_be(cursor, by_date, oldest):
    tolerance = date_tolerance(cursor, by_date=by_date, connected_at=SECOND)

    assert SECOND - tolerance == oldest


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
