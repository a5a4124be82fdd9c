"""The command `superimap fake-imap`: an IMAP server that keeps its mail in memory and injects faults."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.running import CommandError, command, wait_for_interrupt

if TYPE_CHECKING:
    from superimap.testing import Chaos, ImapServer


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("fake-imap")(fake_imap)


@command
async def fake_imap(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 selects a free one.")
    ] = 10143,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    user: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME:PASSWORD",
            help="Account that may log in; repeatable. Default: any name and password. "
            "Any access token is always accepted.",
        ),
    ] = None,
    chaos: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=RATE]", help="Fault to inject, such as C05=0.1; repeatable."),
    ] = None,
    scenario: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML file of faults to inject.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(metavar="SEED", help="Random seed; the same seed repeats the faults.")
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="List the faults and exit.")] = False,
) -> None:
    """Run an IMAP server for tests until Ctrl-C. No TLS; mail is kept in memory only."""
    from superimap.testing.chaos.server import Chaos
    from superimap.testing.imap.server import ImapServer

    if names:
        for name, what in Chaos.describe().items():
            output.print_line(f"{name:36} {what}")
        return
    server = ImapServer(host, port, any_login=not user, any_token=True, log_size=0)
    _add_accounts(server, user or [])
    try:
        async with server:
            injected = _inject_faults(server, chaos or [], scenario, seed)
            accepted = f"{len(user)} account(s)" if user else "any name and password"
            output.print_line(
                f"IMAP server on {host}:{server.port}, without TLS, for {accepted}, or any access token. "
                "Ctrl-C ends it."
            )
            if injected.arms:
                output.print_line(f"Injected faults: {', '.join(arm.case.name for arm in injected.arms)}.")
            await wait_for_interrupt()
    except OSError as error:
        raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}; try another --port.") from None


def _add_accounts(server: ImapServer, users: list[str]) -> None:
    for entry in users:
        name, colon, password = entry.partition(":")
        if not (name and colon and password):
            raise typer.BadParameter(f"{name!r} must have the form NAME:PASSWORD", param_hint="--user")
        try:
            server.add_account(name, password)
        except ValueError:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--user") from None


def _inject_faults(server: ImapServer, cases: list[str], scenario: Path | None, seed: int | None) -> Chaos:
    """Inject the faults of the scenario, then those given by name. The command shows no log, so none is kept."""
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
                f"there is no fault {name!r}; `superimap fake-imap --list` lists all, and the first word of a "
                "line is enough, such as C05",
                param_hint="--chaos",
            ) from None
        except ValueError as error:
            raise typer.BadParameter(f"{entry!r}: {error}", param_hint="--chaos") from None
    return chaos


def _rate(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"the rate after = must be a number from 0 to 1; got {text!r}") from None
