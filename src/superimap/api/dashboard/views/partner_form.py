"""The pages that create, edit and delete a partner."""

from starlette.responses import Response

from superimap.api.dashboard.form_fields import (
    CORRECTABLE,
    Field,
    FieldKind,
    Form,
    form_of,
    read_form,
    refused,
)
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import partner_path, partner_trail
from superimap.api.dashboard.views.partners import get_partner
from superimap.db.accounts import partners
from superimap.db.models import Partner
from superimap.db.monitoring import partner_lists
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

FIELDS = (
    Field("name", "Name", hint="Such as acme-production. Letter case is ignored.", is_required=True),
    Field("new_mail_webhook", "New mail", FieldKind.URL, "Such as https://app.example.com/hook."),
    Field("user_connected_webhook", "Mailbox connected", FieldKind.URL),
    Field("user_disconnected_webhook", "Mailbox disconnected", FieldKind.URL),
    Field("events_webhook", "Other events", FieldKind.URL, "Such as a refused sign-in."),
    Field("send_traceparent", "Send the header traceparent, to continue traces", FieldKind.CHECK),
    Field(
        "success_url", "After success", FieldKind.URL, "Page for people who have connected or disconnected."
    ),
    Field("failure_url", "After a failure", FieldKind.URL, "Page for people whose attempt failed."),
    Field(
        "return_origins",
        "Origins of links",
        FieldKind.LINES,
        "Other sites that links may return to, one in each line, such as https://app.example.com.",
    ),
    Field("append_results", "Append the result to the query of these pages", FieldKind.CHECK),
)
GROUPS = (
    ("Partner", FIELDS[:1]),
    ("URLs for webhooks", FIELDS[1:6]),
    ("Where people return to", FIELDS[6:]),
)
MAX_DELETED_USERS = partner_lists.MAX_COUNT
"""More users, with their mails and webhooks, cannot be deleted within the time of a page."""


@pages.get("/partners/new", role=OperatorRole.OPERATOR)
async def new_partner(page: Page) -> Response:
    """Show the form of a new partner."""
    return _show_form(page, form_of(FIELDS, {}))


@pages.post("/partners/new")
async def create_partner(page: Page) -> Response:
    """Create a partner, and show its API key and signing secret this once."""
    try:
        fields = read_form(page, FIELDS)
        async with page.db.begin_nested():
            created = await partners.create(
                page.db, page.resources.vault, https_only=_https_only(page), **fields
            )
    except CORRECTABLE as error:
        return _show_form(page, refused(page, FIELDS, error), status=422)
    return page.show(
        "secret_once.html",
        section="/partners",
        heading=f"{created.partner.name} is created",
        trail=partner_trail(created.partner),
        secrets=[("API key", created.api_key), ("Signing secret", created.signing_secret)],
        next=(partner_path(created.partner.id), "To the partner"),
    )


@pages.get("/partners/{partner_id:int}/edit", role=OperatorRole.OPERATOR)
async def edit_partner(page: Page, partner_id: int) -> Response:
    """Show the form of a partner."""
    partner = await get_partner(page, partner_id)
    return _show_form(page, form_of(FIELDS, await partners.describe(page.db, partner)), partner)


@pages.post("/partners/{partner_id:int}/edit")
async def update_partner(page: Page, partner_id: int) -> Response:
    """Change the fields that differ."""
    partner = await get_partner(page, partner_id)
    try:
        changes = read_form(page, FIELDS, form_of(FIELDS, await partners.describe(page.db, partner)))
        async with page.db.begin_nested():
            await partners.update(page.db, partner_id, https_only=_https_only(page), **changes)
    except CORRECTABLE as error:
        await page.db.refresh(partner)
        return _show_form(page, refused(page, FIELDS, error), partner, status=422)
    return page.redirect(partner_path(partner_id), done="saved" if changes else "unchanged")


@pages.get("/partners/{partner_id:int}/delete", role=OperatorRole.OPERATOR)
async def ask_to_delete(page: Page, partner_id: int) -> Response:
    """Say what would be deleted."""
    return await _show_deletion(page, await get_partner(page, partner_id))


@pages.post("/partners/{partner_id:int}/delete", fresh=True)
async def delete_partner(page: Page, partner_id: int) -> Response:
    """Delete a partner whose name was typed."""
    partner = await get_partner(page, partner_id)
    if page.field("name") != partner.name:
        return await _show_deletion(page, partner, fault="This is not the name of the partner.")
    await partners.delete(page.db, partner_id, most_users=MAX_DELETED_USERS)
    return page.redirect("/partners", done="deleted")


async def _show_deletion(page: Page, partner: Partner, *, fault: str = "") -> Response:
    users = await _count_all_users(page, partner.id)
    return page.show(
        "delete.html",
        status=422 if fault else 200,
        section="/partners",
        trail=partner_trail(partner),
        heading=f"Delete {partner.name}",
        what="Its connections, mailboxes, keys, mails and webhooks are deleted too. This cannot be undone.",
        path=f"{partner_path(partner.id)}/delete",
        back=partner_path(partner.id),
        field="name",
        label="Name of the partner",
        expected=partner.name,
        fault=fault,
        users=users,
        most=MAX_DELETED_USERS,
        command=f"superimap partners delete {partner.id}",
    )


async def _count_all_users(page: Page, partner_id: int) -> int:
    """Count the partner's users, archived ones included; each connection's up to one more than the maximum."""
    return sum(each.users for each in await partner_lists.list_connections(page.db, partner_id))


def _show_form(page: Page, form: Form, partner: Partner | None = None, *, status: int = 200) -> Response:
    path = partner_path(partner.id) if partner else "/partners"
    return page.show(
        "account_form.html",
        status=status,
        section="/partners",
        heading=f"Edit {partner.name}" if partner else "Add a partner",
        trail=partner_trail(partner) if partner else [("Partners", "/partners")],
        form=form,
        groups=[(title, [each.name for each in fields]) for title, fields in GROUPS],
        path=f"{path}/edit" if partner else "/partners/new",
        cancel=path,
        button="Save" if partner else "Add the partner",
    )


def _https_only(page: Page) -> bool:
    return page.resources.settings.environment == "production"
