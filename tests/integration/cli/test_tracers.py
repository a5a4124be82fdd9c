"""The command `superimap tracers`: the state of each provider, and an exit code for scripts."""

from __future__ import annotations

import asyncio

import asyncpg
from typer.testing import CliRunner

from superimap.cli import app

_PROVIDER = """
    INSERT INTO providers (code, title, kind, imap_host, imap_port, tracer_by)
    VALUES ($1, $1, 'PLAIN', 'imap.example.com', 993, 'append') RETURNING id
"""
_TRACER = """
    WITH partner AS (INSERT INTO partners (name) VALUES (coalesce($2, 'silent')) RETURNING id),
    linked AS (INSERT INTO connections (partner_id, provider_id) SELECT id, $1 FROM partner RETURNING *),
    canary AS (
        INSERT INTO users (partner_id, connection_id, tag) SELECT partner_id, id, 'canary' FROM linked RETURNING *
    ),
    today AS (
        INSERT INTO tracer_days (provider_id, day, detected, late)
        VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 99, ($2 IS NOT DISTINCT FROM 'detected')::int)
    )
    INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, accepted_at, verdict)
    SELECT partner_id, id, $1, '\\x00', now(), $2 FROM canary
"""


def add(url: str, code: str, verdict: str | None) -> None:
    async def insert() -> None:
        db = await asyncpg.connect(url)
        await db.execute(_TRACER, await db.fetchval(_PROVIDER, code), verdict)
        await db.close()

    asyncio.run(insert())


def check() -> tuple[int, str]:
    result = CliRunner().invoke(app, ["tracers", "--check"])
    return result.exit_code, result.stderr


def test_the_check_fails_while_a_provider_does(database_url, superimap, ask):
    none = superimap("tracers").output
    add(database_url, "GOOD", "detected")
    well = superimap("tracers", "--check").output
    add(database_url, "BAD", "missing")
    shown = ask("tracers")

    assert "--tracer-by" in none
    assert "99.00% in time over 28 days; 0% of the error budget is left." in well
    assert check() == (1, "")
    assert {row["code"]: row["health"] for row in shown["providers"]} == {"GOOD": "fine", "BAD": "failing"}


def test_the_check_says_so_if_nothing_could_be_checked(database_url, superimap):
    empty = check()
    add(database_url, "GOOD", "detected")
    add(database_url, "SILENT", None)
    silent = check()
    superimap("providers", "update", "SILENT", "--tracer-by", "")

    assert empty == (3, "not checked: No provider has a way to send tracers.\n")
    assert silent == (3, "not checked: No tracer of the last 6 hours has a verdict at SILENT.\n")
    assert check() == (0, "")
