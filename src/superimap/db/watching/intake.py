"""Intake: mails recorded, webhooks made and the cursor moved, in one fenced statement."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from asyncpg import Pool

from superimap.core.errors import SuperImapError
from superimap.db import statements

_STATEMENTS = statements.load(__file__)
_VISIT_MAILBOX = _STATEMENTS["visit_mailbox"]
_RECORD_MAILS = _STATEMENTS["record_mails"]


@dataclass(frozen=True, slots=True)
class Fence:
    """Ownership that an idler asserts with each write: the write counts only if it still holds."""

    shard: int
    owner: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position in a mailbox: every UID up to `last_uid` of this UIDVALIDITY is accounted for."""

    uid_validity: int | None
    last_uid: int | None
    last_internal_date: datetime | None


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """Row of a watched folder, read by a session that signed in with credentials of this `version`."""

    id: int
    user_id: int
    partner_id: int
    version: int
    cursor: Cursor


@dataclass(frozen=True, slots=True)
class MailRow:
    """A mail to record.

    `delivery_id` and `content` (sealed) are set if there is something to send: the mail, or, if it is too big, an
    event about it. `twin_uid` is the UID of the same mail in the same batch; `token_digest` is the digest of a
    token that we signed.
    """

    uid: int
    internal_date: datetime | None
    size: int
    outcome: str
    detail: str | None = None
    sha1: bytes | None = None
    fingerprint: bytes | None = None
    message_id: str | None = None
    delivery_id: UUID | None = None
    content: bytes | None = None
    twin_uid: int | None = None
    token_digest: bytes | None = None


COLUMNS = tuple(field.name for field in fields(MailRow))


class Fenced(SuperImapError):
    """The shard, the user or the cursor is not what this session expects; nothing was written."""


async def visit_mailbox(
    pool: Pool, *, user_id: int, partner_id: int, version: int, account: str, name: str, fence: Fence
) -> MailboxRow:
    """Return the row of a folder of the user's mail account; the first visit makes it.

    `version` is the version of the credentials with which the session signed in to `account`.

    A new folder starts at the latest date of the account's folders: usually it is one of them, renamed, or the
    same mail at another server. Raises Fenced.
    """
    row = await pool.fetchrow(
        *_VISIT_MAILBOX.bind(
            shard=fence.shard,
            owner=fence.owner,
            epoch=fence.epoch,
            user_id=user_id,
            partner_id=partner_id,
            name=name,
            account=account,
        )
    )
    if row is None:
        raise Fenced
    return MailboxRow(row[0], user_id, partner_id, version, Cursor(*row[1:]))


@dataclass(frozen=True, slots=True)
class Recorded:
    """Result of a batch: the endpoints whose doorbells to ring, and an outcome for each new row."""

    endpoints: tuple[int, ...]
    outcomes: tuple[str, ...]


async def record(
    pool: Pool, box: MailboxRow, fence: Fence, cursor: Cursor, seen: Sequence[MailRow], *, uid_validity: int
) -> Recorded:
    """Record `seen`, whose UIDs are of `uid_validity`, and move the cursor; all or nothing.

    Raises Fenced if the ownership is lost, the user is archived or no longer exists, or the cursor is not at
    `box.cursor`; then nothing was written. A mail that was recorded before is skipped.
    """
    columns = {name: [getattr(mail, name) for mail in seen] for name in COLUMNS}
    row = await pool.fetchrow(
        *_RECORD_MAILS.bind(
            shard=fence.shard,
            owner=fence.owner,
            epoch=fence.epoch,
            mailbox_id=box.id,
            user_id=box.user_id,
            partner_id=box.partner_id,
            credentials_version=box.version,
            old_uid_validity=box.cursor.uid_validity,
            old_last_uid=box.cursor.last_uid,
            new_uid_validity=cursor.uid_validity,
            new_last_uid=cursor.last_uid,
            new_last_internal_date=cursor.last_internal_date,
            uid_validity=uid_validity,
            **columns,
        )
    )
    if not row["moved"]:
        raise Fenced
    return Recorded(tuple(row["endpoints"]), tuple(row["outcomes"]))
