"""Reports of an idler's proofs of life: vouches for all sessions together, and records of single users.

A quiet session costs one bit in each interval. A user is written alone when the vouches do not count for it yet,
when its last vouch is about to be replaced because the mail server is silent, and when it answers after that.
"""

import asyncio
import logging
import math
from collections.abc import Callable, Collection, Mapping
from datetime import datetime, timedelta
from typing import Protocol

from asyncpg import Pool

from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import proofs as queries
from superimap.db.watching.proofs import BATCH_USERS, Proof
from superimap.idler.liveness import LastProof, LivenessProofs
from superimap.idler.open_watches import OpenWatches
from superimap.idler.voucher import MAX_TURNS, Voucher

LATE_SECONDS = 1.0
"""Lateness of a report above which the loop was blocked or the process frozen: only the interval is known then."""
SPARE_TURNS = 4
"""Intervals by which vouches are kept longer than a session in IDLE is silent."""

log = logging.getLogger(__name__)


class Owner(Protocol):
    """The shards of an idler with their epochs; implemented by `Ownership`."""

    @property
    def idler(self) -> int: ...
    @property
    def epochs(self) -> Mapping[int, int]: ...


class Vouching:
    """Reports the proofs of all sessions of an idler every `interval` seconds.

    `longest_silence` is the time in seconds within which every session that is well receives something.
    """

    def __init__(
        self,
        pool: Pool,
        proofs: LivenessProofs,
        owner: Owner,
        watches: OpenWatches,
        *,
        interval: float,
        longest_silence: float,
    ) -> None:
        self._pool = pool
        self._proofs = proofs
        self._owner = owner
        self._watches = watches
        self._interval = interval
        self._turns = min(math.ceil(longest_silence / interval) + SPARE_TURNS, MAX_TURNS)
        self._voucher = Voucher(turns=self._turns)
        self._unreported: dict[int, LastProof] = {}
        self._begun: set[int] = set()  # users with a new session
        self._losses = watches.losses
        self._began = asyncio.get_running_loop().time()  # of the interval
        self._clocks = Clocks()

    async def run(self) -> None:
        """Report until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._interval
            await asyncio.sleep(self._interval)
            await self.report(is_late=loop.time() > due + LATE_SECONDS)

    async def report(self, *, is_late: bool = False) -> None:
        """End the interval, and report what was received in it and is not reported yet.

        `is_late`: of what was received, only the interval is known.
        """
        now = asyncio.get_running_loop().time()
        since, self._began = self._began, now
        seen = self._proofs.last(after=since)
        if is_late:
            seen = {user_id: LastProof(since, proof.shard) for user_id, proof in seen.items()}
        self._unreported.update(seen)
        self._begun |= self._proofs.take_begun()
        if self._losses != self._watches.losses or self._voucher.is_worn(sessions=self._proofs.sessions):
            self._begin_again()
        try:
            await self._check(self._voucher.trusted & self._begun)
            self._begun = set()
            if await self._write(since, seen):
                await self._check(self._voucher.next_to_check(BATCH_USERS))
            else:  # this idler does not know it yet
                log.info("proofs of life are not written yet: shards were lost")
        except UNAVAILABLE as error:
            log.warning("proofs of life are not written yet: %s", error)
            self._voucher.trusted.clear()  # they may be stalled when they are written

    def _begin_again(self) -> None:
        """Report all sessions under another name: PostgreSQL may have lost writes, or most places are unused."""
        self._losses = self._watches.losses
        self._voucher = Voucher(turns=self._turns)
        self._unreported = self._proofs.last(after=-math.inf) | self._unreported

    async def _write(self, since: float, seen: Mapping[int, LastProof]) -> bool:
        """Write the interval that began at `since`, and single users; return whether the vouch was accepted."""
        voucher, owner = self._voucher, self._owner
        to_time = await self._clocks.read(self._pool)
        epochs = dict(owner.epochs)
        unreported = {user: proof for user, proof in self._unreported.items() if proof.shard in epochs}
        vouched = seen.keys() & unreported.keys()
        if (leaving := voucher.leaving(vouched)) is not None and leaving.users:
            await queries.keep_vouched(
                self._pool, sorted(leaving.users), voucher=voucher.id, since=leaving.since
            )
            voucher.trusted -= leaving.users
        single = {
            user: Proof(to_time(proof.at), voucher.slot(user))
            for user, proof in unreported.items()
            if user not in vouched or user not in voucher.trusted
        }
        written = await queries.record_proofs(self._pool, single, voucher=voucher.id, idler=owner.idler)
        is_accepted = await queries.vouch(
            self._pool,
            voucher=voucher.id,
            turn=voucher.turn,
            since=to_time(since),
            proven=voucher.bits(vouched),
            idler=owner.idler,
            epochs=epochs,
        )
        if is_accepted:
            voucher.trusted.update(written)
            voucher.add(to_time(since), vouched)
            self._unreported = {}
        return is_accepted

    async def _check(self, users: Collection[int]) -> None:
        """Find those of these users for whom the vouches do not count.

        All users are checked, some at a time; those with a new session at once, because another idler, or
        nobody, may have watched them meanwhile.
        """
        doubtful = await queries.find_doubtful(self._pool, sorted(users), voucher=self._voucher.id)
        self._voucher.trusted -= doubtful


class Clocks:
    """The clock of the event loop in PostgreSQL's time."""

    def __init__(self) -> None:
        self._last: tuple[datetime, float] | None = None

    async def read(self, pool: Pool) -> Callable[[float], datetime]:
        """Return a function that converts a past time of the event loop; its result is never too late.

        PostgreSQL's clock was read before its answer came. A machine that is suspended stops the loop's clock, so
        that the distance to the reading before counts as well.
        """
        time = await queries.read_clock(pool)
        latest = time, asyncio.get_running_loop().time()
        readings = [reading for reading in (self._last, latest) if reading is not None]
        self._last = latest
        return lambda at: min(time + timedelta(seconds=at - read_at) for time, read_at in readings)
