"""Options of the commands that create and change providers."""

from __future__ import annotations

from typing import Annotated

import typer

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
        help="client_credentials: one token opens all mailboxes of a connection. jwt_bearer: the application "
        "signs for each mailbox. Nobody consents. '' clears it.",
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
SmtpHost = Annotated[
    str | None, typer.Option(metavar="HOST", help="SMTP server of tracers, such as smtp.example.com.")
]
SmtpPort = Annotated[
    int | None,
    typer.Option(metavar="PORT", help="Port of the SMTP server; 587, or 465 with tls. 0 clears it."),
]
SmtpDomain = Annotated[str | None, typer.Option(metavar="NAME", help="Own name in EHLO; '' clears it.")]
SmtpTls = Annotated[str | None, typer.Option(metavar="MODE", help="starttls or tls; starttls by default.")]
TracerByOption = Annotated[
    str | None,
    typer.Option(
        "--tracer-by",
        metavar="WAY",
        help="How tracers get into mailboxes: smtp or append; '' sends none.",
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
