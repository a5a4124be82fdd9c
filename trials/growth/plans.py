"""Plans of statements: the pages that one reads, and large tables that it would read from end to end."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

PLANNING_COST = 50.0
"""Cost that PostgreSQL adds to a plan for given arguments, at most, when it compares it with the generic one."""
LARGE_TABLES = frozenset(
    {"users", "mailboxes", "messages", "deliveries", "attempts", "user_events", "tracers"}
)
"""Tables that grow with the users or the mails."""


_EXPLAIN_IN_FUNCTION = """
    CREATE OR REPLACE FUNCTION pg_temp.plan_of(statement text) RETURNS text LANGUAGE plpgsql AS $$
    DECLARE plan text;
    BEGIN
        EXECUTE statement INTO plan;
        RETURN plan;
    END
    $$
"""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a statement reads: pages of 8 KiB, and large tables that one of its plans scans sequentially.

    A table counts even if the scan was not executed: with other arguments it may be.
    """

    pages: int
    scanned: frozenset[str]
    plan: dict[str, Any]


async def read(db: asyncpg.Connection, sql: str, arguments: Sequence[object]) -> Reading:
    """Run the statement, without effect; also plan it for unknown arguments, as PostgreSQL may do."""
    transaction = db.transaction()
    await transaction.start()
    try:
        run = await _explain(db, f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {sql}", *arguments)
    finally:
        await transaction.rollback()
    generic = await _explain_generic(db, sql) if arguments else run
    pages = run["Shared Hit Blocks"] + run["Shared Read Blocks"]
    nodes = [*_nodes(run)]
    if generic["Total Cost"] <= run["Total Cost"] + PLANNING_COST:
        nodes += _nodes(generic)
    scanned = {node["Relation Name"] for node in nodes if node["Node Type"] == "Seq Scan"}
    return Reading(pages, LARGE_TABLES & scanned, run)


async def _explain(db: asyncpg.Connection, sql: str, *arguments: object) -> dict[str, Any]:
    found = await db.fetchval(sql, *arguments)
    plan: dict[str, Any] = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
    return plan


async def _explain_generic(db: asyncpg.Connection, sql: str) -> dict[str, Any]:
    """Explain in a function: asyncpg would want arguments for the parameters."""
    await db.execute(_EXPLAIN_IN_FUNCTION)
    return await _explain(db, "SELECT pg_temp.plan_of($1)", f"EXPLAIN (GENERIC_PLAN, FORMAT JSON) {sql}")


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)
