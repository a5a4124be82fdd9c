"""The commands `superimap users`: a connection's users and the status of each."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, PartnerName, Tag, given_secret
from superimap.cli.running import (
    CommandContext,
    CommandError,
    command,
    find_connection,
    find_partner,
    transaction,
)

if TYPE_CHECKING:
    from superimap.db.accounts.connections import ProviderConnection
    from superimap.db.accounts.validation.accounts import UserFields
    from superimap.db.models import User

app = typer.Typer(help="Users, whose inboxes are watched.", no_args_is_help=True)

USER_FIELDS = ("tag", "email", "status", "status_since", "status_reason", "archived")
DATE_FIELDS = (
    "created_at",
    "connected_at",
    "last_login_at",
    "last_email_at",
    "last_proven_alive_at",
    "retry_at",
)
MAX_EVENTS = 10
SERVER_FIELDS = ("imap_host", "imap_port", "imap_tls")
Email = Annotated[str | None, typer.Option(help="Address of the account; '' clears it.")]
Username = Annotated[str | None, typer.Option("--login-username", help="PLAIN: login name.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--login-password",
        help="PLAIN: password. Safer: leave it out to be prompted, or use --password-stdin.",
    ),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="PLAIN: read the password from standard input.")
]
ImapHost = Annotated[
    str | None, typer.Option(help="OTHER: the user's mail server, such as imap.example.com; '' clears it.")
]
ImapPort = Annotated[int | None, typer.Option(min=1, max=65535, help="OTHER: its port; 993 by default.")]
ImapTls = Annotated[
    str | None, typer.Option(help="OTHER: tls, starttls or none; by default what is usual for the port.")
]
Token = Annotated[
    str | None, typer.Option("--oauth2-refresh-token", help="OAUTH2: a refresh token that you already have.")
]
TokenStdin = Annotated[
    bool, typer.Option("--refresh-token-stdin", help="OAUTH2: read the refresh token from standard input.")
]


@app.command("list")
@command
async def list_all(
    partner: PartnerName,
    code: Code,
    status: Annotated[
        str | None, typer.Option(help="Only this status, such as watching or backing_off.")
    ] = None,
    archived: Annotated[
        bool | None, typer.Option("--archived/--live", help="Only archived users, or only live ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of users to list.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List a connection's users, each with its status and since when."""
    from superimap.db.monitoring import statuses

    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        rows = await statuses.list_users(
            work.db, linked.connection, status=status, archived=archived, limit=limit + 1
        )
    shown, now = rows[:limit], datetime.now(UTC)
    if as_json:
        output.show_json([output.as_dict(user, USER_FIELDS) for user in shown])
        return
    output.table(
        ("TAG", "EMAIL", "STATUS", "FOR", "REASON"),
        [
            (user.tag, user.email, user.status, output.ago(user.status_since, now=now), user.status_reason)
            for user in shown
        ],
        none="No users match.",
    )
    if len(rows) > limit:
        output.say(
            f"There are more than {limit}: raise --limit, or narrow the list with --status or --archived."
        )


@app.command()
@command
async def show(partner: PartnerName, code: Code, tag: Tag, as_json: AsJson = False) -> None:
    """Show a user: status, dates, mailboxes, events and connect link."""
    async with transaction() as work:
        linked, user = await _find(work, partner, code, tag)
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.record)(answer)


@app.command()
@command
async def create(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    email: Email = None,
    login_username: Username = None,
    login_password: Password = None,
    password_stdin: PasswordStdin = False,
    imap_host: ImapHost = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    oauth2_refresh_token: Token = None,
    refresh_token_stdin: TokenStdin = False,
    as_json: AsJson = False,
) -> None:
    """Add a user. It is watched at once if it has credentials, else once the person has connected."""
    from superimap.db.accounts import users

    fields = _fields(
        email=email,
        username=login_username,
        password=given_secret(
            login_password, from_stdin=password_stdin, prompt="Password", wanted=bool(login_username)
        ),
        token=given_secret(
            oauth2_refresh_token, from_stdin=refresh_token_stdin, prompt="Refresh token", wanted=False
        ),
    )
    fields |= _server(imap_host, imap_port, imap_tls)
    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        _check(linked, fields)
        user = await users.create(work.db, work.vault, linked, {"tag": tag, **fields})
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.record)(answer)


@app.command()
@command
async def update(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    new_tag: Annotated[str | None, typer.Option("--tag", help="New tag.")] = None,
    email: Email = None,
    login_username: Username = None,
    login_password: Password = None,
    password_stdin: PasswordStdin = False,
    imap_host: ImapHost = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    oauth2_refresh_token: Token = None,
    refresh_token_stdin: TokenStdin = False,
    tracer: Annotated[
        bool | None,
        typer.Option(
            "--tracer/--no-tracer", help="Mailbox of your own for tests: a 403 does not archive it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. New credentials are tried at once."""
    fields = _fields(
        email=email,
        username=login_username,
        password=given_secret(login_password, from_stdin=password_stdin, prompt="Password", wanted=False),
        token=given_secret(
            oauth2_refresh_token, from_stdin=refresh_token_stdin, prompt="Refresh token", wanted=False
        ),
    )
    fields |= _server(imap_host, imap_port, imap_tls)
    if new_tag is not None:
        fields["tag"] = new_tag
    if tracer is not None:
        fields["enable_tracer"] = tracer
    await _change(partner, code, tag, fields, as_json=as_json)


@app.command()
@command
async def archive(partner: PartnerName, code: Code, tag: Tag, as_json: AsJson = False) -> None:
    """Stop watching a user. All its data is kept."""
    await _change(partner, code, tag, {"archived": True}, as_json=as_json)


@app.command()
@command
async def restore(partner: PartnerName, code: Code, tag: Tag, as_json: AsJson = False) -> None:
    """Watch an archived user again."""
    await _change(partner, code, tag, {"archived": False}, as_json=as_json)


async def _change(partner: str, code: str, tag: str, fields: UserFields, *, as_json: bool) -> None:
    from superimap.db.accounts import users

    async with transaction() as work:
        linked, user = await _find(work, partner, code, tag, lock=True)
        _check(linked, fields)
        user = await users.update(work.db, work.vault, linked, user, fields)
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.record)(answer)


async def _find(
    work: CommandContext, partner: str, code: str, tag: str, *, lock: bool = False
) -> tuple[ProviderConnection, User]:
    from superimap.db.accounts import users

    found = await find_partner(work.db, partner)
    linked = await find_connection(work.db, found, code)
    user = await users.by_tag(work.db, linked.connection, tag, lock=lock)
    if user is None:
        where = f"`superimap users list {found.id} {linked.provider.code}`"
        raise CommandError(f"This connection has no user {tag!r}; {where} shows them.")
    return linked, user


def _fields(
    *, email: str | None, username: str | None, password: str | None, token: str | None
) -> UserFields:
    """The fields that were given; the others stay as they are."""
    fields: UserFields = {}
    if email is not None:
        fields["email"] = email
    if username is not None:
        fields["login_username"] = username
    if password is not None:
        fields["login_password"] = password
    if token is not None:
        fields["oauth2_refresh_token"] = token
    return fields


def _server(host: str | None, port: int | None, tls: str | None) -> UserFields:
    """The fields of the user's own mail server that were given."""
    fields: UserFields = {}
    if host is not None:
        fields["imap_host"] = host
    if port is not None:
        fields["imap_port"] = port
    if tls is not None:
        fields["imap_tls"] = tls
    return fields


def _check(linked: ProviderConnection, fields: UserFields) -> None:
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


async def _described(work: CommandContext, linked: ProviderConnection, user: User) -> dict[str, object]:
    import time

    from superimap.db.monitoring import statuses
    from superimap.oauth import links

    mailboxes = await statuses.list_mailboxes(work.db, user)
    events = await statuses.list_events(work.db, user, limit=MAX_EVENTS)
    answer: dict[str, object] = {"id": user.id} | output.as_dict(user, USER_FIELDS)
    answer |= {
        "login_username": user.login_username,
        "has_login_password": user.login_password is not None,
        "has_oauth2_refresh_token": user.oauth2_refresh_token is not None,
    } | output.as_dict(user, SERVER_FIELDS)
    answer |= output.as_dict(user, DATE_FIELDS)
    answer["mailboxes"] = [
        {"name": mailbox.name, "uid_validity": mailbox.uid_validity, "last_uid": mailbox.last_uid}
        for mailbox in mailboxes
    ]
    answer["events"] = [output.as_dict(event, ("at", "kind", "code", "reason")) for event in events]
    if work.settings.base_url:
        key = links.derive_keys(work.settings.encryption_key.get_secret_value())[0]
        answer["connect_url"] = links.url(
            work.settings.base_url, links.Purpose.CONNECT, user.id, key, now=time.time()
        )
    return answer
