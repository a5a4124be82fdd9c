"""How does a person give a password? By a form of ours; it is tried with the mail server before it is kept."""

import asyncio
import logging
from collections.abc import Mapping

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.errors import Problem
from superimap.api.pages import browser, words
from superimap.api.pages.render import page
from superimap.api.pages.visit import Visit, Visiting, Visitor, admit, leave, posted, used
from superimap.crypto import digest
from superimap.db.errors import Invalid
from superimap.db.models import Provider, User
from superimap.db.models.user import ProviderKind
from superimap.db.queries import connecting
from superimap.db.queries.account_values import Taken, UserFields, checked
from superimap.db.queries.connecting import LinkUsed
from superimap.imap.client import connect
from superimap.imap.errors import AuthenticationFailed, ImapError, Refused, TlsFailed
from superimap.imap.types import Login, Server
from superimap.oauth.links import LIFETIME, Purpose
from superimap.oauth.returns import Reason

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

PATIENCE = 15.0
"""Seconds for a login while the person waits."""

TRIES_PER_LINK = 5
TRIES_PER_MINUTE = 10  # from one address


def form(
    coming: Visitor,
    visit: Visit,
    name: str,
    *,
    username: str | None = None,
    error: str = "",
    status: int = 200,
) -> Response:
    """The form, with what was wrong the last time. The password is never sent back."""
    about = visit.about
    return page(
        "password.html",
        status=status,
        returns_to=(visit.success_url, visit.failure_url),
        partner=about.partner.name,
        provider=words.spoken(about.provider.title),
        hint=words.app_password(about.provider.code),
        username=(about.user.login_username or about.user.email or "") if username is None else username,
        fields=visit.fields,
        token=browser.token(coming.opened.link_keys[0], name, visit.sig),
        error=error,
    )


@router.post("/connect/password")
async def submit(coming: Visiting) -> Response:
    """Try what was typed, and keep it if it opens the mailbox."""
    given = await posted(coming)
    opened, name = coming.opened, coming.browser or ""
    async with opened.sessionmaker.begin() as db:
        visit = await admit(db, coming, Purpose.CONNECT, given, is_form=True)
        await _count(db, coming, visit)
    if visit.about.provider.kind != ProviderKind.PLAIN:
        raise Problem(404, "User not found.")
    username = given.get("username", "").strip()
    try:
        fields = fields_of(visit.about.user, given)
    except Invalid as error:
        said = f"The {error.field} {error.reason}."
        return form(coming, visit, name, username=printable(username), error=said, status=422)
    wrong = await _try(coming, visit.about.provider, fields)
    if wrong is not None:
        log.info("password not taken", extra={"user_id": visit.about.user.id, "why": type(wrong).__name__})
        said = sentence(wrong, visit.about.provider)
        return form(coming, visit, name, username=username, error=said, status=422)
    return await _keep(coming, visit, fields)


def fields_of(user: User, given: Mapping[str, str]) -> UserFields:
    """What would be stored. Raises Invalid for what is missing, too long, or holds control characters."""
    username, password = given.get("username", "").strip(), given.get("password", "")
    for name, value in (("user name", username), ("password", password)):
        if not value.strip():
            raise Invalid(name, "is missing")
    try:
        checked({"login_username": username, "login_password": password})
    except Invalid as error:
        raise Invalid("password" if error.field == "login_password" else "user name", error.reason) from None
    if user.email and "@" in username and username.lower() != user.email.lower():
        raise Invalid("user name", f"should be {user.email}, for which this link was made")
    fields: UserFields = {"login_username": username, "login_password": password}
    if user.email is None and "@" in username:
        fields["email"] = username
    return fields


def sentence(wrong: Exception, provider: Provider) -> str:
    """What a person can do about a login that failed; nothing of what the server said."""
    name = words.spoken(provider.title)
    match wrong:
        case AuthenticationFailed():
            hint = words.app_password(provider.code)
            more = f" {hint} Your usual password will not do." if hint else ""
            return f"{name} does not accept this user name and password.{more}"
        case TlsFailed():
            return (
                f"The mail server of {name} does not prove who it is (its certificate is not in order), "
                "so your password was not sent. Tell the application's support."
            )
        case Refused():
            return f"{name} does not let anybody sign in at the moment. Try again in a few minutes."
        case _:
            return f"The mail server of {name} does not answer. Try again in a few minutes."


def printable(text: str) -> str:
    """The text without what a form field cannot hold."""
    return "".join(char for char in text if char.isprintable())


async def _count(db: AsyncSession, coming: Visitor, visit: Visit) -> None:
    """Count this try. Raises Problem 429: then nothing is counted, and nothing tried."""
    address = browser.address_of(coming.request, coming.opened.settings.trusted_proxies)
    per_address = digest(f"address\0{address}")
    per_link = digest("password\0" + visit.sig)
    if not await connecting.may_try(db, per_address, at_most=TRIES_PER_MINUTE, seconds=60):
        raise Problem(
            429,
            "Too many tries from your address. Wait a minute.",
            kind="too-many",
            headers={"Retry-After": "60"},
        )
    if not await connecting.may_try(db, per_link, at_most=TRIES_PER_LINK, seconds=2 * LIFETIME):
        raise Problem(
            429, "Too many tries with this link; ask the application for a new one.", kind="too-many"
        )


async def _try(coming: Visitor, provider: Provider, fields: UserFields) -> Exception | None:
    """Sign in with the mail server, once; what went wrong, or None. No transaction is held meanwhile."""
    server = Server(provider.imap_host, provider.imap_port, provider.imap_tls)  # type: ignore[arg-type]
    login = Login(fields["login_username"] or "", fields["login_password"] or "")
    try:
        async with (
            asyncio.timeout(PATIENCE),
            connect(server, login, guard=coming.opened.guard.check),
        ):
            return None
    except (ImapError, OSError, TimeoutError) as error:
        return error


async def _keep(coming: Visitor, visit: Visit, fields: UserFields) -> Response:
    """Store what opened the mailbox, with the webhook; then send the person on."""
    user_id = visit.about.user.id
    try:
        async with coming.opened.sessionmaker.begin() as db:
            about = await connecting.locked(db, user_id)
            endpoint_id = await connecting.connected(
                db, coming.opened.vault, about, fields, link_digest=visit.digest
            )
    except LinkUsed:
        raise used() from None
    except Taken:
        return leave(coming, visit.about, visit.failure_url, Purpose.CONNECT, reason=Reason.ADDRESS_TAKEN)
    log.info("connected", extra={"user_id": user_id})
    if endpoint_id is not None:
        await coming.opened.ring(endpoint_id)
    return leave(coming, about, visit.success_url, Purpose.CONNECT)
