"""Check of all statements on a database that `fill` has filled: page budgets, and no scan of a large table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

from superimap.db import engine
from trials.growth import lists, plans, workload


@dataclass(frozen=True, slots=True)
class Result:
    """What a statement read, and what is wrong with that; empty if nothing is."""

    name: str
    pages: int
    budget: int
    faults: tuple[str, ...]


BATCH_ROWS = 5_000
"""Rows of a purge."""


async def check(url: str, *, batch: int = BATCH_ROWS) -> list[Result]:
    """Run and plan every statement; return a result for each. Purges delete `batch` rows."""
    db = await asyncpg.connect(url)
    try:
        await db.execute("UPDATE idlers SET heartbeat_at = now()")
        results = [
            await _result(db, each.name, each.sql, each.arguments, each.budget)
            for each in await workload.probes(db, batch=batch)
        ]
    finally:
        await db.close()
    return results + await _check_lists(url)


async def _check_lists(url: str) -> list[Result]:
    results = []
    async with engine.sessions(url) as sessions:
        for name, (work, budget) in lists.workloads().items():
            async with sessions() as db:
                driver = await lists.driver_of(db)

                async def record(sql: str, arguments: Sequence[Any]) -> None:
                    if sql.lstrip().startswith(("SELECT", "WITH", "UPDATE", "DELETE")):
                        results.append(await _result(driver, name, sql, arguments, budget))  # noqa: B023

                await lists.run(db, work, record)
    return results


async def _result(
    db: asyncpg.Connection, name: str, sql: str, arguments: Sequence[Any], budget: int
) -> Result:
    reading = await plans.read(db, sql, arguments)
    faults = []
    if reading.pages > budget:
        faults.append(f"reads {reading.pages} pages, {budget} at most")
    if reading.scanned and name not in workload.MAY_SCAN:
        faults.append(f"scans {', '.join(sorted(reading.scanned))}")
    return Result(name, reading.pages, budget, tuple(faults))
