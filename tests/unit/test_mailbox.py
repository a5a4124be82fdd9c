"""State of a watched mailbox: plans, announced arrivals, twins, and the mails that outlive a connection."""

from __future__ import annotations

from datetime import UTC, date, datetime
from types import SimpleNamespace
from typing import Any, cast

import pytest

from superimap.db.watching import intake as queries
from superimap.db.watching.intake import Cursor, Fence, MailboxRow, MailRow, Recorded, cursor_at
from superimap.domain.mails import MailOutcome
from superimap.domain.numbering import first_numbering
from superimap.idler.arrivals import Arrivals
from superimap.idler.batch import MAX_BATCH_MAILS
from superimap.idler.catch_up_plan import CatchUpPlan
from superimap.idler.limits import ByteLimits
from superimap.idler.mail_rows import find_twin
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.mailbox_queries import known_mail
from superimap.idler.partner_holds import PartnerHolds
from superimap.idler.scope import ConnectionScope
from superimap.idler.timing import SessionTiming
from superimap.imap.state import MailboxState
from superimap.imap.types import MessageMeta, Uid

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAY = date(2026, 11, 20)
NUMBERING = first_numbering(7)
BY_UID, BY_DATE = CatchUpPlan(NUMBERING, after=41), CatchUpPlan(NUMBERING, since=DAY)


def meta(uid: int) -> MessageMeta:
    return MessageMeta(Uid(uid), NOW, 9, None)


def seen(uid: int, **values: Any) -> MailRow:
    return MailRow(uid, NOW, 9, MailOutcome.DELIVERED, **values)


class Statements:
    """The cursor and the UIDs of each batch that was recorded."""

    def __init__(self) -> None:
        self.made: list[tuple[tuple[int | None, datetime | None], list[int]]] = []
        self.cursors: list[Cursor] = []

    async def record(
        self,
        _pool: Any,
        _row: Any,
        _fence: Any,
        cursor: Cursor,
        batch: list[MailRow],
        *,
        uid_validity: int,
        **_more: Any,
    ) -> Recorded:
        assert cursor.numbering in (None, NUMBERING)
        self.cursors.append(cursor)
        self.made.append(((cursor.last_uid, cursor.last_internal_date), [each.uid for each in batch]))
        return Recorded((), tuple(each.outcome for each in batch))


@pytest.fixture
def statements(monkeypatch) -> Statements:
    made = Statements()
    monkeypatch.setattr(queries, "record", made.record)
    return made


def opened(
    plan: CatchUpPlan, memory: MailboxMemory | None = None, *, limits: ByteLimits | None = None
) -> WatchedMailbox:
    context = cast(
        Any,
        SimpleNamespace(
            byte_limits=limits or ByteLimits(1000),
            pool=None,
            timing=SessionTiming(),
            holds=PartnerHolds(),
        ),
    )
    user = {"user_id": 1, "provider_code": "TEST", "imap_host": "imap.example.com", "has_own_server": False}
    watched = cast(Any, SimpleNamespace(**user))
    row = MailboxRow(1, 1, 1, 1, Cursor(7, plan.after, None, 7))
    nothing = cast(Any, None)
    scope = ConnectionScope(context, nothing, watched, memory or MailboxMemory(), Fence(1, 1, 1), nothing)
    return WatchedMailbox(scope, row, plan)


async def test_the_cursor_moves_with_each_batch_and_the_next_plan_with_it(statements):
    mailbox = opened(BY_UID)
    assert mailbox.plan == BY_UID

    mailbox.add(seen(42), meta(42))
    await mailbox.record_batch()
    mailbox.add(seen(43), meta(43))
    await mailbox.finish(baseline=0)

    assert statements.made == [((42, NOW), [42]), ((43, NOW), [43])]
    assert mailbox.plan == CatchUpPlan(NUMBERING, after=43)
    assert mailbox.row.cursor == cursor_at(NUMBERING, 43, NOW, last_mail=known_mail(meta(43)))


async def test_by_date_the_cursor_is_set_once_all_are_recorded(statements):
    memory = MailboxMemory()
    mailbox = opened(BY_DATE, memory)

    mailbox.add(seen(90), meta(90))
    await mailbox.record_batch()
    assert mailbox.plan == BY_DATE
    assert opened(BY_DATE, memory).pass_if_recorded(meta(90)), "the next connection passes it"
    assert not opened(BY_DATE, memory).pass_if_recorded(meta(91))
    mailbox.add(seen(12), meta(12))
    await mailbox.finish(baseline=100)

    assert statements.made == [((None, None), [90]), ((100, NOW), [12])]
    assert mailbox.plan == CatchUpPlan(NUMBERING, after=100)
    assert not opened(BY_DATE, memory).pass_if_recorded(meta(90)), "a finished catch-up is forgotten"


async def test_a_catch_up_without_new_mail_writes_nothing_but_one_by_date_sets_the_cursor(statements):
    await opened(BY_UID).finish(baseline=0)
    assert not statements.made

    await opened(BY_DATE).finish(baseline=0)
    assert statements.made == [((0, None), [])]


async def test_the_last_mail_is_known_by_its_identity_and_kept_past_mails_that_are_gone(statements):
    mailbox = opened(BY_UID)
    mailbox.add(seen(42), meta(42))
    mailbox.add(seen(43), None)
    await mailbox.finish(baseline=0)

    assert statements.cursors[-1].last_mail == known_mail(meta(42))
    assert statements.cursors[-1].last_uid == 43

    first = opened(BY_DATE)
    first.add(seen(12), meta(12))
    await first.finish(baseline=meta(100))
    assert statements.cursors[-1].last_mail == known_mail(meta(100))


async def test_a_mailbox_that_is_empty_at_first_is_judged_by_date_until_a_new_mail(statements):
    mailbox = opened(BY_DATE)
    await mailbox.finish(baseline=0)
    assert mailbox.judges_by_date
    assert statements.cursors[-1].was_empty

    mailbox.add(MailRow(1, NOW, 9, MailOutcome.BEFORE_CONNECT), meta(1))
    await mailbox.finish()
    assert mailbox.judges_by_date
    assert statements.cursors[-1].was_empty

    mailbox.add(seen(2), meta(2))
    await mailbox.finish()
    assert not mailbox.judges_by_date
    assert not statements.cursors[-1].was_empty


async def test_what_was_recorded_before_counts_for_the_cursor_and_its_date(statements):
    memory = MailboxMemory()
    first = opened(BY_DATE, memory)
    first.add(seen(90), meta(90))
    await first.record_batch()

    second = opened(BY_DATE, memory)
    assert second.pass_if_recorded(meta(90))
    await second.finish(baseline=0)

    assert statements.made[-1] == ((90, NOW), [])


async def test_a_mail_that_needs_room_has_the_batch_recorded_first(statements):
    limits = ByteLimits(1000)
    mailbox = opened(BY_UID, limits=limits)
    await mailbox.make_room(400)
    mailbox.add(seen(42), meta(42), read_bytes=400)

    await mailbox.make_room(400)

    assert [uids for _, uids in statements.made] == [[42]]
    mailbox.discard()
    assert limits.for_host("imap.example.com").has_room(500), "all room is given back"


async def test_discarding_a_batch_releases_its_room_and_records_nothing(statements):
    limits = ByteLimits(1000)
    mailbox = opened(BY_UID, limits=limits)
    await mailbox.make_room(500)
    mailbox.add(seen(42), meta(42), read_bytes=500)

    mailbox.discard()

    assert not mailbox.pending
    assert limits.for_host("imap.example.com").has_room(500)
    await mailbox.record_batch()
    assert not statements.made


def test_a_batch_is_full_by_its_mails_or_its_bytes():
    many, large = opened(BY_UID), opened(BY_UID)
    for uid in range(42, 42 + MAX_BATCH_MAILS):
        assert not many.is_full
        many.add(seen(uid), meta(uid))
    large.add(seen(42), meta(42), read_bytes=4 * 1024 * 1024)

    assert many.is_full
    assert large.is_full


def test_a_twin_has_the_same_bytes_and_webhook_content():
    batch = [
        seen(1, sha1=b"a", content=None),
        seen(2, sha1=b"a", content=b"sealed"),
        seen(3, sha1=b"b", content=b"sealed"),
    ]

    assert find_twin(batch, b"a") is batch[1]
    assert find_twin(batch, b"c") is None


def test_arrivals_are_pending_until_a_catch_up_accounts_for_them():
    client = SimpleNamespace(arrivals=0, mailbox=MailboxState())
    arrivals = Arrivals(cast(Any, client))
    client.arrivals = 3
    assert arrivals.pending == 3

    assert arrivals.account_for(2)
    assert arrivals.pending == 1
    assert not arrivals.account_for(2), "these were looked for before"
    assert arrivals.account_for(3)
    assert arrivals.pending == 0
