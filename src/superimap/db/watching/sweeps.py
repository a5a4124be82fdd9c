"""Statements about sweeps, for idlers: which are due, how far each is, and the record of a batch."""

import time
from collections.abc import Collection, Sequence
from dataclasses import fields

from asyncpg import Pool, Record

from superimap.db import statements
from superimap.db.watching.intake import Fence, Fenced, MailRow
from superimap.db.watching.sessions import MAX_REASON_CHARACTERS, WatchedUser
from superimap.db.watching.sweep_records import (
    DueSweep,
    RecordedSweep,
    SweepBatch,
    SweepFailures,
    SweepPlace,
    SweepProgress,
    SweepView,
    SweptFolder,
    UnreadMail,
)
from superimap.domain.mail_stages import FOUND_BY_NUMBERS, FoundBy
from superimap.domain.numbering import Numbering
from superimap.domain.sweeps import (
    GIVE_UP_SECONDS,
    LONGEST_GAP_SECONDS,
    LONGEST_MAIL_GAP_SECONDS,
    MAX_OWED_WEBHOOKS,
    SweepDirection,
    SweepFacts,
    SweepState,
)
from superimap.domain.users import UserStatus

_STATEMENTS = statements.load(__file__)
_FIND_DUE = _STATEMENTS["find_due"]
_LOOK_AT_SWEEP = _STATEMENTS["look_at_sweep"]
_FIND_WATCHED_MAILBOX = _STATEMENTS["find_watched_mailbox"]
_FIND_MAILBOX = _STATEMENTS["find_mailbox"]
_BEGIN_SWEEP = _STATEMENTS["begin_sweep"]
_SET_TOTAL = _STATEMENTS["set_total"]
_FIND_KNOWN = _STATEMENTS["find_known"]
_RECORD_SWEEP = _STATEMENTS["record_sweep"]
_FIND_UNREAD = _STATEMENTS["find_unread"]
_RECORD_FAILURE = _STATEMENTS["record_failure"]
_POSTPONE_SWEEP = _STATEMENTS["postpone_sweep"]
_END_SWEEP = _STATEMENTS["end_sweep"]
_NOT_STORED = {"twin_uid", "token_digest", "found_by_date", "fetched_at"}
_COLUMNS = tuple(field.name for field in fields(MailRow) if field.name not in _NOT_STORED)


async def find_due(
    pool: Pool, idler: int, *, running: Collection[int], full: Collection[int] = (), limit: int
) -> list[DueSweep]:
    """Return due sweeps of this idler's shards, requested ones first.

    Those that are `running`, and those of the partners in `full`, are left out.
    """
    bound = _FIND_DUE.bind(idler=idler, running=list(running), full=list(full), limit=limit)
    return [DueSweep(**row) for row in await pool.fetch(*bound)]


async def look_at(pool: Pool, sweep_id: int) -> SweepView | None:
    """Return a sweep with everything that decides whether it goes on; None if it was deleted."""
    row = await pool.fetchrow(*_LOOK_AT_SWEEP.bind(sweep_id=sweep_id, most=MAX_OWED_WEBHOOKS + 1))
    return None if row is None else _view(row)


def _view(row: Record) -> SweepView:
    facts = {field.name: row[field.name] for field in fields(SweepFacts)}
    facts |= {"state": SweepState(row["state"]), "status": UserStatus(row["status"])}
    values = {field.name: row[field.name] for field in fields(SweepView) if field.name != "facts"}
    return SweepView(**(values | {"direction": SweepDirection(row["direction"])}), facts=SweepFacts(**facts))


async def find_folder(pool: Pool, watched: WatchedUser, fence: Fence, name: str | None) -> SweptFolder | None:
    """Return a folder of the user's mail account; without `name` the watched one, None if there is none yet.

    The row of a folder that was never watched is made. Raises Fenced.
    """
    if name is None:
        bound = _FIND_WATCHED_MAILBOX.bind(user_id=watched.user_id, account=watched.account)
        row = await pool.fetchrow(*bound)
        return None if row is None else _folder(row)
    row = await pool.fetchrow(
        *_FIND_MAILBOX.bind(
            shard=fence.shard,
            owner=fence.owner,
            epoch=fence.epoch,
            user_id=watched.user_id,
            partner_id=watched.partner_id,
            name=name,
            account=watched.account,
        )
    )
    if row is None:
        raise Fenced
    return _folder(row)


def _folder(row: Record) -> SweptFolder:
    is_known = row["uid_validity"] is not None and row["server_uid_validity"] is not None
    known = Numbering(row["server_uid_validity"], row["restarts"], row["uid_validity"]) if is_known else None
    return SweptFolder(row["id"], row["name"], row["last_uid"], known, row["is_watched"])


async def begin(pool: Pool, place: SweepPlace) -> SweepProgress | None:
    """Begin or continue a sweep here; begin it again if it was in another mailbox or numbering.

    Returns None if it is not to run any more, or the shard is lost.
    """
    row = await pool.fetchrow(
        *_BEGIN_SWEEP.bind(
            shard=place.fence.shard,
            owner=place.fence.owner,
            epoch=place.fence.epoch,
            sweep_id=place.sweep_id,
            mailbox_id=place.mailbox_id,
            uid_validity=place.uid_validity,
            up_to_uid=place.up_to_uid,
        )
    )
    return None if row is None else SweepProgress(**row)


async def set_total(pool: Pool, sweep_id: int, *, left: int) -> None:
    """Record how many mails are left to look at."""
    await pool.execute(*_SET_TOTAL.bind(sweep_id=sweep_id, left=left))


async def find_known(pool: Pool, place: SweepPlace, uids: Sequence[int]) -> dict[int, str]:
    """Return the outcomes of those of these mails that have a row."""
    bound = _FIND_KNOWN.bind(mailbox_id=place.mailbox_id, uid_validity=place.uid_validity, uids=list(uids))
    return {row["uid"]: row["outcome"] for row in await pool.fetch(*bound)}


async def record(
    pool: Pool, place: SweepPlace, batch: SweepBatch, *, done_uid: int | None
) -> RecordedSweep | None:
    """Record a batch that begins after `done_uid`, and the sweep's progress, in one statement.

    Returns None if nothing was written: the shard, the user, the numbering or the sweep is not what was expected.
    A batch whose answer was lost is such a batch when it is given again.
    """
    user, fence = place.user, place.fence
    columns = {f"{name}": [getattr(row, name) for row in batch.rows] for name in _COLUMNS}
    now = time.monotonic()
    row = await pool.fetchrow(
        *_RECORD_SWEEP.bind(
            shard=fence.shard,
            owner=fence.owner,
            epoch=fence.epoch,
            user_id=user.user_id,
            partner_id=user.partner_id,
            credentials_version=user.version,
            sweep_id=place.sweep_id,
            mailbox_id=place.mailbox_id,
            uid_validity=place.uid_validity,
            is_watched=place.is_watched,
            up_to_uid=place.up_to_uid,
            old_done_uid=done_uid,
            new_done_uid=done_uid if batch.last_uid is None else batch.last_uid,
            looked_at=batch.looked_at,
            would_send=batch.would_send,
            known=batch.known,
            skipped=batch.skipped,
            unreadable=batch.unreadable,
            failed_uid=[each.uid for each in batch.failed],
            failed_reason=[each.reason[:MAX_REASON_CHARACTERS] for each in batch.failed],
            retry_in=[each.retry_in for each in batch.failed],
            cleared_uid=batch.cleared,
            longest_gap=LONGEST_MAIL_GAP_SECONDS,
            give_up=GIVE_UP_SECONDS,
            found_by=FOUND_BY_NUMBERS[FoundBy.SWEEP],
            found_ago=[each.milliseconds_before(now) for each in batch.sightings],
            twin_uid=[each.twin_uid for each in batch.rows],
            **columns,
        )
    )
    if row is None:
        return None
    return RecordedSweep(row["sent"], tuple(row["endpoints"]), tuple(row["outcomes"]))


async def find_unread(pool: Pool, sweep_id: int) -> list[UnreadMail]:
    """Return the mails of a sweep that could not be read, by UID."""
    return [UnreadMail(**row) for row in await pool.fetch(*_FIND_UNREAD.bind(sweep_id=sweep_id))]


async def record_failure(pool: Pool, sweep_id: int) -> SweepFailures | None:
    """Count a failure of a sweep; return those in a row, None if the sweep has ended or is paused."""
    row = await pool.fetchrow(*_RECORD_FAILURE.bind(sweep_id=sweep_id, longest_gap=LONGEST_GAP_SECONDS))
    return None if row is None else SweepFailures(*row)


async def postpone(pool: Pool, sweep_id: int, *, seconds: float, reason: str) -> None:
    """Read nothing of a sweep for some seconds."""
    await pool.execute(
        *_POSTPONE_SWEEP.bind(sweep_id=sweep_id, seconds=seconds, reason=reason[:MAX_REASON_CHARACTERS])
    )


async def end(pool: Pool, sweep_id: int, state: SweepState, reason: str | None = None) -> None:
    """End a sweep, unless it has ended."""
    await pool.execute(
        *_END_SWEEP.bind(sweep_id=sweep_id, state=state, reason=reason and reason[:MAX_REASON_CHARACTERS])
    )
