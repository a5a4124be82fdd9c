"""Output of commands: tables for people, JSON for programs, and one line for an error."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EMPTY_CELL = "—"
WRAPPED_HEADINGS = {"EMAIL", "FIELDS", "MAIL", "NAME", "REASON", "TITLE"}
COLUMN_GAP = 3
LEAST_WRAPPED_WIDTH = 10
PIPE_WIDTH_COLUMNS = 1000


def show_json(answer: object) -> None:
    """Print the answer as JSON on standard output."""
    typer.echo(json.dumps(answer, indent=2, default=_plain))


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def print_line(sentence: str) -> None:
    """Print one line for people on standard output."""
    typer.echo(escape_controls(sentence))


def fail(sentence: str) -> NoReturn:
    """Print what went wrong and what to do on standard error, and exit with code 1."""
    for line in sentence.splitlines():
        typer.echo(f"error: {escape_controls(line)}", err=True)
    raise typer.Exit(1)


def print_table(headings: Sequence[str], rows: Iterable[Sequence[object]], *, none: str) -> None:
    """Print rows under headings, or the sentence `none` if there are no rows.

    Only the columns of WRAPPED_HEADINGS may take several lines. If the others do not fit beside one another, each
    row is printed as a record: an id that is cut cannot be used.
    """
    from rich import box
    from rich.table import Table

    rows = list(rows)
    if rows and _least_width(headings, rows) > _console().width:
        for number, row in enumerate(rows):
            if number:
                print_line("")
            print_record(dict(zip(headings, row, strict=True)))
        return
    shown = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold")
    for heading in headings:
        shown.add_column(heading, no_wrap=heading not in WRAPPED_HEADINGS, overflow="fold")
    for row in rows:
        shown.add_row(*(_cell(value) for value in row))
    if shown.row_count:
        _console().print(shown)
    else:
        print_line(none)


def _least_width(headings: Sequence[str], rows: Sequence[Sequence[object]]) -> int:
    """The characters that a table needs to show its columns uncut."""
    from rich.cells import cell_len

    width = COLUMN_GAP * (len(headings) - 1)
    for heading, cells in zip(headings, zip(*rows, strict=True), strict=True):
        longest = max(cell_len(line) for cell in cells for line in _lines(cell))
        is_wrapped = heading in WRAPPED_HEADINGS
        width += max(cell_len(heading), min(longest, LEAST_WRAPPED_WIDTH) if is_wrapped else longest)
    return width


def print_record(fields: Mapping[str, object]) -> None:
    """Print one object with a name and a value per line; values are never broken, so that they can be copied."""
    width = max(map(len, fields))
    for name, value in fields.items():
        for number, line in enumerate(_lines(value)):
            typer.echo(typer.style(("" if number else name).ljust(width), bold=True) + f"  {line}")


def print_secret(name: str, value: str) -> None:
    """Print a secret on one line, however narrow the terminal, so that it can be copied."""
    typer.echo(f"{name}: {value}")


def _console() -> Console:
    from rich.console import Console

    # A pipe or a file takes long lines: nothing there wraps or cuts them.
    is_narrow = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(file=sys.stdout, highlight=False, width=None if is_narrow else PIPE_WIDTH_COLUMNS)


def _cell(value: object) -> RenderableType:
    from rich.text import Text

    return Text("\n".join(_lines(value)))


def _lines(value: object) -> list[str]:
    """The lines that show a value: one, or one for each item of a list."""
    match value:
        case None | "" | []:
            return [EMPTY_CELL]
        case bool():
            return ["yes" if value else "no"]
        case datetime():
            return [format_time(value)]
        case dict():
            return [", ".join(f"{name} {_lines(inner)[0]}" for name, inner in value.items())]
        case list() | tuple():
            return [line for item in value for line in _lines(item)]
        case _:
            return [escape_controls(str(value))]


def escape_controls(text: str) -> str:
    """`text` with control characters escaped: partners and senders wrote some of it."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def format_time(when: datetime) -> str:
    """A time in UTC, to the minute."""
    return when.astimezone(UTC).strftime("%Y-%m-%d %H:%M") + "Z"


def format_age(when: datetime, *, now: datetime) -> str:
    """The time since `when`, such as `3 min`."""
    return format_duration(now - when)


def format_duration(length: timedelta) -> str:
    """A length of time, rounded down to one unit, such as `3 min`."""
    seconds = max(int(length.total_seconds()), 0)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def as_dict(row: Any, names: Iterable[str]) -> dict[str, object]:
    """These attributes of a row, for JSON."""
    return {name: getattr(row, name) for name in names}
