"""The page on which an invited operator sets a password."""

from starlette.responses import Response

from superimap.api.dashboard import passwords
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.sign_in import admit
from superimap.api.errors import Problem
from superimap.db.models import Operator
from superimap.db.operators import accounts, links
from superimap.domain.operators import password_fault

pages = Pages(ADMIN)


@pages.get("/invitation", role=None)
async def invitation_page(page: Page) -> Response:
    """Show the form with which an invited operator sets a password. Opening it does not use up the link."""
    return page.show("invitation.html", fault="", operator=await _invited(page), link=page.query("link"))


@pages.post("/invitation", role=None, once=False)
async def accept_invitation(page: Page) -> Response:
    """Set the password and sign in; the link is used up."""
    operator = await _invited(page, page.field("link"))
    password = (page.form or {}).get("password", "")
    has_second_factor = operator.totp_seed is not None
    fault = password_fault(password, email=operator.email, has_second_factor=has_second_factor)
    if fault is None and password != (page.form or {}).get("again", ""):
        fault = "was not repeated: the two entries differ"
    if fault is not None:
        return page.show(
            "invitation.html",
            status=422,
            fault=f"The password {fault}.",
            operator=operator,
            link=page.field("link"),
        )
    hashed = await passwords.hash_password(password)
    if await links.use(page.db, page.field("link")) is None:
        raise _used_up()
    await accounts.set_password(page.db, operator, hashed)
    if has_second_factor:
        return page.redirect("/sign-in")
    return await admit(page, operator, method="invitation")


async def _invited(page: Page, link: str | None = None) -> Operator:
    found = await links.find(page.db, page.query("link") if link is None else link)
    if found is None or found.operator_id is None:
        raise _used_up()
    return await accounts.get(page.db, found.operator_id)


def _used_up() -> Problem:
    return Problem(
        404,
        "This link was used, or is too old. Ask an owner for another one, or run `superimap admins reset`.",
        kind="used-link",
    )
