"""Tracers, for people: state of each provider, the objective, stages, and the last that did not arrive in time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Connection, Provider, Tracer, TracerDay, User
from superimap.domain.tracers import (
    OBJECTIVE_DAYS,
    CleanUp,
    TracerHealth,
    TracerTimes,
    TracerVerdict,
    budget_left,
    judge_health,
)

STAGE_SAMPLE = 1000
"""The last tracers whose stages are looked at."""
LAST_MISSES = 20
SECONDS_PER_DAY = 86_400

_BAD = text(
    "tracers.verdict IN ('late', 'missing', 'unsendable')"
)  # as its index says, also in a generic plan


@dataclass(frozen=True, slots=True)
class TracerCounts:
    """Tracers by verdict."""

    detected: int = 0
    late: int = 0
    missing: int = 0
    unsendable: int = 0

    def __add__(self, other: "TracerCounts") -> "TracerCounts":
        """Return the sums."""
        return TracerCounts(
            self.detected + other.detected,
            self.late + other.late,
            self.missing + other.missing,
            self.unsendable + other.unsendable,
        )

    @property
    def bad(self) -> int:
        """Those that count against the objective; the ones that were not sent say nothing of arrival."""
        return self.late + self.missing

    @property
    def share(self) -> float | None:
        """The part that arrived in time; None without any."""
        judged = self.detected + self.bad
        return self.detected / judged if judged else None

    @property
    def budget_left(self) -> float:
        """The part of the error budget that is left; negative if it is exceeded."""
        return budget_left(good=self.detected, bad=self.bad)


@dataclass(frozen=True, slots=True)
class ProviderTracers:
    """A provider with its tracers of OBJECTIVE_DAYS days; `last_at` and `last_verdict` are of the last verdict."""

    id: int
    code: str
    title: str
    tracer_by: str | None
    counts: TracerCounts
    last_at: datetime | None
    last_verdict: TracerVerdict | None
    failure: str | None
    health: TracerHealth


@dataclass(frozen=True, slots=True)
class MissedTracer:
    """A tracer that was late, missing, or could not be sent. `arrived_at` is set if it came all the same."""

    id: int
    provider_code: str
    user_id: int
    partner_id: int
    mailbox: str
    made_at: datetime
    verdict: TracerVerdict
    failure: str | None
    accepted_at: datetime | None
    arrived_at: datetime | None
    arrival_seconds: float | None


@dataclass(frozen=True, slots=True)
class TracerDays:
    """Counts of each of OBJECTIVE_DAYS days, in UTC, the oldest first."""

    start: date
    days: Sequence[TracerCounts]

    @property
    def total(self) -> TracerCounts:
        """The sum of all days."""
        return sum(self.days, TracerCounts())


async def list_providers(db: AsyncSession, *, ids: Sequence[int] | None = None) -> list[ProviderTracers]:
    """Return the providers that have a way to send tracers, or had tracers lately, by code.

    With `ids`, return those of these providers.
    """
    sums = _sums(TracerDay.provider_id).group_by(TracerDay.provider_id).subquery()
    last = _last_judged().lateral()
    statement = (
        select(Provider.id, Provider.code, Provider.title, Provider.tracer_by)
        .add_columns(sums.c.detected, sums.c.late, sums.c.missing, sums.c.unsendable)
        .add_columns(last.c.created_at, last.c.verdict, last.c.failure, last.c.age)
        .outerjoin(sums, sums.c.provider_id == Provider.id)
        .outerjoin(last, last.c.provider_id == Provider.id)
        .order_by(Provider.code)
    )
    if ids is None:
        statement = statement.where(or_(Provider.tracer_by.is_not(None), sums.c.provider_id.is_not(None)))
    else:
        statement = statement.where(Provider.id.in_(ids))
    return [_provider(row) for row in await db.execute(statement)]


async def of_partner(db: AsyncSession, partner_id: int) -> list[ProviderTracers]:
    """Return the providers of a partner's connections with the state of their tracers, which may be others'."""
    used = select(Connection.provider_id).where(Connection.partner_id == partner_id)
    return await list_providers(db, ids=list((await db.scalars(used)).all()))


async def read_days(db: AsyncSession) -> TracerDays:
    """Return the counts of each day of the objective, over all providers."""
    start = datetime.now(UTC).date() - timedelta(days=OBJECTIVE_DAYS - 1)
    statement = _sums(TracerDay.day).group_by(TracerDay.day)
    found = {row[0]: TracerCounts(*row[1:]) for row in await db.execute(statement)}
    days = [found.get(start + timedelta(days=place), TracerCounts()) for place in range(OBJECTIVE_DAYS)]
    return TracerDays(start, days)


async def last_times(db: AsyncSession) -> list[TracerTimes]:
    """Return the moments of the last STAGE_SAMPLE tracers that were recorded."""
    statement = (
        select(
            Tracer.created_at, Tracer.accepted_at, Tracer.internal_date, Tracer.seen_at, Tracer.fetched_at,
            Tracer.detected_at, Tracer.claimed_at, Tracer.posted_at, Tracer.acknowledged_at,
        ).order_by(Tracer.created_at.desc()).limit(STAGE_SAMPLE)
    )  # fmt: skip
    found = [TracerTimes(*row) for row in await db.execute(statement)]
    return [each for each in found if each.recorded is not None]


async def list_misses(db: AsyncSession) -> list[MissedTracer]:
    """Return the last tracers that did not arrive in time, newest first."""
    statement = (
        select(Tracer, Provider.code, User.email, User.tag)
        .join(Provider, Provider.id == Tracer.provider_id)
        .join(User, User.id == Tracer.user_id)
        .where(_BAD)
        .order_by(Tracer.created_at.desc())
        .limit(LAST_MISSES)
    )
    return [_miss(*row) for row in await db.execute(statement)]


def _sums(key: Any) -> Select[Any]:
    """The counts of the days of the objective, to be grouped."""
    counts = (TracerDay.detected, TracerDay.late, TracerDay.missing, TracerDay.unsendable)
    sums = [func.coalesce(func.sum(count), 0).label(count.key) for count in counts]
    return select(key, *sums).where(_is_recent(TracerDay.day))


def _is_recent(day: Any) -> ColumnElement[bool]:
    recent: ColumnElement[bool] = day > datetime.now(UTC).date() - timedelta(days=OBJECTIVE_DAYS)
    return recent


def _last_judged() -> Select[*tuple[Any, ...]]:
    """The last tracer of a provider that has a verdict; the few after it have none yet."""
    age = func.extract("epoch", func.now() - Tracer.created_at).label("age")
    return (
        select(Tracer.provider_id, Tracer.created_at, Tracer.verdict, Tracer.failure, age)
        .where(Tracer.provider_id == Provider.id, Tracer.verdict.is_not(None))
        .correlate(Provider)
        .order_by(Tracer.created_at.desc())
        .limit(1)
    )


def _provider(row: Any) -> ProviderTracers:
    verdict = TracerVerdict(row.verdict) if row.verdict else None
    counts = TracerCounts(row.detected or 0, row.late or 0, row.missing or 0, row.unsendable or 0)
    health = judge_health(verdict, age_seconds=float(row.age or 0))
    return ProviderTracers(
        row.id, row.code, row.title, row.tracer_by, counts, row.created_at, verdict, row.failure, health
    )


def _miss(tracer: Tracer, code: str, email: str | None, tag: str) -> MissedTracer:
    times = TracerTimes(
        tracer.created_at, tracer.accepted_at, tracer.internal_date, recorded=tracer.detected_at
    )
    return MissedTracer(
        id=tracer.id,
        provider_code=code,
        user_id=tracer.user_id,
        partner_id=tracer.partner_id,
        mailbox=email or tag,
        made_at=tracer.created_at,
        verdict=TracerVerdict(tracer.verdict or TracerVerdict.MISSING),
        failure=tracer.failure,
        accepted_at=tracer.accepted_at,
        arrived_at=tracer.detected_at,
        arrival_seconds=times.arrival_seconds,
    )


CLEAN_UP_WORDS = {
    CleanUp.NO_UIDPLUS: "the mail server cannot delete one mail (no UIDPLUS)",
    CleanUp.FAILED: "could not be deleted for a day",
}
"""Why detected tracers stay in a canary's mailbox."""


async def list_kept(db: AsyncSession) -> list[tuple[str, str]]:
    """Return providers at which some of the last STAGE_SAMPLE tracers stay in canaries' mailboxes, and why."""
    recent = (
        select(Tracer.provider_id, Tracer.clean_up)
        .order_by(Tracer.created_at.desc())
        .limit(STAGE_SAMPLE)
        .subquery()
    )
    statement = (
        select(Provider.code, recent.c.clean_up)
        .join(recent, recent.c.provider_id == Provider.id)
        .where(recent.c.clean_up.in_(CLEAN_UP_WORDS))
        .distinct()
        .order_by(Provider.code)
    )
    return [(code, CLEAN_UP_WORDS[CleanUp(word)]) for code, word in await db.execute(statement)]
