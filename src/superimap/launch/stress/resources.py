"""Checks of memory, descriptors, CPU and the database over a run, from samples."""

from __future__ import annotations

import itertools
import statistics
from collections import defaultdict
from collections.abc import Sequence

from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import ProcessSample, StoreSample
from superimap.launch.stress.slopes import Sample, pooled_slope, theil_sen
from superimap.launch.stress.verdict import Check, check_limit

WARM_UP_SECONDS = 180.0
WARM_UP_SHARE, LONGEST_WARM_UP_SECONDS = 1 / 3, 600.0
"""Part of a life that is not judged, within these limits: sessions and pools fill, and caches for some minutes."""

JUDGED_SECONDS = 150.0
"""Least time after that with the same load, because shorter slopes show single steps of the allocator."""

LOAD_BAND_SHARE, LOAD_BAND_DESCRIPTORS = 0.1, 10
"""Difference of the open descriptors up to which a process counts as having the same load."""

STEP_MIB = 1.0
"""Growth that is allowed in any part: glibc extends its arenas in such steps."""

CPU_BUCKET_SECONDS = 10.0
SLOPE_UNITS = 60.0
"""Seconds of a minute: slopes are shown by the minute."""

TABLE_BYTES_PER_MAIL = 16_384
WAL_BYTES_PER_MAIL = 32_768
QUEUED_JOBS = 200


def judge_resources(
    plan: StressPlan, samples: Sequence[ProcessSample], stores: Sequence[StoreSample], mails: int
) -> list[Check]:
    """Return the checks of processes by kind, and of the database and the queue."""
    checks = []
    for kind in sorted({sample.kind for sample in samples}):
        lives = _lives([sample for sample in samples if sample.kind == kind])
        checks += [
            _check_memory(plan, kind, lives),
            _check_count(plan, kind, lives, "descriptors"),
            _check_count(plan, kind, lives, "tasks"),
            _check_cpu(plan, kind, lives),
        ]
    return [*checks, *_check_stores(stores, mails)]


ProcessLife = Sequence[ProcessSample]
Lives = list[list[ProcessSample]]


def _lives(samples: Sequence[ProcessSample]) -> Lives:
    found: defaultdict[tuple[str, int], list[ProcessSample]] = defaultdict(list)
    for sample in samples:
        found[sample.process, sample.life].append(sample)
    return list(found.values())


def long_lives(lives: Lives) -> Lives:
    """Return the lives of at least half the length of the longest: shorter ones are mostly warm-up."""
    longest = max(map(_length, lives), default=0.0)
    return [life for life in lives if _length(life) >= longest / 2]


def _length(life: ProcessLife) -> float:
    return life[-1].at - life[0].at


def judged_parts(life: ProcessLife) -> Lives:
    """Return the parts of a life after its warm-up in which its load was the same, without those that are short.

    When another idler ends, the sessions of its users move: memory then grows with the number of sessions.
    """
    parts: Lives = []
    warm_up = max(WARM_UP_SECONDS, min(_length(life) * WARM_UP_SHARE, LONGEST_WARM_UP_SECONDS))
    for sample in life:
        if sample.at < life[0].at + warm_up:
            continue
        if not parts or not _has_same_load(parts[-1], sample):
            parts.append([])
        parts[-1].append(sample)
    return [part for part in parts if part[-1].at - part[0].at >= JUDGED_SECONDS]


def _has_same_load(part: ProcessLife, sample: ProcessSample) -> bool:
    usual = statistics.median(each.descriptors for each in part)
    return abs(sample.descriptors - usual) <= max(LOAD_BAND_SHARE * usual, LOAD_BAND_DESCRIPTORS)


def _check_memory(plan: StressPlan, kind: str, lives: Lives) -> Check:
    """The median slope of all parts, and the growth of each part beyond a step of the allocator."""
    judged = [
        [(each.at, each.resident_mib) for each in part]
        for life in long_lives(lives)
        for part in judged_parts(life)
    ]
    limit = plan.limits.memory_slope
    slope = pooled_slope(judged)
    excess = max((_excess(life, limit) for life in judged), default=None)
    measured = None if slope is None or excess is None else max(slope * SLOPE_UNITS, excess)
    return check_limit(f"memory of {kind}s", measured, limit, unit="MiB a minute", digits=3)


def _excess(life: Sequence[Sample], limit: float) -> float:
    """The slope of one part by the minute, without the growth of one step of the allocator."""
    minutes = (life[-1][0] - life[0][0]) / SLOPE_UNITS
    slope = (theil_sen(life) or 0.0) * SLOPE_UNITS
    return min(slope, max(slope - STEP_MIB / minutes, 0.0)) if slope > limit else slope


def _check_count(plan: StressPlan, kind: str, lives: Lives, what: str) -> Check:
    """The mean over the processes of a kind in the last third, compared with that in the first third."""
    by_bucket: defaultdict[int, dict[str, int]] = defaultdict(dict)
    for life in lives:
        for sample in life:
            if (value := getattr(sample, what)) is not None:
                by_bucket[int(sample.at // CPU_BUCKET_SECONDS)][sample.process] = value
    complete = max((len(each) for each in by_bucket.values()), default=0)
    means = [
        statistics.fmean(each.values()) for _, each in sorted(by_bucket.items()) if len(each) == complete
    ]
    third = len(means) // 3
    measured = (
        abs(statistics.median(means[-third:]) - statistics.median(means[:third])) if third >= 2 else None
    )
    return check_limit(
        f"{what} of {kind}s", measured, plan.limits.descriptors, unit="from the first third", digits=0
    )


def cpu_usage(life: Sequence[ProcessSample]) -> list[Sample]:
    """Return the CPU usage between samples of one life, as a share of a core."""
    return [
        (later.at, (later.cpu_seconds - earlier.cpu_seconds) / (later.at - earlier.at))
        for earlier, later in itertools.pairwise(life)
        if later.at > earlier.at
    ]


def _check_cpu(plan: StressPlan, kind: str, lives: Lives) -> Check:
    """The growth of the CPU usage over the judged parts, as a share of its median."""
    judged = [
        [(at, share) for at, share in cpu_usage(part) if at <= plan.seconds]
        for life in lives
        for part in judged_parts(life)
    ]
    judged = [life for life in judged if len(life) > 2]
    slope = pooled_slope(judged)
    measured = None
    if slope is not None:
        median = statistics.median(share for life in judged for _, share in life)
        longest = max(life[-1][0] - life[0][0] for life in judged)
        measured = max(slope * longest / median, 0.0) if median > 0 else 0.0
    return check_limit(f"CPU of {kind}s", measured, plan.limits.cpu_growth, unit="of growth", is_timing=True)


def _check_stores(stores: Sequence[StoreSample], mails: int) -> list[Check]:
    if len(stores) < 2 or not mails:
        return []
    first, last = stores[0], stores[-1]
    wal = (last.wal_bytes - first.wal_bytes) / mails
    tables = (last.table_bytes - first.table_bytes) / mails
    # What is queued when nothing is owed any more has been left behind.
    return [
        check_limit("WAL per mail", wal, WAL_BYTES_PER_MAIL, unit="bytes", digits=0),
        check_limit("tables per mail", tables, TABLE_BYTES_PER_MAIL, unit="bytes", digits=0),
        check_limit("queue at the end", float(last.queued), QUEUED_JOBS, unit="wake-ups", digits=0),
    ]
