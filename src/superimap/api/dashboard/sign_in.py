"""Pages for signing in and out: password, second factor, passkey, and the lock after wrong ones."""

import hashlib
import hmac
import time

from starlette.responses import Response

from superimap.api.dashboard import cookies, passkeys, passwords, second_factor
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.errors import Problem
from superimap.api.pages.try_limits import counted_address
from superimap.core.crypto import constant_time_equal, digest
from superimap.db import audit
from superimap.db.accounts.link_usage import TriesExceeded, TryLimit, count_try
from superimap.db.errors import NotFound
from superimap.db.models import Operator
from superimap.db.operators import accounts, sessions
from superimap.domain.audit import AuditAction
from superimap.domain.operators import OperatorRole

pages = Pages(ADMIN)

MAX_TRIES_PER_ADDRESS = 30
TRIES_SECONDS = 600
PENDING_SECONDS = 300
"""Time for the second factor, after the password."""
MAX_DIGITS = 18
"""Of the numbers in a form that asks for the second factor; each fits into 64 bits."""
_REFUSED = "This address or password is not right."
_LAST_TRY = "One more wrong try locks your password for an hour. A passkey would still sign in."
LOCKED = (
    "Too many wrong passwords: yours is locked for an hour. Another owner, or `superimap admins unlock`, "
    "unlocks it. A passkey still signs in."
)
_ONLY_PROVIDER = (
    "Your groups at the provider decide what you may do: sign in with the provider. Your passkey confirms your "
    "identity afterwards."
)


@pages.get("/sign-in", role=None)
async def sign_in_page(page: Page) -> Response:
    """Show the form, or what to do where there is no operator yet."""
    if page.opened is not None:
        return page.redirect()
    has_operators = bool(await accounts.count_enabled(page.db))
    return _show_sign_in(page, next=page.query("next"), has_operators=has_operators)


@pages.post("/sign-in", role=None, once=False)
async def sign_in(page: Page) -> Response:
    """Check the password; ask for the second factor where there is one."""
    await count_sign_in_try(page)
    email, password = page.field("email"), (page.form or {}).get("password", "")
    operator = await accounts.by_email(page.db, email, lock=True)
    now = await accounts.now(page.db)
    is_usable = operator is not None and operator.disabled_at is None
    is_right = await passwords.is_password(password, operator.password if operator and is_usable else None)
    if operator is None or not is_usable:
        return _refuse(page, email, _REFUSED)
    if accounts.lock_of(operator).is_closed(now):
        return _refuse(page, email, LOCKED)
    if not is_right:
        return await count_refusal(page, operator, email)
    if operator.totp_seed is not None:
        pending = _pending(page, operator)
        return page.show("second_factor.html", fault="", pending=pending, next=page.field("next"))
    return await admit(page, operator, method="password")


@pages.post("/passkey", role=None, once=False)
async def sign_in_by_passkey(page: Page) -> Response:
    """Sign in by a passkey, which is both factors. A locked password does not matter."""
    await count_sign_in_try(page)
    operator = await passkeys.verify(page)
    if operator.oidc_subject is not None:
        return _refuse(page, operator.email, _ONLY_PROVIDER)
    return await admit(page, operator, method="passkey")


@pages.post("/second-factor", role=None, once=False)
async def check_second_factor(page: Page) -> Response:
    """Check the code of the authenticator app, or a recovery code."""
    await count_sign_in_try(page)
    operator = await _pending_operator(page)
    if accounts.lock_of(operator).is_closed(await accounts.now(page.db)):
        return _refuse(page, operator.email, LOCKED)
    if not await second_factor.accept(page, operator, page.field("code")):
        await count_refusal(page, operator, operator.email)
        return page.show(
            "second_factor.html",
            status=422,
            fault="This code is not right, or was used before. Enter the one that the app shows now.",
            pending=page.field("pending"),
            next=page.field("next"),
        )
    return await admit(page, operator, method="password and code")


async def admit(page: Page, operator: Operator, *, method: str) -> Response:
    """Open a session for an operator whose identity was proven, and go to the page that was asked for."""
    response = page.redirect(own_path(page.field("next")))
    await open_operator_session(page, response, operator, method=method)
    return response


async def open_operator_session(
    page: Page, response: Response, operator: Operator, *, method: str, is_stepped_up: bool = True
) -> None:
    """Open a session whose cookie the response sets. `is_stepped_up`: the identity was proven just now."""
    secret = cookies.new_secret()
    await accounts.note_sign_in(page.db, operator, address=page.address, method=method)
    await sessions.delete_expired(page.db)
    await sessions.open_session(
        page.db,
        cookies.digest_of(secret),
        operator_id=operator.id,
        method=method,
        address=page.address,
        browser=page.request.headers.get("user-agent", ""),
        is_stepped_up=is_stepped_up,
    )
    cookies.set_cookie(page.request, response, ADMIN, secret)


@pages.post("/sign-out", role=OperatorRole.VIEWER)
async def sign_out(page: Page) -> Response:
    """End this session."""
    await sessions.end(page.db, page.session)
    response = page.redirect("/sign-in")
    cookies.delete_cookie(page.request, response, ADMIN)
    return response


def own_path(given: str) -> str:
    """Return a path below /admin to which a browser may be sent; empty for any other address."""
    is_own = given.startswith("/") and not given.startswith(("//", "/\\")) and given.isprintable()
    return given if is_own and "\\" not in given and "://" not in given else ""


async def count_refusal(page: Page, operator: Operator, email: str) -> Response:
    """Count a wrong password or code of an operator whose row is locked, and say what follows."""
    now = await accounts.now(page.db)
    lock = accounts.lock_of(operator).after_refusal(now)
    await accounts.set_lock(page.db, operator, lock)
    action = AuditAction.OPERATOR_LOCK if lock.is_closed(now) else AuditAction.OPERATOR_REFUSE
    await audit.record(page.db, action, partner_id=None, object_id=operator.email)
    if lock.is_closed(now):
        return _refuse(page, email, LOCKED)
    return _refuse(page, email, f"{_REFUSED} {_LAST_TRY}" if lock.is_last_try(now) else _REFUSED)


def _refuse(page: Page, email: str, fault: str) -> Response:
    return _show_sign_in(page, fault=fault, email=email, next=page.field("next"))


def _show_sign_in(
    page: Page, *, fault: str = "", email: str = "", next: str, has_operators: bool = True
) -> Response:
    return page.show(
        "sign_in.html",
        status=422 if fault else 200,
        fault=fault,
        email=email,
        next=next,
        has_operators=has_operators,
        challenge=passkeys.offer_sign_in(page) if has_operators else None,
    )


async def count_sign_in_try(page: Page) -> None:
    """Count a try to sign in from this address. Raises Problem 429."""
    counted = counted_address(page.address) or page.address
    limit = TryLimit(
        digest(f"dashboard\0{counted}"), MAX_TRIES_PER_ADDRESS, TRIES_SECONDS, "from your address"
    )
    try:
        await count_try(page.db, [limit])
    except TriesExceeded as exceeded:
        raise Problem(
            429,
            f"Too many tries from your address. Try again in {exceeded.seconds} s.",
            headers={"Retry-After": str(exceeded.seconds)},
        ) from None


def _pending(page: Page, operator: Operator) -> str:
    """Return a token that says whose password was right just now."""
    text = f"{operator.id}.{int(time.time())}"
    return f"{text}.{_pending_mac(page.key, text, operator)}"


async def _pending_operator(page: Page) -> Operator:
    """Return the operator whose password was right, locked. Raises Problem 401."""
    text, _, mac = page.field("pending").rpartition(".")
    operator_id, _, written = text.partition(".")
    ended = Problem(401, "The sign-in took too long. Enter your password again.")
    if (
        not operator_id.isdecimal()
        or not written.isdecimal()
        or max(map(len, (operator_id, written))) > MAX_DIGITS
    ):
        raise ended
    try:
        operator = await accounts.get(page.db, int(operator_id), lock=True)
    except NotFound:
        raise ended from None
    expected = [_pending_mac(key, text, operator) for key in page.resources.link_keys]
    matches = [constant_time_equal(each.encode(), mac.encode()) for each in expected]
    if any(matches) and time.time() - int(written) <= PENDING_SECONDS and operator.disabled_at is None:
        return operator
    raise ended


def _pending_mac(key: bytes, text: str, operator: Operator) -> str:
    # With the hash of the password, so that a changed password ends a sign-in that is under way.
    signed = "\0".join(("second factor", text, operator.password or ""))
    return hmac.new(key, signed.encode(), hashlib.sha256).hexdigest()
