"""The command `superimap plan`: what a number of mailboxes needs, computed from measured coefficients."""

from __future__ import annotations

import json
import textwrap
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import CommandError, reporting_errors

if TYPE_CHECKING:
    from superimap.cli.plan_lines import PlanLine
    from superimap.domain.capacity import Capacity

WIDTH_COLUMNS = 80
NAME_COLUMNS = 23
AMOUNT_COLUMNS = 15


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command()(plan)


def plan(
    mailboxes: Annotated[int, typer.Option(metavar="NUMBER", help="Connected mailboxes.")],
    mails_per_day: Annotated[int, typer.Option(metavar="NUMBER", help="New mails a day, in all mailboxes.")],
    partners: Annotated[
        int | None, typer.Option(metavar="NUMBER", help="Applications. [default: 10, or fewer mailboxes]")
    ] = None,
    mail_kib: Annotated[float, typer.Option(metavar="KIB", help="Mean size of a mail.")] = 5.0,
    peak_factor: Annotated[
        float, typer.Option(metavar="NUMBER", help="Mails a second at the peak, relative to the day's mean.")
    ] = 3.0,
    max_sessions: Annotated[int, typer.Option(metavar="NUMBER", help="MAX_SESSIONS of each idler.")] = 10_000,
    zones: Annotated[
        int, typer.Option(metavar="NUMBER", help="Zones, of which one may fail; 1 plans no spare.")
    ] = 3,
    logins_per_second: Annotated[
        float, typer.Option(metavar="NUMBER", help="LOGINS_PER_SECOND of each idler.")
    ] = 100.0,
    answer_ms: Annotated[
        float, typer.Option(metavar="MS", help="Time in which receivers answer a webhook.")
    ] = 100.0,
    retention_days: Annotated[float, typer.Option(metavar="DAYS", help="MESSAGE_RETENTION_DAYS.")] = 90.0,
    postgres_cores: Annotated[
        int, typer.Option(metavar="NUMBER", help="Cores of the largest PostgreSQL primary you would run.")
    ] = 64,
    pooler: Annotated[
        bool, typer.Option("--pooler", help="Processes reach PostgreSQL by PgBouncer in transaction mode.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compute what a number of mailboxes and mails needs, and the first bottleneck. Needs no installation."""
    from superimap.domain.capacity import compute
    from superimap.domain.coefficients import read_coefficients
    from superimap.domain.demand import Demand

    with reporting_errors():
        demand = Demand(
            mailboxes=mailboxes,
            mails_per_day=mails_per_day,
            partners=min(10, max(1, mailboxes)) if partners is None else partners,
            mail_kib=mail_kib,
            peak_factor=peak_factor,
            max_sessions=max_sessions,
            zones=zones,
            logins_per_second=logins_per_second,
            answer_ms=answer_ms,
            retention_days=retention_days,
            postgres_cores=postgres_cores,
            has_pooler=pooler,
        )
        file = _load()
        capacity = compute(demand, read_coefficients(file["coefficients"]))
    if as_json:
        output.show_json(_as_dict(capacity, file["machine"]))
    else:
        _show(capacity, file["machine"])


def coefficients_file() -> Path:
    """Return the file of coefficients: in an installed wheel, or else beside the benchmark that writes it."""
    packaged = Path(__file__).resolve().parents[1] / "domain" / "coefficients.json"
    return (
        packaged
        if packaged.is_file()
        else Path(__file__).resolve().parents[3] / "benchmarks/coefficients.json"
    )


def _load() -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(coefficients_file().read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"The coefficients cannot be read: {error}.") from None
    return found


def _as_dict(capacity: Capacity, machine: dict[str, Any]) -> dict[str, Any]:
    from superimap.cli.plan_lines import lines
    from superimap.domain.bottlenecks import bottlenecks, cells, settings

    return {
        "demand": asdict(capacity.demand),
        "needs": {
            line.key: {"amount": line.value, "unit": line.unit, "from": line.basis}
            for line in lines(capacity)
        },
        "settings": settings(capacity),
        "bottlenecks": [asdict(each) for each in bottlenecks(capacity)],
        "cells": cells(capacity),
        "coefficients": asdict(capacity.coefficients),
        "machine": machine,
    }


def _show(capacity: Capacity, machine: dict[str, Any]) -> None:
    from superimap.cli.plan_lines import lines, number
    from superimap.domain.bottlenecks import settings

    demand = capacity.demand
    _print(
        f"{demand.mailboxes:,} mailboxes of {demand.partners:,} partners, {demand.mails_per_day:,} mails a day "
        f"of {demand.mail_kib:g} KiB; at the peak {number(capacity.peak_mails)} a second "
        f"({demand.peak_factor:g} times the mean)."
    )
    output.print_line("")
    for line in lines(capacity):
        _print_need(line)
    if changed := settings(capacity):
        output.print_line("")
        _print("Settings: " + "  ".join(f"{name}={value}" for name, value in changed.items()))
    output.print_line("")
    _show_bottlenecks(capacity)
    output.print_line("")
    _print(
        f"Names such as session_kib are coefficients, measured on {machine.get('date')} on {machine.get('cores')} "
        f"cores ({machine.get('cpu')}). Your own: `python -m benchmarks coefficients` in the repository."
    )


def _print_need(line: PlanLine) -> None:
    """Print a need as name, amount and basis; a long basis continues below itself."""
    start = f"{line.name:<{NAME_COLUMNS}}{line.amount:>{AMOUNT_COLUMNS}}  "
    indent = " " * len(start)
    for text in textwrap.wrap(line.basis, WIDTH_COLUMNS, initial_indent=start, subsequent_indent=indent):
        output.print_line(text)


def _show_bottlenecks(capacity: Capacity) -> None:
    from superimap.domain.bottlenecks import bottlenecks, cells

    first, *others = bottlenecks(capacity)
    _print(f"First bottleneck: {first.name}, {first.use:.0%} used: {first.reason}.")
    _print(f"What helps: {first.remedy}.")
    _print("Then: " + ", ".join(f"{each.name} {each.use:.0%}" for each in others) + ".")
    if (count := cells(capacity)) > 1:
        _print(f"That is too much for one installation: plan {count:,} cells (docs/scaling.md).")
    if count > capacity.demand.partners:
        _print("A partner is in one cell, so there must be at least as many partners as cells.")


def _print(sentence: str) -> None:
    for line in textwrap.wrap(sentence, WIDTH_COLUMNS, break_on_hyphens=False):
        output.print_line(line)
