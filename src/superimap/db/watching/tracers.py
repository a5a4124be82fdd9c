"""Tracers, for the idler that sends them: the next mailbox, their rows and verdicts, and what is to be deleted."""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from asyncpg import Pool, Record

from superimap.db import statements
from superimap.db.watching.intake import Fence, storable_error
from superimap.domain import tracers
from superimap.domain.tracers import CleanUp, TracerTimes, TracerVerdict

MAX_JUDGED = 1000
"""Tracers that one statement judges."""
MAX_UNCLEAN = 100

_STATEMENTS = statements.load(__file__)
_CHOOSE_USER = _STATEMENTS["choose_tracer_user"]
_NEXT_IN = _STATEMENTS["next_tracer_in"]
_MAKE = _STATEMENTS["make_tracer"]
_RECORD_ACCEPTED = _STATEMENTS["record_accepted"]
_RECORD_FAILURE = _STATEMENTS["record_failure"]
_JUDGE = _STATEMENTS["judge_tracers"]
_LIST_UNCLEAN = _STATEMENTS["list_unclean"]
_RECORD_CLEAN_UP = _STATEMENTS["record_clean_up"]


@dataclass(frozen=True, slots=True)
class TracerTarget:
    """The mailbox that gets the next tracer, and how its provider wants it sent (`TracerBy`)."""

    user_id: int
    status: str
    tracer_by: str
    is_canary: bool
    provider_code: str
    smtp_host: str | None
    smtp_port: int | None
    smtp_domain: str | None
    smtp_tls: str
    host_by_user: bool


@dataclass(frozen=True, slots=True)
class JudgedTracer:
    """A tracer that got its verdict."""

    id: int
    verdict: TracerVerdict
    provider_code: str
    times: TracerTimes


@dataclass(frozen=True, slots=True)
class UncleanTracer:
    """A tracer that was detected `age` seconds ago, in a folder with this UIDVALIDITY.

    `folder` is None if it is not known any more, `uid_validity` if the folder was renumbered.
    """

    id: int
    user_id: int
    token_digest: bytes
    uid_validity: int | None
    uid: int
    folder: str | None
    age: float
    is_canary: bool


async def choose_target(pool: Pool, *, first_pause: float) -> TracerTarget | None:
    """Return the mailbox whose turn it is, of the provider whose turn it is; None if no mailbox may have a tracer.

    After a tracer that was not accepted a mailbox pauses for `first_pause` seconds, and twice as long after each
    further one.
    """
    bound = _CHOOSE_USER.bind(
        most=tracers.MAX_CANDIDATES,
        sink_url=tracers.SINK_URL,
        counted_failures=tracers.COUNTED_FAILURES,
        not_tried=list(tracers.NOT_TRIED.values()),
        first_pause=first_pause,
        longest_pause=tracers.LONGEST_PAUSE_SECONDS,
    )
    row = await pool.fetchrow(*bound)
    return None if row is None else TracerTarget(**row)


async def seconds_until_next(pool: Pool, *, spacing: float) -> float:
    """Return the seconds until the next tracer is due, `spacing` seconds after the last one of the cluster."""
    left: float | None = await pool.fetchval(*_NEXT_IN.bind(spacing=spacing))
    return left or 0.0


async def make(
    pool: Pool, fence: Fence, target: TracerTarget, *, token_digest: bytes, spacing: float
) -> int | None:
    """Make the row of a tracer and return its id; None if it is not this idler's turn, or not due."""
    bound = _MAKE.bind(
        shard=fence.shard,
        owner=fence.owner,
        epoch=fence.epoch,
        user_id=target.user_id,
        token_digest=token_digest,
        sent_by=target.tracer_by,
        is_long=target.is_canary,
        spacing=spacing,
    )
    made: int | None = await pool.fetchval(*bound)
    return made


async def record_accepted(pool: Pool, tracer_id: int, *, at: float) -> None:
    """Record that the mail server has accepted the tracer, at this monotonic time."""
    await pool.execute(*_RECORD_ACCEPTED.bind(tracer_id=tracer_id, ago=time.monotonic() - at))


async def record_failure(pool: Pool, tracer_id: int, reason: str, *, is_certain: bool) -> None:
    """Record why the tracer was not sent, or, unless `is_certain`, perhaps not sent."""
    bound = _RECORD_FAILURE.bind(tracer_id=tracer_id, reason=storable_error(reason), is_certain=is_certain)
    await pool.execute(*bound)


async def judge(pool: Pool, limits: Mapping[str, float]) -> list[JudgedTracer]:
    """Judge tracers whose time has come, each once in the cluster; `limits` are those of `verdict_limits`."""
    return [_judged(row) for row in await pool.fetch(*_JUDGE.bind(limit=MAX_JUDGED, **limits))]


def verdict_limits(
    *,
    missing: float = tracers.MISSING_SECONDS,
    send: float = tracers.SEND_SECONDS,
    acknowledge: float = tracers.ACKNOWLEDGE_SECONDS,
) -> dict[str, float]:
    """Return the times in seconds by which tracers are judged."""
    return {
        "late_seconds": tracers.LATE_SECONDS,
        "missing_seconds": missing,
        "send_seconds": send,
        "acknowledge_seconds": acknowledge,
    }


async def list_unclean(pool: Pool, *, failing: Collection[int] = ()) -> list[UncleanTracer]:
    """Return detected tracers of which nothing is recorded yet about their deletion, oldest first.

    Those of the users in `failing` are left out.
    """
    bound = _LIST_UNCLEAN.bind(limit=MAX_UNCLEAN, sink_url=tracers.SINK_URL, failing=list(failing))
    return [UncleanTracer(**row) for row in await pool.fetch(*bound)]


async def record_clean_up(pool: Pool, ids: Sequence[int], clean_up: CleanUp) -> None:
    """Record what became of these tracers in their mailbox."""
    if ids:
        await pool.execute(*_RECORD_CLEAN_UP.bind(ids=list(ids), clean_up=clean_up))


def _judged(row: Record) -> JudgedTracer:
    times = TracerTimes(
        made=row["created_at"],
        accepted=row["accepted_at"],
        internal_date=row["internal_date"],
        seen=row["seen_at"],
        fetched=row["fetched_at"],
        recorded=row["detected_at"],
        claimed=row["claimed_at"],
        posted=row["posted_at"],
        acknowledged=row["acknowledged_at"],
    )
    return JudgedTracer(row["id"], TracerVerdict(row["verdict"]), row["provider_code"], times)
