"""The commands `superimap connections`: a partner's connections to providers."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, PartnerName, Yes, confirm, given_secret
from superimap.cli.running import CommandError, command, find_connection, find_partner, transaction
from superimap.cli.user_options import number_of_days, switch

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

    from superimap.db.accounts.connections import ProviderConnection
    from superimap.db.accounts.validation.accounts import ConnectionFields
    from superimap.db.models import Provider

app = typer.Typer(help="Connections of partners to mail providers.", no_args_is_help=True)

ClientId = Annotated[
    str | None,
    typer.Option("--oauth2-client-id", metavar="ID", help="OAuth 2.0 client id that the provider issued."),
]
ClientSecret = Annotated[
    str | None,
    typer.Option(
        "--oauth2-client-secret",
        metavar="SECRET",
        help="Client secret, or private key. Safer: leave it out to be prompted, or use --secret-stdin.",
    ),
]
Tenant = Annotated[
    str | None,
    typer.Option(
        "--oauth2-tenant", metavar="TENANT", help="Organisation whose mailboxes an app-only provider opens."
    ),
]
HistoryDays = Annotated[
    str | None,
    typer.Option(metavar="DAYS", help="Days of mail to read when a mailbox is connected; 0 or '': none."),
]
ChangeEvents = Annotated[
    str | None,
    typer.Option(
        metavar="on|off",
        help="Report changed flags, moves and deletions of the users' mails. '': no.",
    ),
]
SecretStdin = Annotated[
    bool,
    typer.Option(
        "--secret-stdin",
        help="Read the client secret, or a key in PEM, from standard input.",
    ),
]

Folders = Annotated[
    list[str] | None,
    typer.Option(
        "--folder",
        metavar="FOLDER",
        help="Folder to watch of all users without a list of their own. Repeat it for several; '' clears them.",
    ),
]


@app.command("list")
@command
async def list_all(partner: PartnerName, as_json: AsJson = False) -> None:
    """List a partner's connections."""
    from superimap.db.accounts import connections

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        rows = await connections.list_with_counts(work.db, found.id)
    if as_json:
        output.show_json([row._asdict() for row in rows])
        return
    output.print_table(
        ("PROVIDER", "USERS", "HISTORY DAYS"),
        [row[:3] for row in rows],
        none=f"{found.name} has no connections; "
        f"`superimap connections create {shlex.quote(found.name)} CODE` adds one.",
    )


@app.command()
@command
async def show(partner: PartnerName, code: Code, as_json: AsJson = False) -> None:
    """Show a connection, without its client secret."""
    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        answer = await _described(work.db, linked)
    (output.show_json if as_json else output.print_record)(answer)


@app.command()
@command
async def create(
    partner: PartnerName,
    code: Code,
    oauth2_client_id: ClientId = None,
    oauth2_client_secret: ClientSecret = None,
    oauth2_tenant: Tenant = None,
    secret_stdin: SecretStdin = False,
    history_days: HistoryDays = None,
    folder: Folders = None,
    change_events: ChangeEvents = None,
    as_json: AsJson = False,
) -> None:
    """Connect a partner to a provider. An OAUTH2 provider needs a client id and secret."""
    from superimap.db.accounts import connections

    async with transaction() as work:
        provider = await _find_provider(work.db, code)
    secret = given_secret(
        oauth2_client_secret,
        from_stdin=secret_stdin,
        prompt="OAuth 2.0 client secret",
        wanted=provider.kind == "OAUTH2",
    )
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        fields = _fields(oauth2_client_id, secret, oauth2_tenant, history_days, folder)
        if change_events is not None:
            fields["change_events"] = switch(change_events)
        linked = await connections.create(work.db, work.vault, found.id, provider, fields)
        answer = await _described(work.db, linked)
    if as_json:
        output.show_json(answer)
    else:
        output.print_line(f"Connected {found.name} to {provider.code}.")


@app.command()
@command
async def update(
    partner: PartnerName,
    code: Code,
    oauth2_client_id: ClientId = None,
    oauth2_client_secret: ClientSecret = None,
    oauth2_tenant: Tenant = None,
    secret_stdin: SecretStdin = False,
    history_days: HistoryDays = None,
    folder: Folders = None,
    change_events: ChangeEvents = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. Users that could not sign in are tried again with another OAuth 2.0 client."""
    from superimap.db.accounts import connections

    given = (oauth2_client_id, oauth2_client_secret, oauth2_tenant, history_days, change_events)
    nothing = not folder and all(each is None for each in given)
    secret = given_secret(
        oauth2_client_secret, from_stdin=secret_stdin, prompt="OAuth 2.0 client secret", wanted=nothing
    )
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        linked = await find_connection(work.db, found, code, lock=True)
        fields = _fields(oauth2_client_id, secret, oauth2_tenant, history_days, folder)
        if change_events is not None:
            fields["change_events"] = switch(change_events)
        linked = await connections.update(work.db, work.vault, linked, fields)
        answer = await _described(work.db, linked)
    (output.show_json if as_json else output.print_record)(answer)


@app.command()
@command
async def delete(partner: PartnerName, code: Code, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a connection with its users. Their messages and pending webhooks are deleted too."""
    from superimap.db.accounts import connections

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        linked = await find_connection(work.db, found, code)
        users = (await connections.with_count(work.db, linked.connection.id)).users_count
    name = f"{found.name}'s connection to {linked.provider.code}"
    confirm(f"Delete {name} with {users} user(s) permanently?", yes=yes)
    async with transaction() as work:
        await connections.delete(work.db, found.id, linked.provider.code)
    if as_json:
        output.show_json({"imap_provider_code": linked.provider.code, "deleted": True})
    else:
        output.print_line(f"Deleted {name}.")


@app.command()
@command
async def archive(partner: PartnerName, code: Code, yes: Yes = False, as_json: AsJson = False) -> None:
    """Archive all users of a connection, by a job that an API process carries out. Each can be restored."""
    from superimap.db.accounts import archiving

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        linked = await find_connection(work.db, found, code)
        planned = await archiving.plan(work.db, found.id, linked.connection.id)
    confirm(f"Archive {planned.count} user(s) of {found.name} at {planned.code}?", yes=yes)
    async with transaction() as work:
        job = await archiving.start(work.db, planned)
        answer = {"job": job.id, "count": planned.count}
    if as_json:
        output.show_json(answer)
    else:
        output.print_line(
            f"Job {answer['job']} archives them; the page Jobs of the dashboard shows its progress."
        )


async def _find_provider(db: AsyncSession, code: str) -> Provider:
    from superimap.db.accounts import providers

    provider = await providers.by_code(db, code)
    if provider is None:
        raise CommandError(f"There is no provider {code!r}; `superimap providers list` shows them.")
    return provider


def _fields(
    client_id: str | None,
    client_secret: str | None,
    tenant: str | None,
    history_days: str | None,
    folders: list[str] | None,
) -> ConnectionFields:
    """The fields that were given; the others stay as they are."""
    fields: ConnectionFields = {}
    if client_id is not None:
        fields["oauth2_client_id"] = client_id
    if client_secret is not None:
        fields["oauth2_client_secret"] = client_secret
    if tenant is not None:
        fields["oauth2_tenant"] = tenant
    if history_days is not None:
        fields["history_days"] = number_of_days(history_days)
    if folders:
        fields["folders"] = None if folders == [""] else folders
    return fields


async def _described(db: AsyncSession, linked: ProviderConnection) -> dict[str, object]:
    from superimap.db.accounts import connections

    listed = await connections.with_count(db, linked.connection.id)
    return {
        "imap_provider_code": listed.imap_provider_code,
        "users_count": listed.users_count,
        "history_days": listed.history_days,
        "folders": listed.folders,
        "change_events": listed.change_events,
        "kind": linked.provider.kind,
        "oauth2_client_id": linked.connection.oauth2_client_id,
        "oauth2_tenant": linked.connection.oauth2_tenant,
        "has_oauth2_client_secret": linked.connection.oauth2_client_secret is not None,
        "created_at": linked.connection.created_at,
    }
