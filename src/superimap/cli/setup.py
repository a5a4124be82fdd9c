"""Commands that set up and inspect an installation: schema, settings, OpenAPI description, health."""

from __future__ import annotations

import asyncio
import http.client
import os
from pathlib import Path
from typing import Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import (
    CommandError,
    command,
    explaining_database_errors,
    reporting_errors,
    transaction,
)

RECONNECT_SECONDS = 0.5
TOO_MANY_CONNECTIONS = "53300"  # the only refusal that ends by itself


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command()(migrate)
    app.command()(config)
    app.command()(openapi)
    app.command()(health)


def migrate(
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="Longest time to wait for PostgreSQL to start.")
    ] = 30.0,
    roles: Annotated[
        bool,
        typer.Option("--roles", help="Create the database roles of the processes where they are missing."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Upgrade the schema, update the privileges of the roles, and install missing provider presets."""
    from superimap.core.environment import load_settings
    from superimap.db.migrate import upgrade
    from superimap.db.privileges import apply_privileges

    with reporting_errors():
        settings = load_settings()
        with explaining_database_errors(settings.session_url):
            asyncio.run(_reach(settings.session_url, wait))
            upgrade(settings.session_url)
            granted = asyncio.run(apply_privileges(settings.session_url, create=roles))
        revision, installed = asyncio.run(_install())
    if as_json:
        output.show_json({"revision": revision, "roles": granted, "installed_providers": installed})
        return
    output.print_line(f"The schema is at revision {revision}.")
    if granted:
        output.print_line(f"Privileges are up to date for {', '.join(granted)}.")
    if installed:
        output.print_line(f"Installed {len(installed)} providers; `superimap providers list` shows them.")


async def _reach(url: str, wait: float) -> None:
    """Try to connect until it works, for at most `wait` seconds; then the last error is raised."""
    from superimap.db.failures import DatabaseFailure, classify
    from superimap.db.postgres import UNAVAILABLE, connect

    deadline = asyncio.get_running_loop().time() + wait
    while True:
        try:
            await (await connect(url)).close()
            return
        except UNAVAILABLE as error:
            is_refused = (
                classify(error) is DatabaseFailure.REFUSED
                and getattr(error, "sqlstate", "") != TOO_MANY_CONNECTIONS
            )
            if is_refused or asyncio.get_running_loop().time() + RECONNECT_SECONDS > deadline:
                raise
        await asyncio.sleep(RECONNECT_SECONDS)


async def _install() -> tuple[str, list[str]]:
    """Install missing presets; returns the revision of the schema and the codes of the new providers."""
    from sqlalchemy import text

    from superimap.db import audit
    from superimap.db.accounts import providers
    from superimap.domain.audit import AuditAction
    from superimap.domain.presets import presets

    async with transaction() as work:
        revision = await work.db.scalar(text("SELECT version_num FROM alembic_version"))
        known = presets(development=work.settings.environment == "development")
        installed = await providers.install_presets(work.db, known)
        details = {"revision": revision, "providers": installed}
        await audit.record(work.db, AuditAction.INSTALLATION_MIGRATE, partner_id=None, details=details)
        return str(revision), installed


@command
async def config(as_json: AsJson = False) -> None:
    """Show the settings in force, with secrets masked."""
    from superimap.core.environment import effective_values, load_settings

    settings = effective_values(load_settings())
    if as_json:
        output.show_json(settings)
    else:
        output.print_record(settings)


@command
async def openapi(
    target: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write to this file instead of printing."),
    ] = None,
) -> None:
    """Print the API's OpenAPI description."""
    import json

    from superimap.api.app import openapi as describe

    text = json.dumps(describe(), indent=2) + "\n"
    if target is None:
        typer.echo(text, nl=False)
        return
    try:
        target.write_text(text)
    except OSError as error:
        raise CommandError(f"Cannot write {target}: {error.strerror}.") from None
    output.print_line(f"Wrote {target}.")


def health(
    port: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=65535,
            metavar="PORT",
            help="Port of the process. [default: HEALTH_PORT, else PORT, else 8000]",
            show_default=False,
        ),
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            metavar="HOST",
            help="Address of the process. [default: HEALTH_HOST or HOST; of a wildcard, loopback]",
            show_default=False,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check whether a process is ready. Exit code 0 if it is, else 1."""
    where, asked = listening_address()
    where, asked = host or where, port or asked
    try:
        connection = http.client.HTTPConnection(where, asked, timeout=3)
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        ready, said = answer.status == 200, answer.read(500).decode(errors="replace").strip()
    except (OSError, http.client.HTTPException) as error:
        ready, said = False, f"no answer ({getattr(error, 'strerror', None) or type(error).__name__})"
    if as_json:
        output.show_json({"host": where, "port": asked, "ready": ready, "answer": said})
    else:
        shown = f"[{where}]" if ":" in where else where
        output.print_line(f"{shown}:{asked} is {'ready' if ready else 'not ready'}: {said}")
    raise typer.Exit(0 if ready else 1)


def listening_address() -> tuple[str, int]:
    """The address and port by which the process that the environment describes can be asked for its health."""
    from superimap.core.listeners import reachable_host

    for port, host in (("HEALTH_PORT", "HEALTH_HOST"), ("PORT", "HOST")):
        value = os.environ.get(port, "")
        if value.isdecimal() and int(value):
            return reachable_host(os.environ.get(host, "")), int(value)
    return reachable_host(os.environ.get("HOST", "")), 8000
