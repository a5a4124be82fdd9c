"""The portal's own pages: opening and closing it, its overview, and the checker of signatures."""

from starlette.responses import Response

from superimap.api.dashboard import activity_charts, cookies, delivery_words, signature_check, words
from superimap.api.dashboard.mailbox_list import read_list
from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.views.connections import get_connection
from superimap.api.errors import Problem
from superimap.db import audit
from superimap.db.accounts import partners
from superimap.db.monitoring import partner_overview, tracers
from superimap.db.monitoring.partner_lists import MAX_COUNT
from superimap.db.operators import links, sessions
from superimap.domain.audit import AuditAction
from superimap.domain.operators import OperatorRole

pages = Pages(PORTAL)
admin_pages = Pages(ADMIN)


@pages.get("/sign-in", role=None)
async def closed(page: Page) -> Response:
    """Say how a portal is opened."""
    if page.opened is not None:
        return page.redirect()
    return page.show("portal_closed.html")


@pages.get("/open", role=None)
async def open_page(page: Page) -> Response:
    """Show a button that opens the portal: a program that follows links in mails must not use the link up."""
    link = page.query("link")
    found = await links.find(page.db, link)
    if found is None or found.partner_id is None:
        raise _used_up()
    partner = await partners.by_id(page.db, found.partner_id)
    return page.show("portal_open.html", link=link, name=partner.name if partner else "")


@pages.post("/open", role=None, once=False)
async def open_portal(page: Page) -> Response:
    """Open the portal in this browser; the link is used up."""
    found = await links.use(page.db, page.field("link"))
    if found is None or found.partner_id is None:
        raise _used_up()
    secret = cookies.new_secret()
    await sessions.delete_expired(page.db)
    await sessions.open_session(
        page.db,
        cookies.digest_of(secret),
        partner_id=found.partner_id,
        method="link",
        address=page.address,
        browser=page.request.headers.get("user-agent", ""),
        opened_by=found.made_by,
    )
    await audit.record(page.db, AuditAction.PORTAL_OPEN, partner_id=found.partner_id)
    response = page.redirect()
    cookies.set_cookie(page.request, response, PORTAL, secret)
    return response


@pages.post("/sign-out", role=OperatorRole.VIEWER)
async def close(page: Page) -> Response:
    """End this session."""
    await sessions.end(page.db, page.session)
    response = page.redirect("/sign-in")
    cookies.delete_cookie(page.request, response, PORTAL)
    return response


@pages.get("")
async def overview(page: Page) -> Response:
    """Show the endpoints, and the mailboxes that are not watched."""
    seen = await partner_overview.read(page.db, page.partner.id)
    return page.show(
        "portal.html",
        seen=seen,
        words=words,
        state_of=delivery_words.waiting_state,
        kinds=delivery_words.KINDS,
        most=partner_overview.MAX_COUNTED,
        charts=await activity_charts.of_partner(page.db, page.partner.id),
        arrivals=await tracers.of_partner(page.db, page.partner.id),
        live=True,
    )


@pages.get("/mailboxes")
async def troubled(page: Page) -> Response:
    """List the mailboxes that are not watched, and the connections with all mailboxes."""
    seen = await partner_overview.read(page.db, page.partner.id)
    rows = await partner_overview.list_troubled(page.db, page.partner.id, status=page.query("status") or None)
    return page.show("portal_mailboxes.html", seen=seen, rows=rows, words=words, live=True)


@pages.get("/connections/{connection_id:int}")
async def connection(page: Page, connection_id: int) -> Response:
    """List the mailboxes of a connection."""
    _, seen = await get_connection(page, page.partner.id, connection_id)
    path = f"/connections/{connection_id}"
    return page.show(
        "portal_connection.html", seen=seen, path=path, most=MAX_COUNT, **await read_list(page, connection_id)
    )


@pages.get("/signature")
async def signature_page(page: Page) -> Response:
    """Show the form for a webhook request."""
    return page.show("signature.html", result=None, text="")


@pages.post("/signature", role=OperatorRole.VIEWER, once=False)
async def check_signature(page: Page) -> Response:
    """Check the signatures of a pasted webhook request with the partner's keys and secrets, step by step."""
    text = (page.form or {}).get("request", "")
    result = await signature_check.check(page.db, page.resources.vault, page.partner.id, text)
    return page.show("signature.html", result=result, text=text)


@admin_pages.post("/partners/{partner_id:int}/portal", role=OperatorRole.OPERATOR, fresh=True)
async def make_link(page: Page, partner_id: int) -> Response:
    """Show a link that opens the partner's portal once."""
    partner = await partners.by_id(page.db, partner_id)
    if partner is None:
        raise Problem(404, "Partner not found.")
    secret = await links.open_portal(page.db, partner.id)
    return page.show("portal_link.html", partner=partner, link=portal_url(page, secret))


def portal_url(page: Page, secret: str) -> str:
    """Return the address of a link that opens a portal."""
    path = page.url(link=secret).replace(f"/{page.door}?", f"/{PORTAL}/open?", 1)
    return f"{page.base}{path}"


def _used_up() -> Problem:
    return Problem(
        404,
        "This link was used, or is older than ten minutes. Ask for another one where you found it.",
        kind="used-link",
    )
