"""Submission of the password form: the password is tried with the mail server before it is stored."""

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
from superimap.db.accounts import connecting, link_usage
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.link_usage import LinkUsed
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.errors import Invalid
from superimap.db.models import Provider
from superimap.domain.providers import ProviderKind
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, ImapError, Refused
from superimap.imap.peer import Peer
from superimap.imap.types import Login, Security, ServerAddress, Timeouts
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

LOGIN_TIMEOUT_SECONDS = 15.0
"""Limit of a login, while the person waits."""

SERVER_TIMEOUT_SECONDS = 5.0
"""Connect timeout for a server that the person named. A failure to connect is reported only after this time."""

MAX_TRIES_PER_LINK = 5
MAX_TRIES_PER_MINUTE = 10  # per client address


@router.post("/connect/password")
async def submit(visitor: CurrentVisitor) -> Response:
    """Try the typed credentials, and store them if the login succeeds."""
    given = await form_fields(visitor)
    resources, browser_id = visitor.resources, visitor.browser or ""
    async with resources.sessionmaker.begin() as db:
        link = await open_link(db, visitor, Purpose.CONNECT, given, is_form=True)
    if link.linked_user.provider.kind != ProviderKind.PLAIN:
        raise unknown_link()
    provider = link.linked_user.provider
    try:
        fields = submitted_fields(link.linked_user.user, provider, given, resources.settings)
    except Invalid as error:
        return password_form(visitor, link, browser_id, typed=given, error=field_error(error))
    async with resources.sessionmaker.begin() as db:
        await _count_try(db, visitor, link)
    failed = await _try_login(visitor, provider, fields)
    if failed is not None:
        log.info(
            "password not accepted", extra={"user_id": link.linked_user.user.id, "why": type(failed).__name__}
        )
        return password_form(visitor, link, browser_id, typed=given, error=login_error(failed, provider))
    return await _store(visitor, link, fields)


async def _count_try(db: AsyncSession, visitor: Visitor, link: OpenedLink) -> None:
    """Count this attempt. Raises Problem 429 beyond a limit; such an attempt is neither counted nor made."""
    address = browser.client_address(visitor.request, visitor.resources.settings.trusted_proxies)
    per_address = digest(f"address\0{address}")
    per_link = digest("password\0" + link.sig)
    if not await link_usage.count_try(db, per_address, at_most=MAX_TRIES_PER_MINUTE, seconds=60):
        raise Problem(
            429,
            "Too many attempts from your network. Wait a minute, then try again.",
            kind="too-many",
            headers={"Retry-After": "60"},
        )
    if not await link_usage.count_try(db, per_link, at_most=MAX_TRIES_PER_LINK, seconds=2 * LIFETIME_SECONDS):
        raise Problem(
            429, "Too many attempts with this link. Ask the application for a new one.", kind="too-many"
        )


async def _try_login(visitor: Visitor, provider: Provider, fields: UserFields) -> Exception | None:
    """Log in at the mail server once; return the error, or None on success. No transaction is open meanwhile.

    For a server that the person named, every failure to connect takes SERVER_TIMEOUT_SECONDS, be it a refused
    connection, an unresponsive server, one that does not speak IMAP, or one that must not be dialled.
    """
    login = Login(fields["login_username"] or "", fields["login_password"] or "")
    if provider.host_by_user:
        host, port, tls = fields["imap_host"] or "", fields["imap_port"] or 0, fields["imap_tls"]
        timeouts, least_seconds = Timeouts(connect=SERVER_TIMEOUT_SECONDS), SERVER_TIMEOUT_SECONDS
    else:
        host, port, tls = provider.imap_host, provider.imap_port, provider.imap_tls
        timeouts, least_seconds = Timeouts(), 0.0
    resolver, is_named = visitor.resources.resolver, provider.host_by_user
    peer = Peer(lambda name, number: resolver.look_up(name, number, is_named=is_named))
    server = ServerAddress(host, port, cast(Security, tls))  # a CHECK constraint allows no other values
    loop = asyncio.get_running_loop()
    started = loop.time()
    try:
        async with (
            asyncio.timeout(LOGIN_TIMEOUT_SECONDS),
            connect(server, login, timeouts=timeouts, guard=visitor.resources.guard.check, peer=peer),
        ):
            return None
    except (ImapError, OSError, TimeoutError) as error:
        if not isinstance(error, AuthenticationFailed | Refused):
            await asyncio.sleep(started + least_seconds - loop.time())
        return error


async def _store(visitor: Visitor, link: OpenedLink, fields: UserFields) -> Response:
    """Store the credentials together with the webhook, then redirect the person."""
    user_id = link.linked_user.user.id
    try:
        async with visitor.resources.sessionmaker.begin() as db:
            linked_user = await connecting.lock_user(db, user_id)
            endpoint_id = await connecting.connect_user(
                db, visitor.resources.vault, linked_user, fields, link_digest=link.digest
            )
    except LinkUsed:
        raise used_link() from None
    except ValueTaken:
        return redirect_back(
            visitor, link.linked_user, link.failure_url, Purpose.CONNECT, reason=FailureReason.ADDRESS_TAKEN
        )
    log.info("user connected", extra={"user_id": user_id})
    if endpoint_id is not None:
        await visitor.resources.ring(endpoint_id)
    return redirect_back(visitor, linked_user, link.success_url, Purpose.CONNECT)
