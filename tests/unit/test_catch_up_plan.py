"""Plans for a catch-up: by UID from the cursor, by date where UIDs are void; complete fast fetches; folders."""

from datetime import UTC, date, datetime, timedelta

import pytest

from superimap.db.watching.intake import Cursor, cursor_at
from superimap.domain.numbering import first_numbering
from superimap.idler.catch_up_plan import CatchUpPlan, are_complete, plan_catch_up

CONNECTED = datetime(2026, 11, 1, 12, 0, 0, 700_000, tzinfo=UTC)
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
    ],
)
def test_C39_without_a_cursor_in_the_numbering_the_catch_up_is_by_date(cursor, since):
    plan = plan_catch_up(cursor, NUMBERING, connected_at=CONNECTED, now=NOW)

    assert plan == CatchUpPlan(NUMBERING, since=since)


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
