"""The page that asks for the identity again, before an action that needs it."""

from starlette.responses import Response

from superimap.api.dashboard import passkeys, passwords, second_factor
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.sign_in import LOCKED, count_refusal, count_sign_in_try, own_path
from superimap.db.operators import accounts, sessions
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)


@pages.get("/confirm")
async def confirm_page(page: Page) -> Response:
    """Ask for the identity again, before an action that needs it."""
    return _show_confirm(page, next=page.query("next"))


@pages.post("/confirm", role=OperatorRole.VIEWER)
async def confirm(page: Page) -> Response:
    """Check the second factor, or the password where there is none."""
    await count_sign_in_try(page)
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    if accounts.lock_of(operator).is_closed(await accounts.now(page.db)):
        return _show_confirm(page, fault=LOCKED, next=page.field("next"))
    if operator.totp_seed is not None:
        is_right = await second_factor.accept(page, operator, page.field("code"))
    else:
        is_right = await passwords.is_password((page.form or {}).get("password", ""), operator.password)
    if not is_right:
        await count_refusal(page, operator, operator.email)
        return _show_confirm(page, fault="That is not right.", next=page.field("next"))
    await sessions.step_up(page.db, page.session)
    return page.redirect(own_path(page.field("next")))


@pages.post("/confirm/passkey", role=OperatorRole.VIEWER)
async def confirm_by_passkey(page: Page) -> Response:
    """Check a passkey of the operator who is signed in."""
    operator = await passkeys.verify(page)
    if operator.id != page.operator.id:
        return _show_confirm(page, fault="This passkey belongs to somebody else.", next=page.field("next"))
    await sessions.step_up(page.db, page.session)
    return page.redirect(own_path(page.field("next")))


def _show_confirm(page: Page, *, fault: str = "", next: str) -> Response:
    return page.show(
        "confirm.html",
        status=422 if fault else 200,
        fault=fault,
        next=next,
        challenge=passkeys.offer_sign_in(page),
    )
