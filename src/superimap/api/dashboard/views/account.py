"""The page of the operator who is signed in: password, second factor, recovery codes and sessions."""

from starlette.responses import Response

from superimap.api.dashboard import passkeys as ceremonies
from superimap.api.dashboard import passwords, second_factor
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.sign_in import LOCKED, count_refusal, count_sign_in_try
from superimap.api.dashboard.views.mailbox import row_number
from superimap.api.errors import Problem
from superimap.db.operators import accounts, factors, passkeys, sessions, tokens
from superimap.domain.operators import OperatorRole, password_fault

pages = Pages(ADMIN)


@pages.get("/account")
async def account(page: Page) -> Response:
    """Show the means of signing in, and the sessions."""
    return await _show(page)


@pages.post("/account/password", role=OperatorRole.VIEWER)
async def change_password(page: Page) -> Response:
    """Replace the password, which needs the present one. All other sessions end.

    A wrong one counts as at the sign-in: a browser that was left open must not find it by trying.
    """
    await count_sign_in_try(page)
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    if accounts.lock_of(operator).is_closed(await accounts.now(page.db)):
        return await _show(page, fault=LOCKED)
    if not await passwords.is_password((page.form or {}).get("present", ""), operator.password):
        await count_refusal(page, operator, operator.email)
        return await _show(page, fault="The present password is not right.")
    new = (page.form or {}).get("password", "")
    fault = password_fault(new, email=operator.email, has_second_factor=operator.totp_seed is not None)
    if fault is not None:
        return await _show(page, fault=f"The new password {fault}.")
    await accounts.set_password(
        page.db, operator, await passwords.hash_password(new), keep_session=page.session
    )
    return page.redirect("/account", done="saved")


@pages.get("/account/second-factor")
async def second_factor_page(page: Page) -> Response:
    """Show a new seed, as a QR code and as text, to be confirmed by a code."""
    return _show_seed(page, second_factor.new_seed())


@pages.post("/account/second-factor", role=OperatorRole.VIEWER, fresh=True)
async def set_second_factor(page: Page) -> Response:
    """Store the seed, once a code proves that the app has it; show the recovery codes."""
    seed = second_factor.read_offer(page, page.field("offer"))
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    step = second_factor.present_step(seed, page.field("code"))
    if step is None:
        return _show_seed(page, seed, fault="This code is not right. Enter the one that the app shows now.")
    sealed = second_factor.seal_seed(page.resources.vault, operator, seed)
    await factors.set_totp(page.db, operator, sealed, step, keep_session=page.session)
    return page.show("recovery_codes.html", codes=await second_factor.new_recovery_codes(page, operator))


@pages.post("/account/second-factor/remove", role=OperatorRole.VIEWER, fresh=True)
async def remove_second_factor(page: Page) -> Response:
    """Remove the second factor and the recovery codes."""
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    await factors.remove_totp(page.db, operator, keep_session=page.session)
    return page.redirect("/account", done="saved")


@pages.post("/account/recovery-codes", role=OperatorRole.VIEWER, fresh=True)
async def replace_recovery_codes(page: Page) -> Response:
    """Replace the recovery codes, and show the new ones once."""
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    if operator.totp_seed is None:
        raise Problem(409, "Recovery codes replace a second factor; there is none.")
    return page.show("recovery_codes.html", codes=await second_factor.new_recovery_codes(page, operator))


@pages.get("/account/passkeys")
async def passkey_page(page: Page) -> Response:
    """Let the browser make a passkey."""
    return page.show("passkey_setup.html", challenge=await ceremonies.offer_registration(page, page.operator))


@pages.post("/account/passkeys", role=OperatorRole.VIEWER, fresh=True)
async def add_passkey(page: Page) -> Response:
    """Store the passkey that the browser has made."""
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    await ceremonies.register(page, operator, page.field("name"))
    return page.redirect("/account", done="created")


@pages.post("/account/passkeys/{passkey_id}/remove", role=OperatorRole.VIEWER, fresh=True)
async def remove_passkey(page: Page, passkey_id: str) -> Response:
    """Remove a passkey."""
    operator = await accounts.get(page.db, page.operator.id, lock=True)
    await passkeys.remove(page.db, operator, row_number(passkey_id))
    return page.redirect("/account", done="deleted")


@pages.post("/account/sessions/end", role=OperatorRole.VIEWER)
async def end_session(page: Page) -> Response:
    """End one of the operator's own sessions, or all others."""
    await sessions.end_of(page.db, page.operator, page.field("session"), keep=page.session)
    return page.redirect("/account", done="ended")


async def _show(page: Page, *, fault: str = "") -> Response:
    opened = await sessions.list_valid(page.db, operator_id=page.operator.id)
    return page.show(
        "account.html",
        status=422 if fault else 200,
        fault=fault,
        sessions=opened,
        tokens=await tokens.list_of(page.db, page.operator),
        passkeys=await passkeys.list_of(page.db, page.operator),
        has_host=ceremonies.host_of(page) is not None,
        codes=await factors.count_recovery_codes(page.db, page.operator),
    )


def _show_seed(page: Page, seed: str, *, fault: str = "") -> Response:
    return page.show(
        "second_factor_setup.html",
        status=422 if fault else 200,
        fault=fault,
        seed=seed,
        image=second_factor.qr_code(page.operator, seed),
        offer=second_factor.write_offer(page, seed),
    )
