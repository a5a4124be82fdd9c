"""The page Quotas of a partner."""

from collections.abc import Sequence

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
from superimap.db.accounts import quotas
from superimap.db.monitoring import partner_lists
from superimap.db.monitoring.partner_lists import QuotaUse
from superimap.domain.operators import OperatorRole
from superimap.domain.quotas import Quota

pages = Pages(ADMIN)

LABELS = {
    Quota.USERS: ("Mailboxes", "Those that are not archived."),
    Quota.SESSIONS: ("Connected mailboxes", "Those with complete credentials; each has a session."),
    Quota.BACKLOG_ROWS: ("Webhooks to send", "Beyond it, mails are not recorded until some are sent."),
    Quota.BACKLOG_BYTES: ("Bytes of their encrypted content", "The same."),
    Quota.REQUESTS_PER_SECOND: ("API requests per second", "In each process of the API."),
}


@pages.get("/partners/{partner_id:int}/quotas", role=OperatorRole.OPERATOR)
async def show_quotas(page: Page, partner_id: int) -> Response:
    """Show the quotas of a partner with their use, and the form that changes them."""
    uses = await partner_lists.list_quota_uses(page.db, partner_id)
    return await _show(page, partner_id, uses, _form(uses))


@pages.post("/partners/{partner_id:int}/quotas")
async def set_quotas(page: Page, partner_id: int) -> Response:
    """Set the quotas that differ; an empty field returns to the setting of the installation."""
    await get_partner(page, partner_id)
    uses = await partner_lists.list_quota_uses(page.db, partner_id)
    fields = _fields(uses)
    try:
        given = read_form(page, fields, _form(uses))
        changes: dict[Quota, int | None] = {Quota(name): maximum for name, maximum in given.items()}
        async with page.db.begin_nested():
            await quotas.set_maximums(page.db, partner_id, changes)
    except CORRECTABLE as error:
        return await _show(page, partner_id, uses, refused(page, fields, error), status=422)
    return page.redirect(partner_path(partner_id), done="saved" if changes else "unchanged")


def _fields(uses: Sequence[QuotaUse]) -> list[Field]:
    return [
        Field(each.quota.value, LABELS[each.quota][0], FieldKind.NUMBER, LABELS[each.quota][1])
        for each in uses
    ]


def _form(uses: Sequence[QuotaUse]) -> Form:
    own = {each.quota.value: each.maximum for each in uses if not each.is_default}
    return form_of(_fields(uses), own)


async def _show(
    page: Page, partner_id: int, uses: Sequence[QuotaUse], form: Form, *, status: int = 200
) -> Response:
    partner = await get_partner(page, partner_id)
    return page.show(
        "partner_quotas.html",
        status=status,
        partner=partner,
        trail=partner_trail(partner),
        quotas=uses,
        form=form,
        path=f"{partner_path(partner_id)}/quotas",
        most=partner_lists.MAX_COUNT,
    )
