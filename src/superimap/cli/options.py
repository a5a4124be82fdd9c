"""Which arguments and options do several commands share?"""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer

from superimap.cli.running import CommandError

_SPAN = re.compile(r"(\d{1,6})\s*(s|min|m|h|d)")
_UNITS = {"s": "seconds", "min": "minutes", "m": "minutes", "h": "hours", "d": "days"}

AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PartnerName = Annotated[str, typer.Argument(metavar="PARTNER", help="The partner's name or id.")]
Code = Annotated[str, typer.Argument(metavar="CODE", help="The provider's code, such as GMAIL_OAUTH2.")]
Tag = Annotated[str, typer.Argument(metavar="TAG", help="The partner's own name for the user.")]


def _span(text: str) -> timedelta:
    found = _SPAN.fullmatch(text.strip())
    if found:
        return timedelta(**{_UNITS[found[2]]: int(found[1])})
    if text.strip() == "0":
        return timedelta()
    raise typer.BadParameter("should be a number and s, min, h or d, such as 24h; or 0")


def moment(text: str) -> datetime:
    """A moment, given as such (UTC unless it says otherwise) or as how long ago it was."""
    try:
        when = datetime.fromisoformat(text.strip())
    except ValueError:
        if _SPAN.fullmatch(text.strip()) is None:
            raise typer.BadParameter(
                "should be a moment, as 2026-09-21T14:00, or how long ago, as 2h"
            ) from None
        return datetime.now(UTC) - _span(text)
    return when if when.tzinfo else when.replace(tzinfo=UTC)


Overlap = Annotated[
    timedelta,
    typer.Option(
        parser=_span, metavar="TIME", help="How long the ones before stay valid, such as 30min, 24h, 7d or 0."
    ),
]


def confirm(question: str, *, yes: bool) -> None:
    """Ask before something is lost; without a terminal only --yes will do."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(f"{question} Nobody is there to answer; say --yes to go on.")
    typer.confirm(question, abort=True)


def given_secret(value: str | None, *, from_stdin: bool, prompt: str, wanted: bool) -> str | None:
    """A secret from its option, from the first line of standard input, or asked for where it is wanted."""
    if value is not None and from_stdin:
        raise typer.BadParameter("give the secret either as an option or by standard input")
    if from_stdin:
        line = sys.stdin.readline().rstrip("\r\n")
        if not line:
            raise CommandError("Standard input holds no secret; pipe it in, as the first line.")
        return line
    if value is None and wanted and sys.stdin.isatty():
        return str(typer.prompt(prompt, hide_input=True))
    return value
