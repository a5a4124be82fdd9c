"""Changes of mails after their webhook: the known state, and what a look at the mailbox has found."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from asyncpg import Pool

from superimap.db import statements
from superimap.db.watching.intake import Fence, Fenced, MailboxRow, asserted
from superimap.domain.mail_changes import MAX_COMPARED_MAILS, MAX_EXAMINED_ROWS, Flags, TrackedMail

_STATEMENTS = statements.load(__file__)
_LOAD_TRACKED = _STATEMENTS["load_tracked"]
_FIND_COPIES = _STATEMENTS["find_copies"]
_RECORD_CHANGES = _STATEMENTS["record_changes"]


@dataclass(frozen=True, slots=True)
class KnownState:
    """The known state of a mailbox at PostgreSQL's time `now`.

    `seen_at` is the time of the last look, None if there was none, and `modseq` its HIGHESTMODSEQ, None if the
    server told none.
    `lowest_uid` is that of the earliest mail that is compared; None if there is none.
    """

    now: datetime
    seen_at: datetime | None
    modseq: int | None
    lowest_uid: int | None
    mails: tuple[TrackedMail, ...]

    def is_unchanged(self, modseq: int | None) -> bool:
        """Return whether nothing is to be compared at this HIGHESTMODSEQ, which expunges change as well."""
        return (
            modseq is not None
            and modseq == self.modseq
            and all(each.is_stored and each.absent_since is None for each in self.mails)
        )


class MailState(NamedTuple):
    """The state of one mail that is to be recorded."""

    message: int
    flags: Flags
    absent_since: datetime | None = None
    is_gone: bool = False


class MailCopy(NamedTuple):
    """A copy of a mail in another mailbox: the id of its message, and the name of the mailbox."""

    message: int
    mailbox: str


class EventDelivery(NamedTuple):
    """A webhook about a change, with its sealed content."""

    id: UUID
    content: bytes


async def load_tracked(
    pool: Pool, box: MailboxRow, *, uid_validity: int, since: datetime
) -> KnownState | None:
    """Return the known state of the mails that are compared; None if the partner has no URL for events.

    A look from before `since`, when change events were turned on, does not count.
    """
    row = await pool.fetchrow(
        *_LOAD_TRACKED.bind(
            mailbox_id=box.id,
            user_id=box.user_id,
            partner_id=box.partner_id,
            uid_validity=uid_validity,
            since=since,
            examined=MAX_EXAMINED_ROWS,
            compared=MAX_COMPARED_MAILS,
        )
    )
    if row is None:
        return None
    mails = tuple(
        TrackedMail(
            message,
            original,
            sha1,
            uid,
            None if flags is None else tuple(flags.split()),
            absent_since,
            stored,
        )
        for message, original, sha1, uid, flags, absent_since, stored in row["mails"]
    )
    return KnownState(row["now"], row["seen_at"], row["modseq"], row["lowest_uid"], mails)


async def find_copies(pool: Pool, box: MailboxRow, mails: Sequence[TrackedMail]) -> dict[int, MailCopy]:
    """Return the copies of these mails in other mailboxes of the user, by message."""
    rows = await pool.fetch(
        *_FIND_COPIES.bind(
            messages=[each.message for each in mails],
            originals=[each.original for each in mails],
            user_id=box.user_id,
            partner_id=box.partner_id,
        )
    )
    return {row["message"]: MailCopy(row["copy"], row["mailbox"]) for row in rows}


async def record_changes(
    pool: Pool,
    box: MailboxRow,
    fence: Fence,
    states: Sequence[MailState],
    events: Sequence[EventDelivery],
    *,
    uid_validity: int,
    looked_at: datetime,
    modseq: int | None,
    lowest_uid: int | None,
) -> tuple[int, ...]:
    """Record a look and its events, all or nothing; return the endpoints whose doorbells to ring.

    Raises Fenced if the ownership is lost, the user is archived or has other credentials, or the mailbox was
    renumbered; then nothing was written.
    """
    row = await pool.fetchrow(
        *_RECORD_CHANGES.bind(
            **asserted(box, fence),
            partner_id=box.partner_id,
            uid_validity=uid_validity,
            looked_at=looked_at,
            modseq=modseq,
            lowest_uid=lowest_uid,
            messages=[each.message for each in states],
            flags=[" ".join(each.flags) for each in states],
            absent_since=[each.absent_since for each in states],
            is_gone=[each.is_gone for each in states],
            delivery_ids=[each.id for each in events],
            contents=[each.content for each in events],
        )
    )
    if not row["recorded"]:
        raise Fenced
    return tuple(row["endpoints"])
