"""The commands `superimap providers`: the catalogue of mail providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, Yes, confirm
from superimap.cli.running import CommandError, command, transaction

if TYPE_CHECKING:
    from superimap.db.accounts.stored_secrets import StoredSecrets

app = typer.Typer(help="Mail providers: their servers and ways to sign in.", no_args_is_help=True)

FIELDS = (
    "code", "title", "kind", "imap_host", "imap_port", "imap_tls", "host_by_user",
    "idle_renew", "poll_by", "poll_seconds", "open_by", "logins_per_second", "connections_per_account", "folders",
    "oauth2_grant_type", "oauth2_client_auth", "oauth2_authorize_url", "oauth2_token_url", "oauth2_scope",
    "oauth2_userinfo_url", "oauth2_revoke_url", "oauth2_issuer", "oauth2_jwks_url", "oauth2_email_claims",
    "oauth2_access_type", "oauth2_approval_prompt", "smtp_host", "smtp_port", "smtp_domain", "smtp_tls",
)  # fmt: skip
CLEARED_BY_0 = {"idle_renew", "poll_seconds", "logins_per_second", "connections_per_account"}
Title = Annotated[str | None, typer.Option(metavar="TITLE", help="Name that people see.")]
Kind = Annotated[str | None, typer.Option(metavar="KIND", help="PLAIN (name and password) or OAUTH2.")]
ImapHost = Annotated[str | None, typer.Option(metavar="HOST", help="IMAP server, such as imap.example.com.")]
ImapPort = Annotated[
    int | None, typer.Option(metavar="PORT", help="Port of the server; 993 by default.", show_default=False)
]
ImapTls = Annotated[str | None, typer.Option(metavar="MODE", help="tls, starttls or none; tls by default.")]
HostByUser = Annotated[
    bool | None,
    typer.Option("--host-by-user/--one-host", help="Whether each user has its own server; no by default."),
]
IdleRenew = Annotated[
    int | None,
    typer.Option(
        metavar="SECONDS", help="Seconds after which IDLE is renewed, if below IDLE_RENEW; 0 clears it."
    ),
]
PollBy = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Command to poll with where IDLE is missing or unreliable: noop or status; '' clears it.",
    ),
]
PollSeconds = Annotated[
    int | None, typer.Option(metavar="SECONDS", help="Seconds between polls; 0 clears it.")
]
OpenBy = Annotated[
    str | None,
    typer.Option(
        metavar="COMMAND",
        help="Command that opens mailboxes: examine or select; '' chooses by the server.",
    ),
]
LoginsPerSecond = Annotated[
    float | None, typer.Option(metavar="NUMBER", help="Maximum logins per second at the server; 0 clears it.")
]
ConnectionsPerAccount = Annotated[
    int | None, typer.Option(metavar="NUMBER", help="Maximum IMAP connections of an account; 0 clears it.")
]
Folders = Annotated[
    str | None,
    typer.Option(
        metavar="FOLDERS",
        help=r"Folder to watch: the first of '\All,Archive,INBOX' that exists; '' clears it.",
    ),
]
GrantType = Annotated[
    str | None,
    typer.Option(
        "--oauth2-grant-type",
        metavar="TYPE",
        help="client_credentials: one token opens all mailboxes of a connection, without consent. '' clears it.",
    ),
]
ClientAuth = Annotated[
    str | None,
    typer.Option(
        "--oauth2-client-auth",
        metavar="METHOD",
        help="client_secret_post, client_secret_basic or private_key_jwt; '' is the first.",
    ),
]
AuthorizeUrl = Annotated[
    str | None,
    typer.Option(
        "--oauth2-authorize-url", metavar="URL", help="Authorization endpoint, where people consent."
    ),
]
TokenUrl = Annotated[
    str | None,
    typer.Option(
        "--oauth2-token-url",
        metavar="URL",
        help="Token endpoint; {tenant} in its path becomes the connection's tenant.",
    ),
]
Scope = Annotated[str | None, typer.Option("--oauth2-scope", metavar="SCOPES", help="Scopes to request.")]
UserinfoUrl = Annotated[
    str | None, typer.Option("--oauth2-userinfo-url", metavar="URL", help="Userinfo endpoint; '' clears it.")
]
RevokeUrl = Annotated[
    str | None,
    typer.Option("--oauth2-revoke-url", metavar="URL", help="Token revocation endpoint; '' clears it."),
]
Issuer = Annotated[
    str | None,
    typer.Option(
        "--oauth2-issuer",
        metavar="URL",
        help="Issuer of ID tokens; {tenantid} is the claim tid. '' clears it.",
    ),
]
JwksUrl = Annotated[
    str | None,
    typer.Option(
        "--oauth2-jwks-url", metavar="URL", help="URL of the keys that sign ID tokens (JWKS); '' clears it."
    ),
]
EmailClaims = Annotated[
    str | None,
    typer.Option(
        "--oauth2-email-claims",
        metavar="CLAIMS",
        help="Claims that may contain the email address, in order; email by default.",
    ),
]
AccessType = Annotated[
    str | None,
    typer.Option(
        "--oauth2-access-type", metavar="TYPE", help="Value of Google's parameter access_type; '' clears it."
    ),
]
Prompt = Annotated[
    str | None,
    typer.Option(
        "--oauth2-approval-prompt", metavar="VALUE", help="Value of the parameter prompt; '' clears it."
    ),
]
StoredSecretsOption = Annotated[
    str | None,
    typer.Option(
        "--stored-secrets",
        metavar="keep|forget",
        help="For a changed server or URL: send the stored passwords and tokens there, or delete them.",
    ),
]


@app.command("list")
@command
async def list_all(as_json: AsJson = False) -> None:
    """List all providers."""
    from superimap.db.accounts import providers

    async with transaction() as work:
        rows = await providers.list_all(work.db)
    if as_json:
        output.show_json([output.as_dict(row, FIELDS) for row in rows])
        return
    output.print_table(
        ("CODE", "KIND", "SERVER", "TITLE"),
        [(row.code, row.kind, _server(row), row.title) for row in rows],
        none="There are no providers; `superimap migrate` installs the well-known ones.",
    )


@app.command()
@command
async def show(code: Code, as_json: AsJson = False) -> None:
    """Show all settings of a provider."""
    from superimap.db.accounts import providers

    async with transaction() as work:
        provider = await providers.by_code(work.db, code)
    if provider is None:
        raise CommandError(f"There is no provider {code!r}; `superimap providers list` shows them.")
    _answer(provider, as_json=as_json)


@app.command()
@command
async def create(
    code: Code,
    imap_host: Annotated[str, typer.Option(metavar="HOST", help="IMAP server, such as imap.example.com.")],
    title: Title = None,
    kind: Kind = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    host_by_user: HostByUser = None,
    idle_renew: IdleRenew = None,
    poll_by: PollBy = None,
    poll_seconds: PollSeconds = None,
    open_by: OpenBy = None,
    logins_per_second: LoginsPerSecond = None,
    connections_per_account: ConnectionsPerAccount = None,
    folders: Folders = None,
    oauth2_grant_type: GrantType = None,
    oauth2_client_auth: ClientAuth = None,
    oauth2_authorize_url: AuthorizeUrl = None,
    oauth2_token_url: TokenUrl = None,
    oauth2_scope: Scope = None,
    oauth2_userinfo_url: UserinfoUrl = None,
    oauth2_revoke_url: RevokeUrl = None,
    oauth2_issuer: Issuer = None,
    oauth2_jwks_url: JwksUrl = None,
    oauth2_email_claims: EmailClaims = None,
    oauth2_access_type: AccessType = None,
    oauth2_approval_prompt: Prompt = None,
    as_json: AsJson = False,
) -> None:
    """Add a provider. Its kind is OAUTH2 if an authorize or token URL is given, else PLAIN."""
    values = _given(locals())
    from superimap.db.accounts import providers

    values.setdefault("title", code.upper())
    values.setdefault("kind", "OAUTH2" if oauth2_authorize_url or oauth2_token_url else "PLAIN")
    async with transaction() as work:
        provider = await providers.create(work.db, **values)
    _answer(provider, as_json=as_json)


@app.command()
@command
async def update(
    code: Code,
    title: Title = None,
    kind: Kind = None,
    imap_host: ImapHost = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    host_by_user: HostByUser = None,
    idle_renew: IdleRenew = None,
    poll_by: PollBy = None,
    poll_seconds: PollSeconds = None,
    open_by: OpenBy = None,
    logins_per_second: LoginsPerSecond = None,
    connections_per_account: ConnectionsPerAccount = None,
    folders: Folders = None,
    oauth2_grant_type: GrantType = None,
    oauth2_client_auth: ClientAuth = None,
    oauth2_authorize_url: AuthorizeUrl = None,
    oauth2_token_url: TokenUrl = None,
    oauth2_scope: Scope = None,
    oauth2_userinfo_url: UserinfoUrl = None,
    oauth2_revoke_url: RevokeUrl = None,
    oauth2_issuer: Issuer = None,
    oauth2_jwks_url: JwksUrl = None,
    oauth2_email_claims: EmailClaims = None,
    oauth2_access_type: AccessType = None,
    oauth2_approval_prompt: Prompt = None,
    stored_secrets: StoredSecretsOption = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. `superimap migrate` never undoes the change."""
    changes = _given(locals())
    from superimap.db.accounts import providers

    changes.pop("code")
    decision = _decision(stored_secrets)
    async with transaction() as work:
        provider = await providers.update(work.db, code, stored_secrets=decision, **changes)
    _answer(provider, as_json=as_json)


@app.command()
@command
async def delete(code: Code, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a provider that no connection uses."""
    from superimap.db.accounts import providers

    confirm(f"Delete provider {code.upper()}?", yes=yes)
    async with transaction() as work:
        await providers.delete(work.db, code)
    if as_json:
        output.show_json({"code": code.upper(), "deleted": True})
    else:
        output.print_line(f"Deleted provider {code.upper()}.")


def _decision(word: str | None) -> StoredSecrets | None:
    from superimap.db.accounts.stored_secrets import StoredSecrets

    if word is not None and word not in list(StoredSecrets):
        raise CommandError(f"--stored-secrets must be keep or forget; got {word!r}")
    return StoredSecrets(word) if word else None


def _given(arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments that are fields of a provider and were given; 0 becomes None where it clears a number."""
    return {
        name: None if name in CLEARED_BY_0 and value == 0 else value
        for name, value in arguments.items()
        if name in FIELDS and value is not None
    }


def _server(provider: Any) -> str:
    if provider.host_by_user:
        return "named by the person"
    tls = "" if provider.imap_tls == "tls" else f" ({provider.imap_tls})"
    return f"{provider.imap_host}:{provider.imap_port}{tls}"


def _answer(provider: Any, *, as_json: bool) -> None:
    (output.show_json if as_json else output.print_record)(output.as_dict(provider, FIELDS))
