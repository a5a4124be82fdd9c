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
from superimap.cli.user_options import (
    SERVER_FIELDS,
    ChangeEvents,
    Email,
    Folders,
    HistoryDays,
    ImapHost,
    ImapPort,
    ImapTls,
    Password,
    PasswordStdin,
    SignInEmail,
    Token,
    TokenStdin,
    Username,
    check_fields,
    folder_fields,
    number_of_days,
    server_fields,
    switch,
    user_fields,
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


@app.command("list")
@command
async def list_all(
    partner: PartnerName,
    code: Code,
    status: Annotated[
        str | None, typer.Option(metavar="STATUS", help="Only this status, such as watching or backing_off.")
    ] = None,
    archived: Annotated[
        bool | None, typer.Option("--archived/--live", help="Only archived users, or only live ones.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, metavar="NUMBER", help="Maximum number of users to list.")
    ] = 1000,
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
    output.print_table(
        ("TAG", "EMAIL", "STATUS", "FOR", "REASON"),
        [
            (
                user.tag,
                user.email,
                user.status,
                output.format_age(user.status_since, now=now),
                user.status_reason,
            )
            for user in shown
        ],
        none="No users match.",
    )
    if len(rows) > limit:
        output.print_line(
            f"There are more than {limit}: raise --limit, or narrow the list with --status or --archived."
        )


@app.command()
@command
async def show(partner: PartnerName, code: Code, tag: Tag, as_json: AsJson = False) -> None:
    """Show a user: status, dates, mailboxes, events and connect link."""
    async with transaction() as work:
        linked, user = await _find(work, partner, code, tag)
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.print_record)(answer)


@app.command()
@command
async def create(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    email: Email = None,
    sign_in_email: SignInEmail = None,
    login_username: Username = None,
    login_password: Password = None,
    password_stdin: PasswordStdin = False,
    imap_host: ImapHost = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    folder: Folders = None,
    oauth2_refresh_token: Token = None,
    refresh_token_stdin: TokenStdin = False,
    history_days: HistoryDays = None,
    change_events: ChangeEvents = None,
    as_json: AsJson = False,
) -> None:
    """Add a user. It is watched at once if it has credentials, else once the person has connected."""
    from superimap.db.accounts import users

    fields = user_fields(
        email=email,
        sign_in_email=sign_in_email,
        username=login_username,
        password=given_secret(
            login_password, from_stdin=password_stdin, prompt="Password", wanted=bool(login_username)
        ),
        token=given_secret(
            oauth2_refresh_token, from_stdin=refresh_token_stdin, prompt="Refresh token", wanted=False
        ),
    )
    fields |= server_fields(imap_host, imap_port, imap_tls) | folder_fields(folder)
    if change_events is not None:
        fields["change_events"] = switch(change_events)
    if history_days is not None:
        fields["history_days"] = number_of_days(history_days)
    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        check_fields(linked, fields)
        user = await users.create(work.db, work.vault, linked, {"tag": tag, **fields})
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.print_record)(answer)


@app.command()
@command
async def update(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    new_tag: Annotated[str | None, typer.Option("--tag", metavar="TAG", help="New tag.")] = None,
    email: Email = None,
    sign_in_email: SignInEmail = None,
    login_username: Username = None,
    login_password: Password = None,
    password_stdin: PasswordStdin = False,
    imap_host: ImapHost = None,
    imap_port: ImapPort = None,
    imap_tls: ImapTls = None,
    folder: Folders = None,
    oauth2_refresh_token: Token = None,
    refresh_token_stdin: TokenStdin = False,
    history_days: HistoryDays = None,
    change_events: ChangeEvents = None,
    tracer: Annotated[
        bool | None,
        typer.Option(
            "--tracer/--no-tracer", help="Mark a user of your own for tests: a 403 does not archive it."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. New credentials are tried at once."""
    fields = user_fields(
        email=email,
        sign_in_email=sign_in_email,
        username=login_username,
        password=given_secret(login_password, from_stdin=password_stdin, prompt="Password", wanted=False),
        token=given_secret(
            oauth2_refresh_token, from_stdin=refresh_token_stdin, prompt="Refresh token", wanted=False
        ),
    )
    fields |= server_fields(imap_host, imap_port, imap_tls) | folder_fields(folder)
    if change_events is not None:
        fields["change_events"] = switch(change_events)
    if history_days is not None:
        fields["history_days"] = number_of_days(history_days)
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
        check_fields(linked, fields)
        user = await users.update(work.db, work.vault, linked, user, fields)
        answer = await _described(work, linked, user)
    (output.show_json if as_json else output.print_record)(answer)


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


async def _described(work: CommandContext, linked: ProviderConnection, user: User) -> dict[str, object]:
    import time

    from superimap.db.accounts.hidden_secrets import load_password_presence
    from superimap.db.monitoring import statuses
    from superimap.oauth import links

    await load_password_presence(work.db, user)
    mailboxes = await statuses.list_mailboxes(work.db, user)
    events = await statuses.list_events(work.db, user, limit=MAX_EVENTS)
    answer: dict[str, object] = {"id": user.id} | output.as_dict(user, USER_FIELDS)
    answer |= {
        "sign_in_email": user.sign_in_email,
        "history_days": user.history_days,
        "login_username": user.login_username,
        "has_login_password": user.login_password is not None,
        "has_oauth2_refresh_token": user.oauth2_refresh_token is not None,
    } | output.as_dict(user, (*SERVER_FIELDS, "folders", "change_events"))
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
