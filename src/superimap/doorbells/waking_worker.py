"""arq's worker, woken through Redis instead of polling, and taking many jobs in one round trip."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from typing import Any, cast

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix
from arq.worker import Worker
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError

log = logging.getLogger(__name__)

WAKE_KEY = "superimap:wakes"
"""A list with an entry for each batch of rings. The entry says nothing: the queue has the jobs."""
MAX_WAKES = 16
"""Entries that are kept while no worker waits for one."""
BLOCK_SECONDS = 1
"""The queue is read after this time without a wake-up: one may be lost with the process that took it."""
_JOBS_PER_ROUND_TRIP = 100
_UNREACHABLE = (RedisError, OSError, TimeoutError)


def push_wake(pipe: Pipeline) -> None:
    """Have the pipeline wake one worker."""
    pipe.lpush(WAKE_KEY, 1)
    pipe.ltrim(WAKE_KEY, 0, MAX_WAKES - 1)


class WakingWorker(Worker):
    """arq's worker, with four differences.

    - It blocks on WAKE_KEY, by the client `waiter`, and so wakes one of the workers that wait. If Redis refuses
      the command, it polls like arq.
    - It takes jobs by `SET NX`, as many as it has room for at once. arq takes one in four round trips.
    - It does not ask for INFO, which a user of Redis may be denied.
    - arq reports a job that it could not remove only in the event loop's log of errors.
    """

    waiter: ArqRedis
    report: Callable[[None], None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_room = asyncio.Event()
        self._may_block = True
        self._waiting = asyncio.timeout(None)

    async def main(self) -> None:
        """Read the queue at each wake-up, until `end` is called."""
        while self.allow_pick_jobs:
            self._has_room.clear()
            await self._poll_iteration()
            self.report(None)
            if not self.allow_pick_jobs:
                return
            with contextlib.suppress(TimeoutError):  # `end` was called; Redis has an error of its own
                async with asyncio.timeout(None) as self._waiting:
                    await self._wait()

    def end(self) -> None:
        """Take no more jobs, and have `main` return."""
        self.allow_pick_jobs = False
        with contextlib.suppress(RuntimeError):  # it does not wait now
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _wait(self) -> None:
        """Wait for a wake-up. A worker that has no room for a job wakes another, and waits for the end of one."""
        if self.job_counter >= self.max_jobs:
            await self.wake_another()
            await self._has_room.wait()
        elif self._may_block:
            try:
                await cast(Awaitable[Any], self.waiter.blpop([WAKE_KEY], timeout=BLOCK_SECONDS))
            except ResponseError as error:
                self._may_block = False
                log.warning("Redis refuses BLPOP; the queue is polled: %s", error)
            return
        await asyncio.sleep(self.poll_delay_s)

    async def wake_another(self) -> None:
        """Wake another worker, for jobs that this one does not take."""
        async with self.pool.pipeline(transaction=True) as pipe:
            push_wake(pipe)
            await pipe.execute()

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._has_room.set()

    async def start_jobs(self, job_ids: Sequence[bytes]) -> None:
        """Take jobs while there is room, and run each as a task."""
        following = iter(job_ids)
        while (room := self.max_jobs - self.job_counter) > 0:
            names = [name.decode() for name in islice(following, min(room, _JOBS_PER_ROUND_TRIP))]
            if not names:
                return
            for name, score in await self._take(names):
                await self.sem.acquire()
                self.job_counter += 1
                self.tasks[name] = task = asyncio.create_task(self.run_job(name, score))
                task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())

    async def _take(self, names: Sequence[str]) -> list[tuple[str, int]]:
        """Mark jobs as in progress; return those that nobody else had marked, with their scores.

        Who finishes a job removes its mark and its score together. A mark without a score is of a finished job.
        """
        milliseconds = int(self.in_progress_timeout_s * 1000)
        async with self.pool.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.set(in_progress_key_prefix + name, b"1", nx=True, px=milliseconds)
                pipe.zscore(self.queue_name, name)
            answers = await pipe.execute()
        marked = [
            (name, score)
            for name, is_marked, score in zip(names, answers[::2], answers[1::2], strict=True)
            if is_marked
        ]
        if finished := [in_progress_key_prefix + name for name, score in marked if score is None]:
            await self.pool.delete(*finished)
        return [(name, int(score)) for name, score in marked if score is not None]

    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        """As arq. If Redis does not answer, the job's generation is skipped, like that of a process that died."""
        try:
            await super().finish_job(*args, **kwargs)
        except _UNREACHABLE as error:
            log.debug("doorbell could not be removed from the queue: %s", error)
