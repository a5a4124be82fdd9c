"""Which commands are there? The tree of them; each module adds its own."""

from __future__ import annotations

from typing import Annotated

import typer

from superimap import __version__
from superimap.cli import (
    cluster,
    connections,
    deliveries,
    fake_imap,
    fake_oauth,
    keys,
    messages,
    partners,
    processes,
    providers,
    setup,
    users,
    webhooks,
)

app = typer.Typer(
    name="superimap",
    help="Watches IMAP inboxes and POSTs a signed webhook for every new mail.\n\n"
    "Settings come from the environment: `superimap config` shows those in force.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # a log wants a plain traceback
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"superimap {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """What comes before any command."""


processes.register(app)
setup.register(app)
cluster.register(app)
keys.register(app)
fake_imap.register(app)
fake_oauth.register(app)
messages.register(app)
app.add_typer(partners.app, name="partners")
app.add_typer(providers.app, name="providers")
app.add_typer(connections.app, name="connections")
app.add_typer(users.app, name="users")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(webhooks.app, name="webhooks")


def main() -> None:
    """Run the command line."""
    app()
