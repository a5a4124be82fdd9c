"""Activity for people: counts per interval of a partner, an endpoint, the providers, and sessions of idlers."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import statements
from superimap.db.engine import driver_connection
from superimap.domain.activity import ALL_IDLERS, BUCKETS, IDLER_GRAIN_SECONDS, ActivityCounts

_STATEMENTS = statements.load(__file__)
_READ_CLOCK = _STATEMENTS["read_clock"]
_PARTNER_SLOTS = _STATEMENTS["partner_slots"]
_PARTNER_HISTOGRAMS = _STATEMENTS["partner_histograms"]
_PROVIDER_SLOTS = _STATEMENTS["provider_slots"]
_PROVIDER_HISTOGRAMS = _STATEMENTS["provider_histograms"]
_IDLER_SAMPLES = _STATEMENTS["idler_samples"]

_PROVIDER_TIMES = ("latencies", "delays", "recordings")

MAX_SAMPLED_IDLERS = 20
"""Idlers of which samples are read one by one."""


@dataclass(frozen=True, slots=True)
class Window:
    """Intervals of `step_seconds` from `start` to now. Everything up to `counted_to` is in them."""

    start: datetime
    step_seconds: float
    count: int
    counted_to: datetime | None


@dataclass(frozen=True, slots=True)
class ActivitySeen:
    """The counts of each interval of a window, and histograms of all of it, in buckets of `domain.activity`."""

    window: Window
    slots: list[ActivityCounts]
    latencies: tuple[int, ...] = (0,) * BUCKETS
    answer_times: tuple[int, ...] = (0,) * BUCKETS
    delays: tuple[int, ...] = (0,) * BUCKETS
    recordings: tuple[int, ...] = (0,) * BUCKETS

    @property
    def total(self) -> ActivityCounts:
        """The sum of all intervals."""
        return add_up(self.slots)


@dataclass(frozen=True, slots=True)
class IdlerSamples:
    """Samples of one idler, one for each interval of the window; 0 where it did not live."""

    sessions: list[int]
    users: list[int]
    capacity: list[int]


async def window(db: AsyncSession, *, hours: float, step_seconds: float) -> Window:
    """Return the window of the last hours, its start rounded down to whole steps."""
    driver = await driver_connection(db)
    row = await driver.fetchrow(*_READ_CLOCK.bind())
    now: datetime = row["now"]
    end = int(now.timestamp() // step_seconds + 1) * step_seconds
    count = round(hours * 3600 / step_seconds)
    start = now + timedelta(seconds=end - count * step_seconds - now.timestamp())
    return Window(start.replace(microsecond=0), step_seconds, count, row["counted_to"])


async def of_partner(
    db: AsyncSession, partner_id: int, within: Window, *, endpoint_id: int | None = None
) -> ActivitySeen:
    """Return what happened to a partner, or at one of its endpoints."""
    driver = await driver_connection(db)
    which = {"partner_id": partner_id, "endpoint_id": endpoint_id, "since": within.start}
    rows = await driver.fetch(*_PARTNER_SLOTS.bind(**which, step=within.step_seconds))
    histograms = await driver.fetchrow(*_PARTNER_HISTOGRAMS.bind(**which))
    return ActivitySeen(within, _slots(within, rows), *map(_histogram, histograms))


async def of_providers(
    db: AsyncSession, within: Window, *, with_histograms: bool = False
) -> dict[int, ActivitySeen]:
    """Return what happened at each provider that had something to do, by its id."""
    driver = await driver_connection(db)
    found: defaultdict[int, list[Mapping[str, Any]]] = defaultdict(list)
    for row in await driver.fetch(*_PROVIDER_SLOTS.bind(since=within.start, step=within.step_seconds)):
        found[row["provider_id"]].append(row)
    histograms: dict[int, dict[str, tuple[int, ...]]] = {}
    if with_histograms:
        for row in await driver.fetch(*_PROVIDER_HISTOGRAMS.bind(since=within.start)):
            histograms[row["provider_id"]] = {name: _histogram(row[name]) for name in _PROVIDER_TIMES}
    return {
        provider: ActivitySeen(within, _slots(within, rows), **histograms.get(provider, {}))
        for provider, rows in found.items()
    }


async def of_installation(db: AsyncSession, within: Window) -> ActivitySeen:
    """Return what happened at all providers together."""
    seen = (await of_providers(db, within, with_histograms=True)).values()
    columns = zip(*(each.slots for each in seen), strict=True)
    slots = [add_up(column) for column in columns] or [ActivityCounts() for _ in range(within.count)]
    histograms = {
        name: tuple(sum(getattr(each, name)[place] for each in seen) for place in range(BUCKETS))
        for name in _PROVIDER_TIMES
    }
    return ActivitySeen(within, slots, **histograms)


async def of_idlers(
    db: AsyncSession, idler_ids: Sequence[int], *, hours: float
) -> tuple[Window, dict[int, IdlerSamples]]:
    """Return the samples of these idlers, MAX_SAMPLED_IDLERS at most, and of all together (ALL_IDLERS)."""
    within = await window(db, hours=hours, step_seconds=IDLER_GRAIN_SECONDS)
    chosen = [ALL_IDLERS, *idler_ids[:MAX_SAMPLED_IDLERS]]
    driver = await driver_connection(db)
    given = _IDLER_SAMPLES.bind(idler_ids=chosen, since=within.start, most=within.count)
    found = {each: IdlerSamples(*([0] * within.count for _ in range(3))) for each in chosen}
    for row in await driver.fetch(*given):
        place, samples = _place(within, row["began_at"]), found[row["idler_id"]]
        for name in ("sessions", "users", "capacity"):
            getattr(samples, name)[place] = row[name]
    return within, found


def add_up(counts: Iterable[ActivityCounts]) -> ActivityCounts:
    """Return the sum."""
    total = ActivityCounts()
    for each in counts:
        for name in _NUMBERS:
            setattr(total, name, getattr(total, name) + getattr(each, name))
    return total


_NUMBERS = tuple(ActivityCounts.__dataclass_fields__)


def _slots(within: Window, rows: Iterable[Mapping[str, Any]]) -> list[ActivityCounts]:
    slots = [ActivityCounts() for _ in range(within.count)]
    for row in rows:
        values = {name: row[name] for name in _NUMBERS if name in row.keys()}  # noqa: SIM118
        slots[_place(within, row["began_at"])] = ActivityCounts(**values)
    return slots


def _histogram(sums: Sequence[int | None] | None) -> tuple[int, ...]:
    return tuple(count or 0 for count in sums or (0,) * BUCKETS)


def _place(within: Window, moment: datetime) -> int:
    place = int((moment - within.start).total_seconds() // within.step_seconds)
    return min(max(place, 0), within.count - 1)
