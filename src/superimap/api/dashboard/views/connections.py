"""The pages Connections, Connection, and those that create, edit and delete a connection."""

from typing import cast

from starlette.responses import Response

from superimap.api.dashboard.connection_fields import connection_fields
from superimap.api.dashboard.form_fields import CORRECTABLE, Form, form_of, read_form, refused
from superimap.api.dashboard.mailbox_list import read_list
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import MAX_ID, Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.public_address import public_base
from superimap.api.dashboard.trails import connection_path, connection_trail, partner_path, partner_trail
from superimap.api.dashboard.views.partners import get_partner
from superimap.db.accounts import connections, providers
from superimap.db.accounts.connections import ProviderConnection
from superimap.db.accounts.validation.accounts import ConnectionFields
from superimap.db.errors import NotFound
from superimap.db.models import Partner, Provider
from superimap.db.monitoring import partner_lists
from superimap.db.monitoring.partner_lists import MAX_COUNT, ConnectionSeen
from superimap.domain.operators import OperatorRole
from superimap.domain.providers import ProviderKind

pages = Pages(ADMIN)

_CHANGED_FOLDERS = "With other folders, mailboxes without a list of their own sign in again."
_CHANGED_CLIENT = (
    f"Mailboxes whose sign-in was refused are tried again with a changed client. {_CHANGED_FOLDERS}"
)

_OF_PARTNER = "/partners/{partner_id:int}/connections"
_OF_CONNECTION = _OF_PARTNER + "/{connection_id:int}"


@pages.get(_OF_PARTNER)
async def list_connections(page: Page, partner_id: int) -> Response:
    """List the connections of a partner."""
    partner = await get_partner(page, partner_id)
    found = await partner_lists.list_connections(page.db, partner_id)
    trail = partner_trail(partner)
    return page.show("connections.html", partner=partner, trail=trail, connections=found, most=MAX_COUNT)


@pages.get(_OF_CONNECTION)
async def show_connection(page: Page, partner_id: int, connection_id: int) -> Response:
    """Show a connection and its mailboxes."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    return page.show(
        "connection.html",
        partner=partner,
        seen=seen,
        trail=connection_trail(partner, seen.connection, seen.provider)[:-1],
        path=connection_path(partner_id, connection_id),
        redirect_uri=f"{public_base(page)}/users/connect/callback",
        most=MAX_COUNT,
        **await read_list(page, connection_id),
    )


@pages.get(_OF_PARTNER + "/new", role=OperatorRole.OPERATOR)
async def new_connection(page: Page, partner_id: int) -> Response:
    """Let a provider be chosen, then show the form of its connection."""
    partner = await get_partner(page, partner_id)
    if not page.query("provider"):
        unused = await partner_lists.list_unused_providers(page.db, partner_id)
        trail = partner_trail(partner)
        return page.show("connection_new.html", partner=partner, trail=trail, providers=unused)
    provider = await get_provider(page, page.query("provider"))
    return _show_creation(page, partner, provider, form_of(connection_fields(provider), {}))


@pages.post(_OF_PARTNER + "/new")
async def create_connection(page: Page, partner_id: int) -> Response:
    """Create a connection."""
    partner = await get_partner(page, partner_id)
    provider = await get_provider(page, page.query("provider"))
    fields = connection_fields(provider)
    try:
        given = cast(ConnectionFields, read_form(page, fields))
        async with page.db.begin_nested():
            linked = await connections.create(page.db, page.resources.vault, partner_id, provider, given)
    except CORRECTABLE as error:
        return _show_creation(page, partner, provider, refused(page, fields, error), status=422)
    return page.redirect(connection_path(partner_id, linked.connection.id), done="created")


@pages.get(_OF_CONNECTION + "/edit", role=OperatorRole.OPERATOR)
async def edit_connection(page: Page, partner_id: int, connection_id: int) -> Response:
    """Show the form of a connection."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    return _show_edit(page, partner, seen, _present(seen))


@pages.post(_OF_CONNECTION + "/edit")
async def update_connection(page: Page, partner_id: int, connection_id: int) -> Response:
    """Change the fields that differ."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    fields = connection_fields(seen.provider, has_secret=seen.has_client_secret)
    try:
        changes = read_form(page, fields, _present(seen))
        async with page.db.begin_nested():
            linked = await connections.by_code(page.db, partner_id, seen.provider.code, lock=True)
            if linked is None:
                raise NotFound("Connection not found.")
            await _update(page, linked, cast(ConnectionFields, changes))
    except CORRECTABLE as error:
        return _show_edit(page, partner, seen, refused(page, fields, error), status=422)
    return page.redirect(connection_path(partner_id, connection_id), done="saved" if changes else "unchanged")


@pages.get(_OF_CONNECTION + "/delete", role=OperatorRole.OPERATOR)
async def ask_to_delete(page: Page, partner_id: int, connection_id: int) -> Response:
    """Say what would be deleted."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    return _show_deletion(page, partner, seen)


@pages.post(_OF_CONNECTION + "/delete", fresh=True)
async def delete_connection(page: Page, partner_id: int, connection_id: int) -> Response:
    """Delete a connection whose code was typed."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    if page.field("code") != seen.provider.code:
        return _show_deletion(page, partner, seen, fault="This is not the code of the provider.")
    await connections.delete(page.db, partner_id, seen.provider.code, most_users=MAX_COUNT)
    return page.redirect(partner_path(partner_id), done="deleted")


async def get_connection(page: Page, partner_id: int, connection_id: int) -> tuple[Partner, ConnectionSeen]:
    """Return a partner and a connection of it. Raises NotFound."""
    partner = await get_partner(page, partner_id)
    if connection_id > MAX_ID:
        raise NotFound("Connection not found.")
    return partner, await partner_lists.get_connection(page.db, partner_id, connection_id)


async def get_provider(page: Page, code: str) -> Provider:
    """Return the provider with this code. Raises NotFound."""
    provider = await providers.by_code(page.db, code) if code.isprintable() else None
    if provider is None:
        raise NotFound("Provider not found.")
    return provider


async def _update(page: Page, linked: ProviderConnection, changes: ConnectionFields) -> None:
    await connections.update(page.db, page.resources.vault, linked, changes)


def _present(seen: ConnectionSeen) -> Form:
    fields = connection_fields(seen.provider, has_secret=seen.has_client_secret)
    names = [each.name for each in fields if each.name != "oauth2_client_secret"]
    return form_of(fields, {name: getattr(seen.connection, name) for name in names})


def _show_creation(
    page: Page, partner: Partner, provider: Provider, form: Form, *, status: int = 200
) -> Response:
    path = f"{partner_path(partner.id)}/connections"
    return page.show(
        "account_form.html",
        status=status,
        section="/partners",
        heading=f"Connect {partner.name} to {provider.title}",
        trail=[*partner_trail(partner), ("Connections", path)],
        form=form,
        note=None if provider.kind == ProviderKind.OAUTH2 else "Its users sign in with passwords.",
        groups=[_group(provider)],
        path=f"{path}/new?provider={provider.code}",
        cancel=f"{path}/new",
        button="Add the connection",
    )


def _show_edit(
    page: Page, partner: Partner, seen: ConnectionSeen, form: Form, *, status: int = 200
) -> Response:
    path = connection_path(partner.id, seen.connection.id)
    return page.show(
        "account_form.html",
        status=status,
        section="/partners",
        heading=f"Edit {seen.provider.code}",
        trail=connection_trail(partner, seen.connection, seen.provider),
        form=form,
        note=_CHANGED_CLIENT if seen.provider.kind == ProviderKind.OAUTH2 else _CHANGED_FOLDERS,
        groups=[_group(seen.provider)],
        path=f"{path}/edit",
        cancel=path,
        button="Save",
    )


def _group(provider: Provider) -> tuple[str, None]:
    return ("OAuth 2.0 client" if provider.kind == ProviderKind.OAUTH2 else "Settings", None)


def _show_deletion(page: Page, partner: Partner, seen: ConnectionSeen, *, fault: str = "") -> Response:
    path = connection_path(partner.id, seen.connection.id)
    return page.show(
        "delete.html",
        status=422 if fault else 200,
        section="/partners",
        trail=connection_trail(partner, seen.connection, seen.provider),
        heading=f"Delete the connection {seen.provider.code} of {partner.name}",
        what="Its mailboxes, with their mails and webhooks, are deleted too. This cannot be undone.",
        path=f"{path}/delete",
        back=path,
        field="code",
        label="Code of the provider",
        expected=seen.provider.code,
        fault=fault,
        users=seen.users,
        most=MAX_COUNT,
        command=f"superimap connections delete {partner.id} {seen.provider.code}",
    )
