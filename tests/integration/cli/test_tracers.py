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
    WITH partner AS (INSERT INTO partners (name) VALUES ($2) RETURNING id),
    linked AS (INSERT INTO connections (partner_id, provider_id) SELECT id, $1 FROM partner RETURNING *),
    canary AS (
        INSERT INTO users (partner_id, connection_id, tag) SELECT partner_id, id, 'canary' FROM linked RETURNING *
    ),
    today AS (
        INSERT INTO tracer_days (provider_id, day, detected, late)
        VALUES ($1, (now() AT TIME ZONE 'UTC')::date, 99, ($2 = 'detected')::int)
    )
    INSERT INTO tracers (partner_id, user_id, provider_id, token_digest, accepted_at, verdict)
    SELECT partner_id, id, $1, '\\x00', now(), $2 FROM canary
"""


def add(url: str, code: str, verdict: str) -> None:
    async def insert() -> None:
        db = await asyncpg.connect(url)
        await db.execute(_TRACER, await db.fetchval(_PROVIDER, code), verdict)
        await db.close()

    asyncio.run(insert())


def test_the_check_fails_while_a_provider_does(database_url, superimap, ask):
    none = superimap("tracers", "--check").output
    add(database_url, "GOOD", "detected")
    well = superimap("tracers", "--check").output
    add(database_url, "BAD", "missing")
    ill = CliRunner().invoke(app, ["tracers", "--check"])
    shown = ask("tracers")

    assert "--tracer-by" in none
    assert "99.00% in time over 28 days; 0% of the error budget is left." in well
    assert ill.exit_code == 1
    assert {row["code"]: row["health"] for row in shown["providers"]} == {"GOOD": "fine", "BAD": "failing"}
