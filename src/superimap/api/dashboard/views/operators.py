"""The page Operators: who may sign in, with which role, from where they did, and how to add somebody."""

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.views.mailbox import row_number
from superimap.db.errors import Invalid
from superimap.db.models import Operator
from superimap.db.operators import accounts, links, sessions, tokens
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)


@pages.get("/operators")
async def operators(page: Page) -> Response:
    """List the operators."""
    return await _show_all(page)


@pages.post("/operators/new", role=OperatorRole.OWNER, fresh=True)
async def add(page: Page) -> Response:
    """Add an operator, and show the invitation once."""
    email = page.field("email")
    try:
        operator = await accounts.create(page.db, email, accounts.role_named(page.field("role")))
    except Invalid as error:
        return await _show_all(page, fault=f"The {error.field} {error.reason}.", email=email)
    return await _show_link(page, operator)


@pages.get("/operators/{operator_id}")
async def operator(page: Page, operator_id: str) -> Response:
    """Show an operator with the open sessions."""
    found = await accounts.get(page.db, row_number(operator_id))
    opened = await sessions.list_valid(page.db, operator_id=found.id)
    is_locked = accounts.lock_of(found).is_closed(await accounts.now(page.db))
    return page.show(
        "operator.html",
        operator=found,
        sessions=opened,
        tokens=await tokens.list_of(page.db, found),
        is_locked=is_locked,
        roles=list(OperatorRole),
    )


@pages.post("/operators/{operator_id}/invite", role=OperatorRole.OWNER, fresh=True)
async def invite(page: Page, operator_id: str) -> Response:
    """Show a new link with which the operator sets a password."""
    return await _show_link(page, await accounts.get(page.db, row_number(operator_id)))


@pages.post("/operators/{operator_id}/role", role=OperatorRole.OWNER, fresh=True)
async def change_role(page: Page, operator_id: str) -> Response:
    """Change the role. The operator's sessions end."""
    found = await accounts.get(page.db, row_number(operator_id), lock=True)
    await accounts.change(page.db, found, role=accounts.role_named(page.field("role")))
    return page.redirect(f"/operators/{found.id}", done="saved")


@pages.post("/operators/{operator_id}/disable", role=OperatorRole.OWNER, fresh=True)
async def disable(page: Page, operator_id: str) -> Response:
    """Disable an operator, or enable one that is disabled."""
    found = await accounts.get(page.db, row_number(operator_id), lock=True)
    await accounts.change(page.db, found, disabled=found.disabled_at is None)
    return page.redirect(f"/operators/{found.id}", done="saved")


@pages.post("/operators/{operator_id}/unlock", role=OperatorRole.OWNER)
async def unlock(page: Page, operator_id: str) -> Response:
    """Let an operator try passwords again."""
    found = await accounts.get(page.db, row_number(operator_id), lock=True)
    await accounts.unlock(page.db, found)
    return page.redirect(f"/operators/{found.id}", done="unlocked")


@pages.post("/operators/{operator_id}/delete", role=OperatorRole.OWNER, fresh=True)
async def delete(page: Page, operator_id: str) -> Response:
    """Delete an operator. What the operator did stays in the audit log."""
    found = await accounts.get(page.db, row_number(operator_id), lock=True)
    await accounts.delete(page.db, found)
    return page.redirect("/operators", done="deleted")


@pages.post("/operators/{operator_id}/sessions/end", role=OperatorRole.OWNER)
async def end_sessions(page: Page, operator_id: str) -> Response:
    """End one session of an operator, or all."""
    found = await accounts.get(page.db, row_number(operator_id))
    await sessions.end_of(page.db, found, page.field("session"))
    return page.redirect(f"/operators/{found.id}", done="ended")


async def _show_all(page: Page, *, fault: str = "", email: str = "") -> Response:
    return page.show(
        "operators.html",
        status=422 if fault else 200,
        operators=await accounts.list_all(page.db),
        now=await accounts.now(page.db),
        lock_of=accounts.lock_of,
        roles=list(OperatorRole),
        fault=fault,
        email=email,
    )


async def _show_link(page: Page, operator: Operator) -> Response:
    secret = await links.invite(page.db, operator)
    link = f"{page.base}{page.url('/invitation', link=secret)}"
    return page.show("invited.html", operator=operator, link=link)
