"""arq's worker, woken through Redis instead of polling, with few round trips."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, cast

from arq.connections import ArqRedis
from arq.constants import in_progress_key_prefix, job_key_prefix
from arq.jobs import SerializationError, deserialize_job_raw
from arq.worker import Worker
from redis.asyncio.client import Pipeline
from redis.exceptions import RedisError, ResponseError

log = logging.getLogger(__name__)

WAKE_KEY = "superimap:wakes"
"""A list with the name of each job that was put into the queue, or with another text: look at the whole queue."""
MAX_WAKES = 10_000
"""Entries that are kept while no worker waits for one; the oldest are dropped first."""
BLOCK_SECONDS = 1
"""The whole queue is read after this time: a wake-up may be lost with the process that took it."""
_LOOK_AT_ALL = "*"
_JOBS_PER_ROUND_TRIP = 100
_UNREACHABLE = (RedisError, OSError, TimeoutError)


def push_wakes(pipe: Pipeline, names: Iterable[str]) -> None:
    """Have the pipeline wake a worker for each of these jobs."""
    pipe.rpush(WAKE_KEY, *names)
    pipe.ltrim(WAKE_KEY, -MAX_WAKES, -1)


def _must(*answers: Any) -> tuple[Any, ...]:
    """Return answers of Redis. Raises one that is an error."""
    for each in answers:
        if isinstance(each, Exception):
            raise each
    return answers


@dataclass(frozen=True, slots=True)
class Taken:
    """A job that this worker has marked as its own.

    `call` is arq's encoding of its function and arguments; None if that has expired. `is_counted` says that its
    counter was raised.
    """

    name: str
    call: bytes | None
    is_counted: bool


class WakingWorker(Worker):
    """arq's worker, with these differences.

    - It blocks on WAKE_KEY, by the client `waiter`, and so wakes one of the workers that wait. If Redis refuses
      the command, it polls like arq.
    - A wake-up names the job, which is taken by `SET NX` in one round trip with its call. That round trip also
      raises the counter that `counter_of` returns for the job, if any. arq needs six.
    - It does not ask for INFO, which a user of Redis may be denied.
    - arq reports a job that it could not remove only in the event loop's log of errors.
    """

    waiter: ArqRedis
    report: Callable[[None], None]
    counter_of: Callable[[str], str | None]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._has_room = asyncio.Event()
        self._may_block = True
        self._waiting = asyncio.timeout(None)
        self._looked_at_all = -float("inf")

    async def main(self) -> None:
        """Take jobs at each wake-up, until `end` is called."""
        woken = [_LOOK_AT_ALL]
        while self.allow_pick_jobs:
            self._has_room.clear()
            await self._take_jobs(woken)
            self._forget_ended()
            await self.heart_beat()
            self.report(None)
            if not self.allow_pick_jobs:
                return
            woken = []
            with contextlib.suppress(TimeoutError):  # `end` was called; Redis has an error of its own
                async with asyncio.timeout(None) as self._waiting:
                    woken = await self._wait()

    def end(self) -> None:
        """Take no more jobs, and have `main` return."""
        self.allow_pick_jobs = False
        with contextlib.suppress(RuntimeError):  # it does not wait now
            self._waiting.reschedule(asyncio.get_running_loop().time())

    async def _wait(self) -> list[str]:
        """Wait for a wake-up. A worker that has no room for a job wakes another, and waits for the end of one."""
        if self._room() <= 0:
            await self.wake_another()
            await self._has_room.wait()
        elif self._may_block:
            try:
                waited = self.waiter.blpop([WAKE_KEY], timeout=BLOCK_SECONDS)
                found = await cast(Awaitable[tuple[bytes, bytes] | None], waited)
            except ResponseError as error:
                self._may_block = False
                log.warning("Redis refuses BLPOP; the queue is polled: %s", error)
            else:
                return [found[1].decode()] if found else [_LOOK_AT_ALL]
        else:
            await asyncio.sleep(self.poll_delay_s)
        return [_LOOK_AT_ALL]

    async def wake_another(self) -> None:
        """Wake another worker, for jobs that this one does not take."""
        async with self.pool.pipeline(transaction=True) as pipe:
            push_wakes(pipe, [_LOOK_AT_ALL])
            await pipe.execute()

    def _room(self) -> int:
        return self.max_jobs - self.job_counter

    def _release_sem_dec_counter_on_complete(self) -> None:
        super()._release_sem_dec_counter_on_complete()
        self._has_room.set()

    async def _take_jobs(self, woken: list[str]) -> None:
        """Take the jobs that wake-ups name, then those of further wake-ups; now and then look at all."""
        while woken and self.allow_pick_jobs:
            is_late = asyncio.get_running_loop().time() - self._looked_at_all >= BLOCK_SECONDS
            if is_late or not all(map(self._is_job, woken)):
                self._looked_at_all = asyncio.get_running_loop().time()
                named = list(filter(self._is_job, woken))  # it may be behind all that is read
                await self._start_all(list(dict.fromkeys([*named, *await self._list_waiting()])))
                return
            woken = await self._start(woken, more=self._room() - len(woken))

    async def _list_waiting(self) -> list[str]:
        """Return the jobs of the queue that no worker has marked, oldest first, in two round trips."""
        jobs = [job.decode() for job in await self.pool.zrange(self.queue_name, 0, self.queue_read_limit - 1)]
        marks = await self.pool.mget([in_progress_key_prefix + job for job in jobs]) if jobs else []
        return [job for job, mark in zip(jobs, marks, strict=True) if mark is None]

    async def _start_all(self, names: list[str]) -> None:
        """Take these jobs while there is room, and run each as a task."""
        while names and (room := min(self._room(), _JOBS_PER_ROUND_TRIP)) > 0:
            await self._start(names[:room], more=0)
            names = names[room:]

    async def _start(self, names: Sequence[str], *, more: int) -> list[str]:
        """Take these jobs and run each as a task; returns up to `more` wake-ups that came meanwhile."""
        taken, woken = await self._take(names, more)
        for job in taken:
            await self.sem.acquire()
            self.job_counter += 1
            self.tasks[job.name] = task = asyncio.create_task(self._run(job))
            task.add_done_callback(lambda _: self._release_sem_dec_counter_on_complete())
        return woken

    async def _take(self, names: Sequence[str], more: int) -> tuple[list[Taken], list[str]]:
        """Mark jobs as in progress; return those that nobody else had marked, and up to `more` further wake-ups.

        Who finishes a job removes its mark and its place in the queue together. A mark of a job that is not in
        the queue is of a finished one.
        """
        counters = {name: counter for name in names if (counter := self.counter_of(name)) is not None}
        milliseconds = int(self.in_progress_timeout_s * 1000)
        async with self.pool.pipeline(transaction=False) as pipe:
            for name in names:
                pipe.set(in_progress_key_prefix + name, b"1", nx=True, px=milliseconds)
                pipe.zscore(self.queue_name, name)
                pipe.get(job_key_prefix + name)
            if more > 0:
                pipe.lpop(WAKE_KEY, min(more, _JOBS_PER_ROUND_TRIP))
            for counter in counters.values():
                pipe.incr(counter)
            answers = iter(await pipe.execute(raise_on_error=False))
        jobs = [(name, *_must(*islice(answers, 3))) for name in names]
        (woken,) = _must(next(answers)) if more > 0 else (None,)
        counted = {name for name in counters if not isinstance(next(answers), Exception)}
        marked = [(name, score, call) for name, is_marked, score, call in jobs if is_marked]
        if finished := [in_progress_key_prefix + name for name, score, _ in marked if score is None]:
            await self.pool.delete(*finished)
        taken = [Taken(name, call, name in counted) for name, score, call in marked if score is not None]
        return taken, [each.decode() for each in woken or []]

    async def _run(self, job: Taken) -> None:
        """Run a job. One that was cancelled stays in the queue, for another worker."""
        is_finished = True
        try:
            name, args = self._call_of(job)
            async with asyncio.timeout(self.job_timeout_s):
                await self.functions[name].coroutine({"is_counted": job.is_counted}, *args)
        except asyncio.CancelledError:
            is_finished = False
        except SerializationError as error:
            log.warning("a job of the queue cannot be read: %s", error, extra={"job": job.name})
        except Exception:
            log.exception("a job of the queue failed", extra={"job": job.name})
        await asyncio.shield(self.finish_job(job.name, is_finished, None, None, False, None, None))

    def _call_of(self, job: Taken) -> tuple[str, tuple[Any, ...]]:
        """Decode the name of the function and its arguments. Raises SerializationError."""
        if job.call is None:
            raise SerializationError("it has expired")
        name, args, _, _, _ = deserialize_job_raw(job.call, deserializer=self.job_deserializer)
        if name not in self.functions:
            raise SerializationError("it calls no function of ours")
        return name, args

    def _is_job(self, text: str) -> bool:
        """Whether a wake-up names a job of ours."""
        return text.partition(":")[0] in self.functions

    def _forget_ended(self) -> None:
        for name, task in list(self.tasks.items()):
            if task.done():
                del self.tasks[name]
                task.result()  # raises what went wrong

    async def finish_job(self, *args: Any, **kwargs: Any) -> None:
        """As arq. If Redis does not answer, the job's generation is skipped, like that of a process that died."""
        try:
            await super().finish_job(*args, **kwargs)
        except _UNREACHABLE as error:
            log.debug("doorbell could not be removed from the queue: %s", error)
