"""The pages Partners and Partner."""

from functools import partial

from starlette.responses import Response

from superimap.api.dashboard import activity_charts, delivery_words
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import MAX_ID, Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.trails import partner_trail
from superimap.db.accounts import api_keys, partner_keys, partners, webhook_endpoints
from superimap.db.errors import NotFound
from superimap.db.models import Partner
from superimap.db.monitoring import partner_lists, partner_overview
from superimap.domain.events import EventKind
from superimap.webhooks.urls import shown_url

pages = Pages(ADMIN)

PAGE_ROWS = 50
MAX_FILTER_CHARACTERS = 200
KIND_NAMES = {
    EventKind.NEW_MAIL: "New mail",
    EventKind.USER_CONNECTED: "Mailbox connected",
    EventKind.USER_DISCONNECTED: "Mailbox disconnected",
    EventKind.EVENTS: "Other events",
}


@pages.get("/partners")
async def list_partners(page: Page) -> Response:
    """List the partners by name."""
    prefix = page.query("name")[:MAX_FILTER_CHARACTERS].replace("\0", "")
    rows = await partner_lists.list_partners(
        page.db, prefix=prefix, after=page.number("after"), limit=PAGE_ROWS + 1
    )
    more = rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None
    return page.show("partners.html", rows=rows[:PAGE_ROWS], more=more, prefix=prefix)


@pages.get("/partners/{partner_id:int}")
async def show_partner(page: Page, partner_id: int) -> Response:
    """Show a partner: its settings, endpoints, keys, quotas and connections."""
    partner = await get_partner(page, partner_id)
    endpoints = {each.kind: each for each in await webhook_endpoints.list_endpoints(page.db, partner_id)}
    states = {
        kind: delivery_words.waiting_state(each, await partner_overview.count_waiting(page.db, each.id))
        for kind, each in endpoints.items()
    }
    return page.show(
        "partner.html",
        partner=partner,
        trail=partner_trail(partner)[:1],
        users=await partner_lists.count_users(page.db, partner_id),
        endpoints=[(KIND_NAMES[kind], endpoints.get(kind), states.get(kind)) for kind in EventKind],
        shown_url=partial(shown_url, is_whole=page.may_act),
        keys=await api_keys.list_keys(page.db, partner_id),
        signing=await api_keys.signing_key_id(page.db, partner_id),
        secrets=await partner_keys.list_signing_secrets(page.db, partner_id),
        is_valid=partner_keys.is_valid,
        quotas=await partner_lists.list_quota_uses(page.db, partner_id),
        connections=await partner_lists.list_connections(page.db, partner_id),
        most=partner_lists.MAX_COUNT,
        charts=await activity_charts.of_partner(page.db, partner_id),
    )


async def get_partner(page: Page, partner_id: int) -> Partner:
    """Return the partner with this id. Raises NotFound."""
    partner = await partners.by_id(page.db, partner_id) if partner_id <= MAX_ID else None
    if partner is None:
        raise NotFound("Partner not found.")
    return partner
