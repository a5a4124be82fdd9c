"""The commands `superimap providers`: the catalogue of mail providers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, Yes, confirm
from superimap.cli.provider_options import (
    AccessType,
    AuthorizeUrl,
    ClientAuth,
    ConnectionsPerAccount,
    EmailClaims,
    Folders,
    GrantType,
    HostByUser,
    IdleRenew,
    ImapHost,
    ImapPort,
    ImapTls,
    Issuer,
    JwksUrl,
    Kind,
    LoginsPerSecond,
    OpenBy,
    PollBy,
    PollSeconds,
    Prompt,
    RevokeUrl,
    Scope,
    SmtpDomain,
    SmtpHost,
    SmtpPort,
    SmtpTls,
    StoredSecretsOption,
    Title,
    TokenUrl,
    TracerByOption,
    UserinfoUrl,
)
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
    "tracer_by",
)  # fmt: skip
CLEARED_BY_0 = {"idle_renew", "poll_seconds", "logins_per_second", "connections_per_account", "smtp_port"}


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
    smtp_host: SmtpHost = None,
    smtp_port: SmtpPort = None,
    smtp_domain: SmtpDomain = None,
    smtp_tls: SmtpTls = None,
    tracer_by: TracerByOption = None,
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
    smtp_host: SmtpHost = None,
    smtp_port: SmtpPort = None,
    smtp_domain: SmtpDomain = None,
    smtp_tls: SmtpTls = None,
    tracer_by: TracerByOption = None,
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
