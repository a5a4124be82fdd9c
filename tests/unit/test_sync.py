"""From a cursor to a plan: by UID where there is one, by date where UIDs mean nothing."""

from datetime import UTC, date, datetime, timedelta

import pytest

from superimap.db.watching.intake import Cursor
from superimap.idler.filters import skip_reason
from superimap.idler.sync import Plan, are_all, folder_to_watch, plan
from superimap.imap.types import Folder, MessageMeta, Selected, Uid, UidValidity

CONNECTED = datetime(2026, 11, 1, 12, 0, 0, 700_000, tzinfo=UTC)
NOW = datetime(2026, 11, 23, tzinfo=UTC)
SELECTED = Selected("INBOX", UidValidity(7), 100, 10)


def planned(cursor: Cursor) -> Plan:
    return plan(cursor, SELECTED, connected_at=CONNECTED, now=NOW)


def test_a_cursor_of_this_uidvalidity_is_gone_on_from():
    assert planned(Cursor(7, 41, None)) == Plan(7, after=41)


def test_L3_however_long_ago_the_last_mail_was():
    assert planned(Cursor(7, 41, NOW - timedelta(days=900))) == Plan(7, after=41)


def test_the_first_visit_goes_by_the_day_before_the_connect():
    assert planned(Cursor(None, None, None)) == Plan(7, since=date(2026, 10, 31))


def test_a_new_uidvalidity_goes_by_date_from_before_the_last_mail():
    assert planned(Cursor(6, 41, datetime(2026, 11, 20, 8, tzinfo=UTC))) == Plan(7, since=date(2026, 11, 18))


def test_C39_a_date_in_the_future_hides_nothing():
    assert planned(Cursor(6, 41, NOW + timedelta(days=900))) == Plan(7, since=date(2026, 11, 21))


@pytest.mark.parametrize(
    ("uids", "coming", "all_of_them"),
    [
        ([42], 1, True),
        ([42, 43], 2, True),
        ([], 1, False),  # moved away at once, or beyond a gap
        ([43], 1, False),  # beyond a gap: what was 42?
        ([42, 44], 2, False),
        ([42], 2, False),  # another is told of
        ([42, 43], 1, False),  # more are there than were told of: how many?
        ([42], 0, False),
    ],
)
def test_a_glance_is_enough_only_if_nothing_can_have_been_left_out(uids, coming, all_of_them):
    assert are_all(uids, after=41, coming=coming) is all_of_them


def meta(*, date: datetime = CONNECTED, size: int = 10, labels: tuple[str, ...] = ()) -> MessageMeta:
    return MessageMeta(Uid(1), date, size, None, labels)


def outcome(found: MessageMeta, *, by_date: bool = True) -> str | None:
    reason = skip_reason(found, by_date=by_date, connected_at=CONNECTED, max_size=100)
    return reason[0].value if reason else None


def test_a_mail_of_the_very_second_of_the_connect_is_news():
    assert outcome(meta(date=CONNECTED.replace(microsecond=0))) is None
    assert outcome(meta(date=CONNECTED.replace(microsecond=0) - timedelta(seconds=1))) == "before_connect"


def test_a_mail_found_by_uid_is_news_however_old_its_date():
    assert outcome(meta(date=CONNECTED - timedelta(days=900)), by_date=False) is None


def test_a_mail_of_just_the_limit_is_sent():
    assert outcome(meta(size=100)) is None
    assert outcome(meta(size=101)) == "too_big"


def test_C8_own_mail_in_all_mail_is_no_news_unless_sent_to_oneself():
    assert outcome(meta(labels=("\\Sent",))) == "own_mail"
    assert outcome(meta(labels=("\\Draft",))) == "own_mail"
    assert outcome(meta(labels=("\\Sent", "\\Inbox"))) is None


def test_C8_all_mail_is_known_by_its_special_use_in_any_language():
    folders = [
        Folder("INBOX", frozenset(), "/"),
        Folder("[Gmail]/Alle Nachrichten", frozenset({"\\All"}), "/"),
    ]

    assert folder_to_watch(folders, ["\\All"]) == "[Gmail]/Alle Nachrichten"
    assert folder_to_watch(folders, []) == "INBOX"
    assert folder_to_watch(folders[:1], ["\\All"]) == "INBOX"


def test_the_first_folder_that_exists_and_can_be_opened_is_watched():
    folders = [
        Folder("Archive", frozenset({"\\NoSelect"}), "/"),
        Folder("News", frozenset({"\\archive"}), "/"),
        Folder("Work", frozenset(), "/"),
    ]

    assert folder_to_watch(folders, ["Archive", "\\Archive", "Work"]) == "News"
    assert folder_to_watch(folders, ["\\All", "Work"]) == "Work"
    assert folder_to_watch(folders, ["\\All", "Gone"]) == "INBOX"
