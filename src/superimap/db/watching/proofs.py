"""Proofs of life of users' mail servers: vouches for all sessions of an idler, and records of single users."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from asyncpg import BitString, Pool

from superimap.db import statements
from superimap.domain.events import UserEventKind

BATCH_USERS = 1000

_STATEMENTS = statements.load(__file__)
_READ_CLOCK = _STATEMENTS["read_clock"]
_VOUCH = _STATEMENTS["vouch"]
_KEEP_VOUCHED = _STATEMENTS["keep_vouched"]
_FIND_DOUBTFUL = _STATEMENTS["find_doubtful"]
_RECORD_PROOFS = _STATEMENTS["record_proofs"]


class Proof(NamedTuple):
    """When the mail server of a user answered, by PostgreSQL's clock, and the place of the user in the vouches."""

    at: datetime
    slot: int


async def read_clock(pool: Pool) -> datetime:
    """Return PostgreSQL's time."""
    time: datetime = await pool.fetchval(*_READ_CLOCK.bind())
    return time


async def vouch(
    pool: Pool,
    *,
    voucher: int,
    turn: int,
    since: datetime,
    proven: bytes,
    idler: int,
    epochs: Mapping[int, int],
) -> bool:
    """Vouch for the users whose bits are set in `proven`: their mail servers have answered at or after `since`.

    Replaces the vouch of an earlier interval with this number. Returns False and writes nothing if the idler does
    not own all shards of `epochs`, or was found to be absent.
    """
    return bool(
        await pool.fetchval(
            *_VOUCH.bind(
                voucher=voucher,
                turn=turn,
                since=since,
                proven=BitString.frombytes(proven),
                idler=idler,
                shards=list(epochs),
                epochs=list(epochs.values()),
            )
        )
    )


async def keep_vouched(pool: Pool, user_ids: Sequence[int], *, voucher: int, since: datetime) -> None:
    """Write a vouch to these users, before it is replaced. Users for whom another voucher counts are skipped."""
    for batch in _batches(user_ids):
        await pool.execute(*_KEEP_VOUCHED.bind(user_ids=batch, voucher=voucher, since=since))


async def find_doubtful(pool: Pool, user_ids: Sequence[int], *, voucher: int) -> set[int]:
    """Return those of these users for whom this voucher does not count, or who are stalled."""
    found: set[int] = set()
    for batch in _batches(user_ids):
        rows = await pool.fetch(*_FIND_DOUBTFUL.bind(user_ids=batch, voucher=voucher))
        found.update(row[0] for row in rows)
    return found


async def record_proofs(pool: Pool, proofs: Mapping[int, Proof], *, voucher: int, idler: int) -> list[int]:
    """Record when the mail servers of these users answered; a stalled user recovers. Return who was written.

    From then on, vouches of this voucher count for them. Users of shards that the idler does not own, and users
    who are stalled since a later time, are skipped. The rows are locked in one order, so that no two statements
    wait for each other.
    """
    written: list[int] = []
    for batch in _batches(sorted(proofs)):
        rows = await pool.fetch(
            *_RECORD_PROOFS.bind(
                user_ids=batch,
                times=[proofs[user_id].at for user_id in batch],
                slots=[proofs[user_id].slot for user_id in batch],
                voucher=voucher,
                idler=idler,
                event_kind=UserEventKind.RECOVERED,
            )
        )
        written += [row[0] for row in rows]
    return written


def _batches(users: Sequence[int]) -> Iterator[Sequence[int]]:
    return (users[start : start + BATCH_USERS] for start in range(0, len(users), BATCH_USERS))
