"""How does one try SuperIMAP without a mail server? With ours, which keeps its mail in memory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.running import CommandError, command, interrupted

if TYPE_CHECKING:
    from superimap.testing import Chaos, ImapServer


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("fake-imap")(fake_imap)


@command
async def fake_imap(
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0 takes a free one.")
    ] = 10143,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            help="Somebody to let in; repeatable. None: everybody is. With an access token everybody is anyway.",
        ),
    ] = None,
    chaos: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=RATE]", help="A way to go wrong, such as C05=0.1; repeatable."),
    ] = None,
    scenario: Annotated[Path | None, typer.Option(help="A TOML file of such ways.")] = None,
    seed: Annotated[int | None, typer.Option(help="The same seed goes wrong the same way again.")] = None,
    names: Annotated[bool, typer.Option("--list", help="List the ways to go wrong, and leave.")] = False,
) -> None:
    """Run an IMAP server for trying things out, until Ctrl-C. No TLS; mail is in memory alone."""
    from superimap.testing.chaos.server import Chaos
    from superimap.testing.imap.server import ImapServer

    if names:
        for name, what in Chaos.describe().items():
            output.say(f"{name:36} {what}")
        return
    server = ImapServer(host, port, any_login=not user, any_token=True, log_size=0)
    _let_in(server, user or [])
    try:
        async with server:
            wrong = _go_wrong(server, chaos or [], scenario, seed)
            who = f"{len(user)} user(s)" if user else "any name and password"
            who += ", or any access token"
            output.say(f"IMAP server on {host}:{server.port}, without TLS, for {who}. Ctrl-C ends it.")
            if wrong.arms:
                output.say(f"It goes wrong: {', '.join(arm.case.name for arm in wrong.arms)}.")
            await interrupted()
    except OSError as error:
        raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}; try another --port.") from None


def _let_in(server: ImapServer, users: list[str]) -> None:
    for entry in users:
        name, colon, password = entry.partition(":")
        if not (name and colon and password):
            raise typer.BadParameter(f"{name!r} should be NAME:PASSWORD", param_hint="--user")
        try:
            server.add_account(name, password)
        except ValueError:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--user") from None


def _go_wrong(server: ImapServer, cases: list[str], scenario: Path | None, seed: int | None) -> Chaos:
    """The scenario's cases, then those given by name. Its log is empty: nobody reads it here."""
    from superimap.testing.chaos.scenario import Scenario
    from superimap.testing.chaos.server import Chaos, UnknownCase

    try:
        read = Scenario.load(scenario) if scenario else Scenario(())
        chaos = Chaos(server, seed=read.seed if seed is None else seed, log_size=0)
        read.add_to(chaos)
    except OSError as error:
        raise CommandError(f"Cannot read {scenario}: {error.strerror}.") from None
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--scenario") from None
    for entry in cases:
        name, equals, rate = entry.partition("=")
        try:
            chaos.add(name, rate=_rate(rate) if equals else None)
        except UnknownCase:
            raise typer.BadParameter(
                f"there is no way to go wrong called {name!r}; superimap fake-imap --list has them all, and the "
                "first word of a line will do, such as C05.",
                param_hint="--chaos",
            ) from None
        except ValueError as error:
            raise typer.BadParameter(f"{entry!r}: {error}", param_hint="--chaos") from None
    return chaos


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the rate after = should be a number from 0 to 1, and is {text!r}") from None
