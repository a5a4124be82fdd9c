"""How does a person give a password? By a form of ours; it is tried with the mail server before it is kept."""

import asyncio
import logging
from typing import cast

from fastapi import APIRouter, Response
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.errors import Problem
from superimap.api.pages import browser
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    OpenedLink,
    Visitor,
    form_fields,
    open_link,
    redirect_back,
    unknown_link,
    used_link,
)
from superimap.api.pages.password_form import field_error, login_error, password_form, submitted_fields
from superimap.core.crypto import digest
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import LinkUsed
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.errors import Invalid
from superimap.db.models import Provider
from superimap.domain.providers import ProviderKind
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, ImapError, Refused
from superimap.imap.types import Login, Security, ServerAddress, Timeouts
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

LOGIN_TIMEOUT_SECONDS = 15.0
"""Seconds for a login while the person waits."""

SERVER_TIMEOUT_SECONDS = 5.0
"""Seconds within which a server that the person named is reached; before it nobody is told that it is not."""

MAX_TRIES_PER_LINK = 5
MAX_TRIES_PER_MINUTE = 10  # from one address


@router.post("/connect/password")
async def submit(coming: CurrentVisitor) -> Response:
    """Try what was typed, and keep it if it opens the mailbox."""
    given = await form_fields(coming)
    opened, name = coming.opened, coming.browser or ""
    async with opened.sessionmaker.begin() as db:
        visit = await open_link(db, coming, Purpose.CONNECT, given, is_form=True)
    if visit.about.provider.kind != ProviderKind.PLAIN:
        raise unknown_link()
    provider = visit.about.provider
    try:
        fields = submitted_fields(visit.about.user, provider, given, opened.settings)
    except Invalid as error:
        return password_form(coming, visit, name, typed=given, wrong=field_error(error))
    async with opened.sessionmaker.begin() as db:
        await _count(db, coming, visit)
    failed = await _try(coming, provider, fields)
    if failed is not None:
        log.info("password not taken", extra={"user_id": visit.about.user.id, "why": type(failed).__name__})
        return password_form(coming, visit, name, typed=given, wrong=login_error(failed, provider))
    return await _keep(coming, visit, fields)


async def _count(db: AsyncSession, coming: Visitor, visit: OpenedLink) -> None:
    """Count this try. Raises Problem 429: then nothing is counted, and nothing tried."""
    address = browser.client_address(coming.request, coming.opened.settings.trusted_proxies)
    per_address = digest(f"address\0{address}")
    per_link = digest("password\0" + visit.sig)
    if not await connecting.may_try(db, per_address, at_most=MAX_TRIES_PER_MINUTE, seconds=60):
        raise Problem(
            429,
            "Too many tries from your address. Wait a minute.",
            kind="too-many",
            headers={"Retry-After": "60"},
        )
    if not await connecting.may_try(db, per_link, at_most=MAX_TRIES_PER_LINK, seconds=2 * LIFETIME_SECONDS):
        raise Problem(
            429, "Too many tries with this link; ask the application for a new one.", kind="too-many"
        )


async def _try(coming: Visitor, provider: Provider, fields: UserFields) -> Exception | None:
    """Sign in with the mail server, once; what went wrong, or None. No transaction is held meanwhile.

    Whether a server that the person named refuses, is silent, is none, or may not be dialled takes the same time:
    what is not reached within FLOOR is given up then, and nothing is told before.
    """
    login = Login(fields["login_username"] or "", fields["login_password"] or "")
    if provider.host_by_user:
        host, port, tls = fields["imap_host"] or "", fields["imap_port"] or 0, fields["imap_tls"]
        timeouts, least = Timeouts(connect=SERVER_TIMEOUT_SECONDS), SERVER_TIMEOUT_SECONDS
    else:
        host, port, tls = provider.imap_host, provider.imap_port, provider.imap_tls
        timeouts, least = Timeouts(), 0.0
    server = ServerAddress(host, port, cast(Security, tls))  # the tables hold no other words
    loop = asyncio.get_running_loop()
    begun = loop.time()
    try:
        async with (
            asyncio.timeout(LOGIN_TIMEOUT_SECONDS),
            connect(server, login, timeouts=timeouts, guard=coming.opened.guard.check),
        ):
            return None
    except (ImapError, OSError, TimeoutError) as error:
        if not isinstance(error, AuthenticationFailed | Refused):
            await asyncio.sleep(begun + least - loop.time())
        return error


async def _keep(coming: Visitor, visit: OpenedLink, fields: UserFields) -> Response:
    """Store what opened the mailbox, with the webhook; then send the person on."""
    user_id = visit.about.user.id
    try:
        async with coming.opened.sessionmaker.begin() as db:
            about = await connecting.locked(db, user_id)
            endpoint_id = await connecting.connected(
                db, coming.opened.vault, about, fields, link_digest=visit.digest
            )
    except LinkUsed:
        raise used_link() from None
    except ValueTaken:
        return redirect_back(
            coming, visit.about, visit.failure_url, Purpose.CONNECT, reason=FailureReason.ADDRESS_TAKEN
        )
    log.info("connected", extra={"user_id": user_id})
    if endpoint_id is not None:
        await coming.opened.ring(endpoint_id)
    return redirect_back(coming, about, visit.success_url, Purpose.CONNECT)
