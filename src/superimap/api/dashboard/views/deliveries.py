"""The pages Deliveries: the webhooks of a partner, and one of them with its attempts."""

from starlette.background import BackgroundTask
from starlette.responses import Response

from superimap.api.dashboard import delay_words, delivery_words
from superimap.api.dashboard.delivery_filters import read_filter
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.words import DELIVERY_STATES
from superimap.api.errors import Problem
from superimap.db.accounts import allowances, partners, webhook_endpoints
from superimap.db.accounts.allowances import Action
from superimap.db.delivery import replay
from superimap.db.errors import Conflict, TooMany
from superimap.db.models import Partner
from superimap.db.monitoring import delivery_details, history
from superimap.db.monitoring.delivery_details import MAX_COUNTED, MAX_PARTNERS
from superimap.domain.deliveries import DeliveryState
from superimap.webhooks.signing import delivery_of

pages = Pages(ADMIN, PORTAL)
admin_pages = Pages(ADMIN)
portal_pages = Pages(PORTAL)

PAGE_ROWS = 50
SCOPES = (
    ("All", ""),
    ("Waiting", DeliveryState.PENDING),
    ("Being sent", DeliveryState.SENDING),
    ("Delivered", DeliveryState.DELIVERED),
    ("Failed", DeliveryState.FAILED),
    ("Cancelled", DeliveryState.CANCELLED),
)
BULK = {
    DeliveryState.FAILED: "replay",
    DeliveryState.CANCELLED: "replay",
    DeliveryState.PENDING: "cancel",
}
"""What can be done with all deliveries in a state."""
WORDS = {
    "states": DELIVERY_STATES,
    "kinds": delivery_words.KINDS,
    "answer": delivery_words.answer_words,
}


@pages.get("/deliveries")
async def deliveries(page: Page) -> Response:
    """List the webhooks of a partner, the latest first."""
    if page.scope is None and not page.query("partner"):
        return await _choose_partner(page)
    partner = await required_partner(page)
    chosen = await read_filter(page.db, partner.id, page.query)
    after = delivery_of(page.query("after"))
    rows = await history.list_deliveries(page.db, chosen.which, after=after, limit=PAGE_ROWS + 1)
    endpoints = await webhook_endpoints.list_endpoints(page.db, partner.id)
    return page.show(
        "deliveries.html",
        status=422 if chosen.faults else 200,
        partner=partner,
        endpoints=[each for each in endpoints if each.url is not None],
        rows=rows[:PAGE_ROWS],
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        is_first=after is None,
        chosen=chosen,
        scopes=SCOPES,
        counts=await delivery_details.count_states(page.db, partner.id, chosen.which.kind),
        most=MAX_COUNTED,
        bulk=BULK,
        live=True,
        **WORDS,
    )


async def _choose_partner(page: Page) -> Response:
    found = await delivery_details.list_partner_names(page.db, after=page.query("after"))
    if len(found) == 1 and not page.query("after"):
        return page.redirect("/deliveries", partner=found[0][0])
    return page.show(
        "choose_partner.html",
        found=found[:MAX_PARTNERS],
        more=found[MAX_PARTNERS - 1][1] if len(found) > MAX_PARTNERS else None,
    )


async def required_partner(page: Page) -> Partner:
    """Return the partner of the portal, or the one that the parameter `partner` names. Raises Problem 404."""
    if page.scope is not None:
        return page.partner
    partner_id = page.number("partner")
    found = await partners.by_id(page.db, partner_id) if partner_id is not None else None
    if found is None:
        raise Problem(404, "There is no partner with this id.")
    return found


@admin_pages.get("/deliveries/{partner_id:int}/{webhook}")
@portal_pages.get("/deliveries/{webhook}")
async def delivery(page: Page, webhook: str, partner_id: int = 0) -> Response:
    """Show one webhook with its attempts."""
    return await show_delivery(page, page.scope or partner_id, webhook)


async def show_delivery(page: Page, partner_id: int, webhook: str, *, fault: str = "") -> Response:
    """Show a webhook, and why an action was refused."""
    found = delivery_of(webhook)
    seen = await delivery_details.get_details(page.db, partner_id, found)
    partner = await partners.by_id(page.db, partner_id)
    attempts = await history.list_attempts(page.db, page.resources.vault, partner_id, found) if found else []
    headline = delivery_words.delivery_headline(seen)
    conflict = replay.replay_conflict(
        seen.row.state,
        has_content=seen.row.has_content,
        has_url=seen.endpoint.url is not None,
        is_disabled=seen.endpoint.disabled_at is not None,
    )
    return page.show(
        "delivery.html",
        status=409 if fault else 200,
        partner=partner,
        own=_path(page, partner_id, webhook),
        seen=seen,
        row=seen.row,
        attempts=attempts[::-1],
        headline=headline if page.scope is None else delay_words.addressed(headline),
        can_replay=conflict is None,
        can_cancel=seen.row.state is DeliveryState.PENDING,
        fault=fault,
        live=True,
        **WORDS,
    )


@admin_pages.post("/deliveries/{partner_id:int}/{webhook}/replay")
@portal_pages.post("/deliveries/{webhook}/replay")
async def replay_delivery(page: Page, webhook: str, partner_id: int = 0) -> Response:
    """Send a failed or cancelled webhook again. A portal has the allowance of its partner."""
    owner = page.scope or partner_id
    try:
        if page.scope is not None:
            await allowances.use(page.db, owner, Action.REPLAY)
        endpoint_id = await replay.replay_one(page.db, owner, delivery_of(webhook))
    except (Conflict, TooMany) as refusal:
        return await show_delivery(page, owner, webhook, fault=str(refusal))
    answer = page.redirect(_path(page, owner, webhook), done="replayed")
    answer.background = BackgroundTask(page.resources.ring, endpoint_id)
    return answer


@admin_pages.post("/deliveries/{partner_id:int}/{webhook}/cancel")
@portal_pages.post("/deliveries/{webhook}/cancel")
async def cancel_delivery(page: Page, webhook: str, partner_id: int = 0) -> Response:
    """Cancel a webhook that waits."""
    owner = page.scope or partner_id
    try:
        await replay.cancel_one(page.db, owner, delivery_of(webhook))
    except Conflict as conflict:
        return await show_delivery(page, owner, webhook, fault=str(conflict))
    return page.redirect(_path(page, owner, webhook), done="cancelled")


def _path(page: Page, partner_id: int, webhook: str) -> str:
    return f"/deliveries/{webhook}" if page.scope else f"/deliveries/{partner_id}/{webhook}"
