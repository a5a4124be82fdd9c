"""The command `superimap tracers`: whether test mails arrive at each provider."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import command, database

if TYPE_CHECKING:
    from superimap.db.monitoring.tracers import ProviderTracers

FAILING, NOT_CHECKED = 1, 3
"""Exit codes with --check; 2 is the code of wrong options."""

HEADINGS = ("PROVIDER", "ARRIVAL", "SENT BY", "IN TIME", "LATE", "MISSING", "NOT SENT", "LAST", "FAILURE")


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(tracers)


@command
async def tracers(
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="For scripts: exit with code 1 if a provider is late or failing, 3 if one could not be checked.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show whether test mails arrive at each provider, over 28 days."""
    from superimap.db.monitoring import tracers as queries
    from superimap.domain.tracers import OBJECTIVE_DAYS

    async with database() as (_, _, sessionmaker), sessionmaker() as db:
        rows = await queries.list_providers(db)
        total = (await queries.read_days(db)).total
    if as_json:
        output.show_json(
            {"share": total.share, "budget_left": total.budget_left, "providers": list(map(asdict, rows))}
        )
    else:
        none = "No provider has a way to send tracers; `superimap providers update --tracer-by` gives one."
        output.print_table(HEADINGS, [_row(row) for row in rows], none=none)
        if total.share is not None:
            output.print_line("")
            output.print_line(
                f"{total.share:.2%} in time over {OBJECTIVE_DAYS} days; "
                f"{total.budget_left:.0%} of the error budget is left."
            )
    if check:
        _check(rows)


def _check(rows: Sequence[ProviderTracers]) -> None:
    """Exit with FAILING if mail of a provider is late or missing, else with NOT_CHECKED if that is not known."""
    from superimap.domain.tracers import CHECKED_SECONDS, TracerHealth

    if any(row.health in (TracerHealth.LATE, TracerHealth.FAILING) for row in rows):
        raise typer.Exit(FAILING)
    used = [row for row in rows if row.tracer_by is not None]
    unchecked = [row.code for row in used if row.health is TracerHealth.UNCHECKED]
    if unchecked or not used:
        hours = CHECKED_SECONDS / 3600
        what = f"No tracer of the last {hours:g} hours has a verdict at {', '.join(unchecked)}."
        typer.echo(f"not checked: {what if used else 'No provider has a way to send tracers.'}", err=True)
        raise typer.Exit(NOT_CHECKED)


def _row(row: ProviderTracers) -> tuple[object, ...]:
    counts = row.counts
    return (
        row.code,
        row.health,
        row.tracer_by,
        counts.detected,
        counts.late,
        counts.missing,
        counts.unsendable,
        row.last_at,
        row.failure,
    )
