"""Intake: mails recorded, webhooks made and the cursor moved, in one fenced statement."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from uuid import UUID

from asyncpg import Pool, Record

from superimap.core.errors import SuperImapError
from superimap.db import statements
from superimap.domain.deferrals import LOST_TRACK, StoredDeferral
from superimap.domain.mail_stages import FOUND_BY_NUMBERS, Sighting
from superimap.domain.numbering import RESTART_INTERVAL_SECONDS, KnownMail, MailIdentity, Numbering

_STATEMENTS = statements.load(__file__)
_VISIT_MAILBOX = _STATEMENTS["visit_mailbox"]
_RECORD_MAILS = _STATEMENTS["record_mails"]
_NO_IDENTITY = MailIdentity(None, None, None)

MAX_ERROR_CHARACTERS = 500


@dataclass(frozen=True, slots=True)
class Fence:
    """Ownership that an idler asserts with each write: the write counts only if it still holds."""

    shard: int
    owner: int
    epoch: int


@dataclass(frozen=True, slots=True)
class Cursor:
    """Position in a mailbox: every UID up to `last_uid` of this numbering is accounted for.

    `uid_validity` is the recorded number of the numbering (`domain.numbering`); `server_value` and `restarts` are
    what it was made of. All three are None, None and 0 before the first visit. `last_mail` is the last mail up to
    `last_uid` whose identity is known. `was_empty` says that the numbering began with an empty mailbox and that no
    new mail has been seen since.
    """

    uid_validity: int | None
    last_uid: int | None
    last_internal_date: datetime | None
    server_value: int | None = None
    restarts: int = 0
    last_mail: KnownMail | None = None
    was_empty: bool = False

    @property
    def numbering(self) -> Numbering | None:
        """The numbering of the UIDs; None before the first visit."""
        if self.uid_validity is None or self.server_value is None:
            return None
        return Numbering(self.server_value, self.restarts, self.uid_validity)


def cursor_at(
    numbering: Numbering,
    last_uid: int | None,
    last_internal_date: datetime | None,
    *,
    last_mail: KnownMail | None = None,
    was_empty: bool = False,
) -> Cursor:
    """Build a cursor in this numbering; with `last_uid` None, the numbering has none yet."""
    return Cursor(
        numbering.recorded,
        last_uid,
        last_internal_date,
        numbering.server_value,
        numbering.restarts,
        last_mail,
        was_empty,
    )


@dataclass(frozen=True, slots=True)
class MailboxRow:
    """Row of a watched folder, read by a session that signed in with credentials of this `version`.

    `gone` are UIDs of the last mails that were gone when they were to be read.
    """

    id: int
    user_id: int
    partner_id: int
    version: int
    cursor: Cursor
    deferred: tuple[StoredDeferral, ...] = ()
    gone: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class MailRow:
    """A mail to record.

    `delivery_id` and `content` (sealed) are set if there is something to send: the mail, or, if it is too big, an
    event about it. `twin_uid` is the UID of the same mail in the same batch; `token_digest` is the digest of a
    token that we signed, and `fetched_at` the monotonic time at which that mail was read. `found_by_date` says
    that only its date says that it is new.
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
    found_by_date: bool = False
    fetched_at: float | None = None


COLUMNS = tuple(field.name for field in fields(MailRow) if field.name != "fetched_at")


class Fenced(SuperImapError):
    """The shard, the user or the cursor is not what this session expects; nothing was written."""


async def visit_mailbox(
    pool: Pool,
    *,
    user_id: int,
    partner_id: int,
    version: int,
    account: str,
    name: str,
    fence: Fence,
    is_first: bool = True,
    is_listed: bool = False,
) -> MailboxRow:
    """Return the row of a folder of the user's mail account; the first visit makes it.

    `version` is the version of the credentials with which the session signed in to `account`.

    A new folder starts at the latest date of the account's folders: usually it is one of them, renamed, or the
    same mail at another server. `is_listed` says that the user has a list of folders, and `is_first` that the
    session waits in this one. Raises Fenced.
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
            is_first=is_first,
            is_listed=is_listed,
        )
    )
    if row is None:
        raise Fenced
    deferred = tuple(StoredDeferral(*each) for each in row["deferred"])
    return MailboxRow(row["id"], user_id, partner_id, version, _cursor(row), deferred, tuple(row["gone"]))


def _cursor(row: Record) -> Cursor:
    uid = row["last_mail_uid"]
    known = (row["last_mail_message_id"], row["last_mail_date"], row["last_mail_size"])
    return Cursor(
        row["uid_validity"],
        row["last_uid"],
        row["last_internal_date"],
        row["server_uid_validity"],
        row["restarts"],
        None if uid is None else KnownMail(uid, MailIdentity(*known)),
        row["was_empty"],
    )


@dataclass(frozen=True, slots=True)
class Recorded:
    """Result of a batch: the endpoints whose doorbells to ring, and an outcome for each new row."""

    endpoints: tuple[int, ...]
    outcomes: tuple[str, ...]


async def record(
    pool: Pool,
    box: MailboxRow,
    fence: Fence,
    cursor: Cursor,
    seen: Sequence[MailRow],
    *,
    sightings: Sequence[Sighting | None] = (),
    uid_validity: int,
    retry_in: float = 0.0,
) -> Recorded:
    """Record `seen`, whose UIDs are of `uid_validity`, and move the cursor; all or nothing.

    Raises Fenced if the ownership is lost, the user is archived or no longer exists, or the cursor is not at
    `box.cursor`; then nothing was written. A mail that was recorded before is skipped, unless it was not
    read then. A mail with the outcome `deferred` is due again in `retry_in` seconds; its `detail` is the error.
    `sightings` say when each mail was found; without any, that is not recorded.
    """
    columns = {name: [getattr(mail, name) for mail in seen] for name in COLUMNS}
    last_uid, identity = cursor.last_mail or (None, _NO_IDENTITY)
    async with (
        pool.acquire() as db
    ):  # first, because sightings are counted back from the start of the statement
        statement = _RECORD_MAILS.bind(
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
            new_server_uid_validity=cursor.server_value,
            new_restarts=cursor.restarts,
            restart_interval=RESTART_INTERVAL_SECONDS,
            new_was_empty=cursor.was_empty,
            last_mail_uid=last_uid,
            last_mail_message_id=identity.message_id,
            last_mail_date=identity.internal_date,
            last_mail_size=identity.size,
            uid_validity=uid_validity,
            retry_in=retry_in,
            fetched_ago=_fetched_ago(seen),
            reopened=LOST_TRACK,
            **columns,
            **_sighted(sightings or [None] * len(seen)),
        )
        row = await db.fetchrow(*statement)
    if not row["moved"]:
        raise Fenced
    return Recorded(tuple(row["endpoints"]), tuple(row["outcomes"]))


def _fetched_ago(seen: Sequence[MailRow]) -> list[float | None]:
    """Return how many seconds ago each mail with a token was read."""
    now = time.monotonic()
    return [None if mail.fetched_at is None else now - mail.fetched_at for mail in seen]


def _sighted(sightings: Sequence[Sighting | None]) -> dict[str, list[int | None]]:
    """Return when and how each mail was found, as parameters: milliseconds ago, and a number."""
    now = time.monotonic()
    return {
        "found_ago": [each and each.milliseconds_before(now) for each in sightings],
        "found_by": [each and FOUND_BY_NUMBERS[each.found_by] for each in sightings],
    }


def storable_error(text: str) -> str:
    """Return the start of an error without NUL characters, which PostgreSQL does not store."""
    return text.replace("\0", "")[:MAX_ERROR_CHARACTERS]


def asserted(box: MailboxRow, fence: Fence) -> dict[str, int]:
    """Return what a statement asserts about the session that runs it."""
    return {
        "shard": fence.shard,
        "owner": fence.owner,
        "epoch": fence.epoch,
        "mailbox_id": box.id,
        "user_id": box.user_id,
        "credentials_version": box.version,
    }
