"""Options of `superimap users` that describe a user, and the fields that they give."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli.running import CommandError

if TYPE_CHECKING:
    from superimap.db.accounts.connections import ProviderConnection
    from superimap.db.accounts.validation.accounts import UserFields

MAX_DAYS_DIGITS = 6
SERVER_FIELDS = ("imap_host", "imap_port", "imap_tls")
Email = Annotated[str | None, typer.Option(metavar="EMAIL", help="Address of the account; '' clears it.")]
SignInEmail = Annotated[
    str | None,
    typer.Option(
        metavar="EMAIL",
        help="OAUTH2: account of the person who consents, where --email is a shared mailbox. '' clears it.",
    ),
]
Username = Annotated[str | None, typer.Option("--login-username", metavar="NAME", help="PLAIN: login name.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--login-password",
        metavar="PASSWORD",
        help="PLAIN: password. Safer: leave it out to be prompted, or use --password-stdin.",
    ),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="PLAIN: read the password from standard input.")
]
ImapHost = Annotated[
    str | None,
    typer.Option(
        metavar="HOST", help="OTHER: the user's mail server, such as imap.example.com; '' clears it."
    ),
]
ImapPort = Annotated[
    int | None,
    typer.Option(min=1, max=65535, metavar="PORT", help="OTHER: port of that server; 993 by default."),
]
ImapTls = Annotated[
    str | None,
    typer.Option(
        metavar="MODE", help="OTHER: tls, starttls or none; by default starttls at port 143, else tls."
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--oauth2-refresh-token", metavar="TOKEN", help="OAUTH2: a refresh token that you already have."
    ),
]
TokenStdin = Annotated[
    bool, typer.Option("--refresh-token-stdin", help="OAUTH2: read the refresh token from standard input.")
]
HistoryDays = Annotated[
    str | None,
    typer.Option(
        metavar="DAYS",
        help="Days of mail to read when the mailbox is connected; 0: none, '': as the connection says.",
    ),
]

Folders = Annotated[
    list[str] | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help=r"Folder to watch: a name, a pattern such as 'Projects/*', or a special use such as '\Sent'. "
        "Repeat it for several; '' clears the list.",
    ),
]


ChangeEvents = Annotated[
    str | None,
    typer.Option(
        metavar="on|off",
        help="Report changed flags, moves and deletions of mails; '': as the connection says.",
    ),
]


def switch(text: str) -> bool | None:
    """The setting of change events that was given; None for an empty text."""
    known = {"on": True, "off": False, "": None}
    if text not in known:
        raise CommandError("--change-events must be on, off, or '' to clear it.")
    return known[text]


def folder_fields(folders: list[str] | None) -> UserFields:
    """The list of folders, if one was given."""
    if not folders:
        return {}
    return {"folders": None if folders == [""] else folders}


def user_fields(
    *,
    email: str | None,
    sign_in_email: str | None,
    username: str | None,
    password: str | None,
    token: str | None,
) -> UserFields:
    """The fields that were given; the others stay as they are."""
    fields: UserFields = {}
    if email is not None:
        fields["email"] = email
    if sign_in_email is not None:
        fields["sign_in_email"] = sign_in_email
    if username is not None:
        fields["login_username"] = username
    if password is not None:
        fields["login_password"] = password
    if token is not None:
        fields["oauth2_refresh_token"] = token
    return fields


def server_fields(host: str | None, port: int | None, tls: str | None) -> UserFields:
    """The fields of the user's own mail server that were given."""
    fields: UserFields = {}
    if host is not None:
        fields["imap_host"] = host
    if port is not None:
        fields["imap_port"] = port
    if tls is not None:
        fields["imap_tls"] = tls
    return fields


def number_of_days(text: str) -> int | None:
    """The days of history that were given; None for an empty text."""
    if text and not (text.isascii() and text.isdecimal() and len(text) <= MAX_DAYS_DIGITS):
        raise CommandError("--history-days must be a whole number of days, or '' to clear it.")
    return int(text) if text else None


def check_fields(linked: ProviderConnection, fields: UserFields) -> None:
    """Refuse fields that the provider does not use, because they would be ignored silently."""
    from superimap.db.accounts.validation.accounts import SIGN_IN_FIELDS, sign_in_fields

    credentials = {name for names in SIGN_IN_FIELDS.values() for name in names} - {"email"}
    useless = (credentials - {*sign_in_fields(linked.provider)}) & fields.keys()
    if useless:
        raise CommandError(
            f"{linked.provider.code} is of kind {linked.provider.kind}, where users have no "
            f"{' and '.join(sorted(useless))}; leave it out."
        )
    if not linked.provider.host_by_user and not fields.keys().isdisjoint(SERVER_FIELDS):
        raise CommandError(
            f"{linked.provider.code} has a fixed mail server, so users cannot have their own; "
            "use the provider OTHER for that."
        )
