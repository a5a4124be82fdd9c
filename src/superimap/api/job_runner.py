"""Execution of jobs by an API process, batch by batch, while there are unfinished ones."""

import asyncio
import contextlib
import logging
import random
from uuid import UUID, uuid4

from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.api.errors import temporary_failure
from superimap.api.resources import Ring
from superimap.db.accounts import jobs
from superimap.db.delivery import bulk_jobs
from superimap.domain.jobs import TURN_BATCHES, JobState

log = logging.getLogger(__name__)

LOOK_SECONDS = 30.0
"""Mean time between two looks for jobs that a process has left behind."""
MIN_LOOK_SECONDS = 0.2
"""Least time between two looks, while another process takes the job that waits."""


class JobRunner:
    """Runs the jobs that this process was woken for, and those that another one has left behind.

    Reads through `readers`, and works on `sessions`, whose role may change deliveries.
    """

    def __init__(
        self,
        readers: async_sessionmaker[AsyncSession],
        sessions: async_sessionmaker[AsyncSession],
        ring: Ring,
        *,
        woken: asyncio.Event,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self._readers = readers
        self._sessions = sessions
        self._ring = ring
        self._woken = woken
        self._look_seconds = look_seconds
        self._holder: UUID = uuid4()
        self._is_failing = False

    async def run(self, stop: asyncio.Event) -> None:
        """Run jobs until `stop` is set. A batch in progress is finished."""
        while not stop.is_set():
            wait = None
            try:
                wait = await self._seconds_to_next()
                if wait is not None and wait <= 0:
                    await self.run_waiting(stop)
                    wait = await self._seconds_to_next()
                self._is_failing = False
            except Exception as error:
                self._report(error)
            await self._pause(stop, wait)

    async def run_waiting(self, stop: asyncio.Event) -> None:
        """Run jobs in turns until none waits for a process. Raises what the database raises."""
        while not stop.is_set():
            async with self._sessions.begin() as db:
                job_id = await jobs.claim(db, self._holder)
            if job_id is None:
                return
            await self._take_turn(job_id, stop)

    async def _seconds_to_next(self) -> float | None:
        async with self._readers.begin() as db:
            return await jobs.seconds_to_next(db)

    async def _take_turn(self, job_id: int, stop: asyncio.Event) -> None:
        """Carry out some batches of a job, and give it back unless it has ended."""
        for _ in range(TURN_BATCHES):
            if stop.is_set() or not await self._run_batch(job_id):
                break
        async with self._sessions.begin() as db:
            await jobs.release(db, job_id, self._holder)

    async def _run_batch(self, job_id: int) -> bool:
        """Carry out a batch; return whether another one may follow."""
        try:
            async with self._sessions.begin() as db:
                job = await jobs.lock(db, job_id, self._holder)
                if job is None:
                    return False
                endpoints = await bulk_jobs.run_batch(db, job)
                is_running = job.state == JobState.RUNNING
        except Exception as error:
            if temporary_failure(error) is not None:
                raise
            log.error("job failed", extra={"job": job_id, "error": type(error).__name__})
            async with self._sessions.begin() as db:
                await jobs.fail(db, job_id, self._holder, f"An internal error: {type(error).__name__}.")
            return False
        for endpoint_id in endpoints:
            await self._ring(endpoint_id)
        return is_running

    def _report(self, error: Exception) -> None:
        """Log the first of several failures in a row: every process without a database would repeat it."""
        if not self._is_failing:
            log.warning("jobs wait, because of an error", extra={"error": type(error).__name__})
        self._is_failing = True

    async def _pause(self, stop: asyncio.Event, wait: float | None) -> None:
        """Wait until a job is made here, one that was postponed is due, or the next look.

        Processes look at different times.
        """
        seconds = self._look_seconds * random.uniform(0.5, 1.5)  # noqa: S311 - no secret
        if wait is not None:
            seconds = min(seconds, max(wait, MIN_LOOK_SECONDS))
        waits = [asyncio.create_task(event.wait()) for event in (stop, self._woken)]
        try:
            await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for each in waits:
                each.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await each
        self._woken.clear()
