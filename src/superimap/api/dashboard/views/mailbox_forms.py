"""The pages that create and edit a mailbox."""

from collections.abc import Mapping
from typing import Any, cast

from starlette.responses import Response

from superimap.api.dashboard.connection_fields import FORGET, mailbox_fields
from superimap.api.dashboard.form_fields import CORRECTABLE, SECRETS, Form, form_of, read_form, refused
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import MAX_ID, Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import connection_path, connection_trail, mailbox_path, mailbox_trail
from superimap.api.dashboard.views.connections import get_connection
from superimap.api.mail_servers import check_mail_server
from superimap.db.accounts import connecting, connections, users
from superimap.db.accounts.user_changes import used_values
from superimap.db.accounts.validation.accounts import UserFields, sign_in_fields, validate_account
from superimap.db.errors import Invalid, NotFound
from superimap.db.models import Partner, Provider
from superimap.db.monitoring import mailbox_lists
from superimap.db.monitoring.mailbox_lists import MailboxSeen
from superimap.db.monitoring.partner_lists import ConnectionSeen
from superimap.domain.destinations import USER_FIELDS, misdirected_secrets
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

_NEW = "/partners/{partner_id:int}/connections/{connection_id:int}/users/new"
_EDIT = "/mailboxes/{user_id:int}/edit"


@pages.get(_NEW, role=OperatorRole.OPERATOR)
async def new_mailbox(page: Page, partner_id: int, connection_id: int) -> Response:
    """Show the form of a new mailbox."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    return _show_creation(page, partner, seen, form_of(mailbox_fields(seen.provider), {}))


@pages.post(_NEW)
async def create_mailbox(page: Page, partner_id: int, connection_id: int) -> Response:
    """Create a mailbox; with credentials, it is watched at once."""
    partner, seen = await get_connection(page, partner_id, connection_id)
    fields = mailbox_fields(seen.provider)
    try:
        given = read_form(page, fields)
        _check_server(page, seen.provider, given)
        async with page.db.begin_nested():
            linked = await connections.by_code(page.db, partner_id, seen.provider.code)
            if linked is None:
                raise NotFound("Connection not found.")
            user = await users.create(page.db, page.resources.vault, linked, cast(UserFields, given))
    except CORRECTABLE as error:
        return _show_creation(page, partner, seen, refused(page, fields, error), status=422)
    return page.redirect(mailbox_path(user.id), done="created")


@pages.get(_EDIT, role=OperatorRole.OPERATOR)
async def edit_mailbox(page: Page, user_id: int) -> Response:
    """Show the form of a mailbox."""
    seen = await get_mailbox(page, user_id)
    return _show_edit(page, seen, _present(seen))


@pages.post(_EDIT)
async def update_mailbox(page: Page, user_id: int) -> Response:
    """Change the fields that differ; new credentials are tried at once."""
    seen = await get_mailbox(page, user_id)
    fields = mailbox_fields(seen.provider, has_secret=seen.has_secret)
    before = _present(seen)
    try:
        changes = read_form(page, fields, before)
        _decide_secret(seen, changes)
        _check_server(page, seen.provider, changes)
        async with page.db.begin_nested():
            linked_user = await connecting.lock_user(page.db, user_id)
            await users.update(
                page.db,
                page.resources.vault,
                linked_user.provider_connection,
                linked_user.user,
                cast(UserFields, changes),
            )
    except CORRECTABLE as error:
        return _show_edit(page, seen, refused(page, fields, error), status=422)
    return page.redirect(mailbox_path(user_id), done="saved" if changes else "unchanged")


async def get_mailbox(page: Page, user_id: int) -> MailboxSeen:
    """Return the mailbox with this id, within the scope of the page. Raises NotFound."""
    if user_id > MAX_ID:
        raise NotFound("Mailbox not found.")
    return await mailbox_lists.find(page.db, user_id, partner_id=page.scope)


def _decide_secret(seen: MailboxSeen, changes: dict[str, Any]) -> None:
    """Clear the secret if this was asked for. Raises Invalid if another change would clear it unasked."""
    names = sign_in_fields(seen.provider)
    is_forgotten = changes.pop(FORGET, False)
    if len(names) < 2 or not seen.has_secret or names[1] in changes:
        return
    if is_forgotten:
        changes[names[1]] = None
        return
    given = used_values(seen.provider, seen.user, validate_account(changes))
    if names[1] in misdirected_secrets(USER_FIELDS, seen.user, given):
        raise Invalid(
            names[1],
            "must be entered again, because the stored one belongs to the account or server before the change; "
            "or have the stored one deleted",
        )


def _check_server(page: Page, provider: Provider, fields: Mapping[str, Any]) -> None:
    if provider.host_by_user:
        check_mail_server(fields, page.resources.settings)


def _present(seen: MailboxSeen) -> Form:
    fields = mailbox_fields(seen.provider, has_secret=seen.has_secret)
    shown = [each.name for each in fields if each.kind not in SECRETS and each.name != FORGET]
    return form_of(fields, {name: getattr(seen.user, name) for name in shown})


def _show_creation(
    page: Page, partner: Partner, seen: ConnectionSeen, form: Form, *, status: int = 200
) -> Response:
    path = connection_path(partner.id, seen.connection.id)
    return page.show(
        "account_form.html",
        status=status,
        section="/partners",
        heading="Add a mailbox",
        trail=connection_trail(partner, seen.connection, seen.provider),
        form=form,
        groups=[(f"{seen.provider.title} of {partner.name}", None)],
        path=f"{path}/users/new",
        cancel=path,
        button="Add the mailbox",
    )


def _show_edit(page: Page, seen: MailboxSeen, form: Form, *, status: int = 200) -> Response:
    path = mailbox_path(seen.user.id)
    return page.show(
        "account_form.html",
        status=status,
        section="/partners",
        heading=f"Edit {seen.name}",
        trail=mailbox_trail(seen),
        form=form,
        note="New credentials are tried at once." if not seen.user.archived else None,
        groups=[(f"{seen.provider.title} of {seen.partner.name}", None)],
        path=f"{path}/edit",
        cancel=path,
        button="Save",
    )
