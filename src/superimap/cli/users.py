"""How are a connection's users looked after, and what is each one's session doing?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, PartnerName, Tag, given_secret
from superimap.cli.running import CommandError, Work, command, find_connection, find_partner, transaction

if TYPE_CHECKING:
    from superimap.db.accounts.account_values import UserFields
    from superimap.db.accounts.connections import Linked
    from superimap.db.models import User

app = typer.Typer(help="People whose inboxes are watched.", no_args_is_help=True)

COLUMNS = ("tag", "email", "status", "status_since", "status_reason", "archived")
DATES = ("created_at", "connected_at", "last_login_at", "last_email_at", "last_proven_alive_at", "retry_at")
EVENTS = 10
SERVER = ("imap_host", "imap_port", "imap_tls")
Email = Annotated[str | None, typer.Option(help="The account's address; '' clears.")]
Username = Annotated[str | None, typer.Option("--login-username", help="PLAIN: the name to log in with.")]
Password = Annotated[
    str | None,
    typer.Option(
        "--login-password", help="PLAIN: the password. Better left out: you are asked, or use stdin."
    ),
]
PasswordStdin = Annotated[
    bool, typer.Option("--password-stdin", help="PLAIN: read the password from standard input.")
]
ImapHost = Annotated[
    str | None, typer.Option(help="OTHER: the user's own mail server, such as imap.example.com; '' clears.")
]
ImapPort = Annotated[int | None, typer.Option(min=1, max=65535, help="Its port; 993 if not said.")]
ImapTls = Annotated[str | None, typer.Option(help="tls, starttls or none; as usual at the port.")]
Token = Annotated[
    str | None, typer.Option("--oauth2-refresh-token", help="OAUTH2: a refresh token that you hold already.")
]
TokenStdin = Annotated[
    bool, typer.Option("--refresh-token-stdin", help="OAUTH2: read the refresh token from standard input.")
]


@app.command("list")
@command
async def list_all(
    partner: PartnerName,
    code: Code,
    status: Annotated[str | None, typer.Option(help="Only those, such as watching or backing_off.")] = None,
    archived: Annotated[
        bool | None, typer.Option("--archived/--live", help="Only archived users, or only live ones.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """Show a connection's users, and what each one's session is doing since when."""
    from superimap.db.monitoring import statuses

    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        rows = await statuses.of_users(
            work.db, linked.connection, status=status, archived=archived, limit=limit + 1
        )
    shown, now = rows[:limit], datetime.now(UTC)
    if as_json:
        output.show_json([output.as_dict(user, COLUMNS) for user in shown])
        return
    output.table(
        ("TAG", "EMAIL", "STATUS", "FOR", "REASON"),
        [
            (user.tag, user.email, user.status, output.ago(user.status_since, now=now), user.status_reason)
            for user in shown
        ],
        none="No such user.",
    )
    if len(rows) > limit:
        output.say(f"There are more than {limit}; --limit shows more, --status and --archived narrow down.")


@app.command()
@command
async def show(partner: PartnerName, code: Code, tag: Tag, as_json: AsJson = False) -> None:
    """Show a user: status and its reason, dates, mailboxes, last events, and a link for connecting."""
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
    """Add a user. With credentials it is watched at once, without them once the person has connected."""
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
    new_tag: Annotated[str | None, typer.Option("--tag", help="A new tag.")] = None,
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
            "--tracer/--no-tracer", help="A mailbox of your own for tests: a 403 does not archive it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change what is given; the rest stays. New credentials are tried at once."""
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
    """Watch a user no more; everything about it is kept."""
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


async def _find(work: Work, partner: str, code: str, tag: str, *, lock: bool = False) -> tuple[Linked, User]:
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
    """What was given; what was left out stays as it is."""
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
    """What was given of a mail server of the user's own."""
    fields: UserFields = {}
    if host is not None:
        fields["imap_host"] = host
    if port is not None:
        fields["imap_port"] = port
    if tls is not None:
        fields["imap_tls"] = tls
    return fields


def _check(linked: Linked, fields: UserFields) -> None:
    """Credentials that a provider has no use for would be passed over in silence."""
    from superimap.db.accounts.account_values import SIGN_IN, sign_in

    credentials = {name for names in SIGN_IN.values() for name in names} - {"email"}
    useless = (credentials - {*sign_in(linked.provider)}) & fields.keys()
    if useless:
        raise CommandError(
            f"{linked.provider.code} is of kind {linked.provider.kind}, where users have no "
            f"{' and '.join(sorted(useless))}; leave that out."
        )
    if not linked.provider.host_by_user and not fields.keys().isdisjoint(SERVER):
        raise CommandError(
            f"{linked.provider.code} has a mail server of its own, which users cannot choose; "
            "OTHER is the provider where they can."
        )


async def _described(work: Work, linked: Linked, user: User) -> dict[str, object]:
    import time

    from superimap.db.monitoring import statuses
    from superimap.oauth import links

    mailboxes = await statuses.of_mailboxes(work.db, user)
    events = await statuses.of_events(work.db, user, limit=EVENTS)
    answer: dict[str, object] = {"id": user.id} | output.as_dict(user, COLUMNS)
    answer |= {
        "login_username": user.login_username,
        "has_login_password": user.login_password is not None,
        "has_oauth2_refresh_token": user.oauth2_refresh_token is not None,
    } | output.as_dict(user, SERVER)
    answer |= output.as_dict(user, DATES)
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
