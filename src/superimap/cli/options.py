"""Arguments and options that several commands share."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from superimap.cli.running import CommandError

_SPAN = re.compile(r"(\d{1,6})\s*(s|min|m|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days"}

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
PartnerName = Annotated[str, typer.Argument(metavar="PARTNER", help="Name or id of the partner.")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="Code of the provider, such as GMAIL_OAUTH2.")]
Tag = Annotated[str, typer.Argument(metavar="TAG", help="The partner's own name for the user.")]


def span(text: str | timedelta) -> timedelta:
    """Read a length of time, such as 24h; the default of an option is passed through."""
    if isinstance(text, timedelta):
        return text
    found = _SPAN.fullmatch(text.strip())
    if found:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    if text.strip() == "0":
        return timedelta()
    raise typer.BadParameter(f"must be 0, or a number followed by s, min, h or d, such as 24h; got {text!r}")


def moment(text: str) -> datetime:
    """Read a time, which is in UTC unless it has an offset, or an age such as 2h."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        if _SPAN.fullmatch(text.strip()) is None:
            raise typer.BadParameter(
                f"must be a time such as 2026-09-21T14:00, or an age such as 2h; got {text!r}"
            ) from None
        return datetime.now(UTC) - span(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


Overlap = Annotated[
    timedelta,
    typer.Option(
        parser=span,
        metavar="TIME",
        help="Time for which the previous ones stay valid, such as 30min, 24h, 7d or 0. [default: 24h]",
        show_default=False,
    ),
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before data is lost. Raises CommandError without a terminal, unless --yes was given."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} There is no terminal to confirm at; give --yes to go on.")
    typer.confirm(question, abort=True)


def given_secret(value: str | None, *, from_stdin: bool, prompt: str, wanted: bool) -> str | None:
    """The secret from its option, from the first line of standard input, or from a prompt if it is `wanted`."""
    if value is not None and from_stdin:
        raise typer.BadParameter("give the secret either as an option or on standard input, not both")
    if from_stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if line.startswith(("-----BEGIN ", "{")):  # a private key in lines
            line += "\n" + sys.stdin.read()
        if not line:
            raise CommandError("Standard input holds no secret; pipe it in as the first line.")
        return line
    if value is None and wanted and sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    return value
