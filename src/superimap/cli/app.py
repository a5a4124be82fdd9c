"""The tree of commands, to which each module adds its own."""

from __future__ import annotations

from typing import Annotated

import typer

from superimap import __version__
from superimap.cli import (
    admins,
    audit,
    cluster,
    connections,
    deliveries,
    fake_imap,
    fake_oauth,
    keys,
    messages,
    partners,
    plan,
    processes,
    providers,
    setup,
    stress,
    sweeps,
    tracers,
    users,
    webhooks,
)
from superimap.core import runtime

app = typer.Typer(
    name="superimap",
    help="Watch IMAP inboxes and POST a signed webhook for every new mail.\n\n"
    "Settings are read from the environment; `superimap config` shows those in force.",
    no_args_is_help=True,
    rich_markup_mode=None,  # boxes cut long option names at 80 columns
    add_completion=False,
    pretty_exceptions_enable=False,  # logs need plain tracebacks
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"superimap {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Options that come before any command."""


processes.register(app)
setup.register(app)
plan.register(app)
cluster.register(app)
tracers.register(app)
keys.register(app)
fake_imap.register(app)
fake_oauth.register(app)
stress.register(app)
messages.register(app)
audit.register(app)
app.add_typer(admins.app, name="admins")
app.add_typer(partners.app, name="partners")
app.add_typer(providers.app, name="providers")
app.add_typer(connections.app, name="connections")
app.add_typer(users.app, name="users")
app.add_typer(sweeps.app, name="sweeps")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """Run the command line."""
    runtime.reserve_standard_descriptors()
    runtime.end_on_sigterm()
    runtime.replace_closed_home()
    app()
