"""The command `superimap fake-oauth`: an OAuth 2.0 provider for tests, with injected failures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.running import CommandError, command, wait_for_interrupt

if TYPE_CHECKING:
    from superimap.testing.oauth.server import OAuthServer

REDIRECT_URI = "http://127.0.0.1:8000/users/connect/callback"
SCOPE = "openid email mail offline_access"


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("fake-oauth")(fake_oauth)


@command
async def fake_oauth(
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="PORT", help="Port to listen on; 0 selects a free one.")
    ] = 10081,
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    client: Annotated[
        str, typer.Option(metavar="ID:SECRET", help="OAuth 2.0 client to register.")
    ] = "client:secret",
    redirect_uri: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URI", help=f"Redirect URI of the client; repeatable. [default: {REDIRECT_URI}]"
        ),
    ] = None,
    person: Annotated[
        list[str] | None,
        typer.Option(metavar="EMAIL", help="Person with an account; repeatable. [default: ada@example.com]"),
    ] = None,
    consents: Annotated[
        str | None,
        typer.Option(metavar="EMAIL", help="Person who consents without a page; for automated tests."),
    ] = None,
    expires_in: Annotated[
        int, typer.Option(min=1, metavar="SECONDS", help="Lifetime of access tokens in seconds.")
    ] = 3600,
    rotates: Annotated[
        bool, typer.Option("--rotates", help="Issue a new refresh token at every refresh.")
    ] = False,
    fail: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME[=TIMES]", help="Failure to inject, such as invalid_grant=2; repeatable."),
    ] = None,
    names: Annotated[bool, typer.Option("--list", help="List the failures and exit.")] = False,
) -> None:
    """Run an OAuth 2.0 provider for tests until Ctrl-C. No TLS; everything is kept in memory only."""
    from superimap.testing.oauth.faults import FAULTS
    from superimap.testing.oauth.server import OAuthServer

    if names:
        for name, what in FAULTS.items():
            output.print_line(f"{name:20} {what}")
        return
    server = OAuthServer(host, port, expires_in=expires_in, rotates=rotates, consents=consents)
    people = list(dict.fromkeys([*(person or ["ada@example.com"]), *([consents] if consents else [])]))
    for email in people:
        server.add_person(email)
    _add_client(server, client, redirect_uri or [REDIRECT_URI])
    failures = [_inject_failure(server, entry) for entry in fail or []]
    try:
        async with server:
            _print_instructions(server, client, redirect_uri or [REDIRECT_URI], people, failures)
            await wait_for_interrupt()
    except OSError as error:
        raise CommandError(f"Cannot listen on {host}:{port}: {error.strerror}; try another --port.") from None


def _add_client(server: OAuthServer, client: str, redirect_uris: list[str]) -> None:
    name, colon, secret = client.partition(":")
    if not (name and colon and secret):
        raise typer.BadParameter(f"{name!r} must have the form ID:SECRET", param_hint="--client")
    server.add_client(*redirect_uris, client_id=name, client_secret=secret)


def _inject_failure(server: OAuthServer, entry: str) -> str:
    """Inject the failure NAME[=TIMES]; without a number it lasts until the server ends. Returns `entry`."""
    name, equals, times = entry.partition("=")
    try:
        server.faults.arm(name, times=int(times) if equals else None)
    except ValueError as error:
        raise typer.BadParameter(f"{entry!r}: {error}", param_hint="--fail") from None
    return entry


def _print_instructions(
    server: OAuthServer, client: str, redirect_uris: list[str], people: list[str], failures: list[str]
) -> None:
    output.print_line(f"OAuth 2.0 provider on {server.url()}, without TLS. Ctrl-C ends it.")
    output.print_line(f"Client     {client.replace(':', ', secret ', 1)}")
    output.print_line(f"Redirects  {', '.join(redirect_uris)}")
    output.print_line(f"People     {', '.join(people)}")
    output.print_line(f"Discovery  {server.url('/.well-known/openid-configuration')}")
    if failures:
        output.print_line(f"Injected failures: {', '.join(failures)}.")
    output.print_line("To connect the partner NAME to it, with `superimap fake-imap` as the mail server:")
    output.print_line(
        "superimap providers create FAKE_OAUTH2 --imap-host 127.0.0.1 --imap-port 10143 --imap-tls none"
        f" --oauth2-authorize-url {server.url('/authorize')} --oauth2-token-url {server.url('/token')}"
        f" --oauth2-revoke-url {server.url('/revoke')} --oauth2-jwks-url {server.url('/jwks')}"
        f" --oauth2-issuer {server.url()} --oauth2-scope '{SCOPE}'"
    )
    name, _, secret = client.partition(":")
    output.print_line(
        f"echo {secret} | superimap connections create NAME FAKE_OAUTH2 --oauth2-client-id {name} --secret-stdin"
    )
