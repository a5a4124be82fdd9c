"""How does one try SuperIMAP without a mail server? With ours, which keeps its mail in memory."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated

import typer

from superimap.cli import output
from superimap.cli.running import CommandError, command


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
        typer.Option(metavar="NAME:PASSWORD", help="Somebody to let in; repeatable. None: everybody is."),
    ] = None,
) -> None:
    """Run an IMAP server for trying things out, until Ctrl-C. No TLS; mail is in memory alone."""
    from superimap.testing.imap_server import ImapServer

    server = ImapServer(host, port, any_login=not user, log_size=0)
    for entry in user or ():
        name, colon, password = entry.partition(":")
        if not (name and colon and password):
            raise typer.BadParameter(f"{name!r} should be NAME:PASSWORD", param_hint="--user")
        try:
            server.add_account(name, password)
        except ValueError:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--user") from None
    try:
        async with server:
            who = f"{len(user)} user(s)" if user else "any name and password"
            output.say(f"IMAP server on {host}:{server.port}, without TLS, for {who}. Ctrl-C ends it.")
            await _interrupted()
    except OSError as error:
        raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}; try another --port.") from None


async def _interrupted() -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
