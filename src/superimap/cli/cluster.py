"""The command `superimap cluster`: idlers, shards and users that are not watched."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import command, database

if TYPE_CHECKING:
    from superimap.db.monitoring.cluster_status import ClusterStatus, IdlerStatus

HEADINGS = ("ID", "NAME", "ADDRESS", "VERSION", "SESSIONS", "USERS", "SHARDS", "STATE", "HEARTBEAT")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(cluster)


@command
async def cluster(
    check: Annotated[
        bool, typer.Option("--check", help="Exit with code 1 if a user is not watched; for scripts.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show idlers, their shards, and users that are not watched."""
    from superimap.db.monitoring import statuses

    async with database() as (settings, _, sessionmaker), sessionmaker() as db:
        seen = await statuses.read_cluster_status(db, expiry=settings.heartbeat_expiry)
    if as_json:
        output.show_json(seen.as_dict())
    else:
        _show(seen)
    if check and seen.users.unserved:
        raise typer.Exit(1)


def _show(seen: ClusterStatus) -> None:
    output.print_table(HEADINGS, [_row(idler) for idler in seen.idlers], none="No idler is running.")
    shards, users = seen.shards, seen.users
    output.print_line("")
    output.print_record(
        {
            "shards": f"{shards.owned} owned, {shards.free} free, {shards.expired} of unresponsive idlers",
            "users": f"{users.wanted} wanted, {users.watched} watched, {users.unserved} unserved",
            "moved": f"{seen.moved} shards in the last hour",
        }
    )
    if users.unserved:
        output.print_line(
            f"{users.unserved} users are not watched: start another idler, or raise MAX_SESSIONS "
            "where there is memory for it."
        )


def _row(idler: IdlerStatus) -> tuple[object, ...]:
    return (
        idler.id,
        idler.name,
        idler.address,
        idler.version,
        f"{idler.sessions} of {idler.capacity}",
        idler.users,
        idler.shards,
        idler.state,
        output.format_duration(timedelta(seconds=idler.heartbeat_age)) + " ago",
    )
