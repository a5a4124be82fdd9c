"""Submission of the password form: the password is tried with the mail server before it is stored."""

import asyncio
import logging
from collections.abc import Collection
from typing import cast

from fastapi import Response

from superimap.api.login_check import BUSY_RETRY_SECONDS, LoginAttempt, LoginsBusy, addresses_of, log_in
from superimap.api.pages import browser, texts
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    OpenedLink,
    Visitor,
    form_fields,
    open_link,
    redirect_back,
    too_many,
    unknown_link,
    used_link,
)
from superimap.api.pages.password_form import (
    FormError,
    field_error,
    login_error,
    password_form,
    submitted_fields,
)
from superimap.api.pages.try_limits import WITH_THIS_LINK
from superimap.api.router import Router
from superimap.core.crypto import digest
from superimap.db.accounts import connecting, link_usage
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.link_usage import LinkUsed, TriesExceeded, TryLimit
from superimap.db.accounts.quotas import QuotaExceeded
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.errors import Invalid
from superimap.domain.providers import ProviderKind
from superimap.imap.errors import AuthenticationFailed, Refused
from superimap.imap.types import Login, Security, ServerAddress, Timeouts
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason

log = logging.getLogger(__name__)

router = Router(prefix="/users", include_in_schema=False)

LOGIN_TIMEOUT_SECONDS = 15.0
"""Limit of a login, while the person waits."""

SERVER_TIMEOUT_SECONDS = 5.0
"""Connect timeout for a server that the person named. A failure to connect is reported only after this time."""

MAX_TRIES_PER_LINK = 5
MAX_TRIES_PER_MINUTE = 10
"""Per client address."""


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
    attempt = _attempt(visitor, link, fields)
    try:
        failed, counted = await _try_login(visitor, attempt)
    except LoginsBusy:
        wait = {"Retry-After": str(BUSY_RETRY_SECONDS)}
        return password_form(
            visitor, link, browser_id, typed=given, error=FormError(texts.BUSY), status=503, headers=wait
        )
    if failed is not None:
        log.info(
            "password not accepted", extra={"user_id": link.linked_user.user.id, "why": type(failed).__name__}
        )
        return password_form(visitor, link, browser_id, typed=given, error=login_error(failed, provider))
    return await _store(visitor, link, fields, counted)


def _attempt(visitor: Visitor, link: OpenedLink, fields: UserFields) -> LoginAttempt:
    """Return the submission as a login attempt, and what is counted of it."""
    user, partner, _, provider = link.linked_user
    address = browser.client_address(visitor.request, visitor.resources.settings.trusted_proxies)
    server = (provider.imap_host, provider.imap_port, provider.imap_tls)
    if provider.host_by_user:
        server = (fields["imap_host"] or "", fields["imap_port"] or 0, fields["imap_tls"] or "")
    return LoginAttempt(
        # A CHECK constraint allows no other kinds of TLS.
        server=ServerAddress(server[0], server[1], cast(Security, server[2])),
        login=Login(fields["login_username"] or "", fields["login_password"] or ""),
        is_named=provider.host_by_user,
        partner_id=partner.id,
        known_names=(user.email, user.login_username),
        link_limit=TryLimit(
            digest("password\0" + link.sig), MAX_TRIES_PER_LINK, 2 * LIFETIME_SECONDS, WITH_THIS_LINK
        ),
        client_limit=TryLimit(digest(f"address\0{address}"), MAX_TRIES_PER_MINUTE, 60, "from your network"),
    )


async def _try_login(visitor: Visitor, attempt: LoginAttempt) -> tuple[Exception | None, list[TryLimit]]:
    """Log in at the mail server once; return the error, or None on success, and what was counted.

    No transaction is open meanwhile.

    For a server that the person named, every failure to connect takes SERVER_TIMEOUT_SECONDS, be it a refused
    connection, an unresponsive server, one that does not speak IMAP, or one that must not be dialled.

    Raises LoginsBusy, and Problem 429 beyond a limit.
    """
    resources, loop = visitor.resources, asyncio.get_running_loop()
    connect_seconds = SERVER_TIMEOUT_SECONDS if attempt.is_named else Timeouts().connect
    started, counted = loop.time(), attempt.limits()
    with resources.login_slots.take(*attempt.groups):
        await _count(visitor, counted)
        found = await addresses_of(resources.resolver, attempt, within=connect_seconds)
        if attempt.is_named:  # many names may lead to one server
            more = attempt.address_limits(found)
            await _count(visitor, more)
            counted += more
        timeouts, left = Timeouts(connect=connect_seconds), started + LOGIN_TIMEOUT_SECONDS - loop.time()
        failed = await log_in(attempt, found, resources.guard, timeouts=timeouts, within=left)
    if failed is not None and attempt.is_named and not isinstance(failed, AuthenticationFailed | Refused):
        await asyncio.sleep(started + connect_seconds - loop.time())
    return failed, counted


async def _count(visitor: Visitor, limits: Collection[TryLimit]) -> None:
    """Count this attempt. Raises Problem 429 beyond a limit; then it is not made, nor counted by this call."""
    try:
        async with visitor.resources.sessionmaker.begin() as db:
            await link_usage.count_try(db, limits)
    except TriesExceeded as exceeded:
        raise too_many(exceeded) from None


async def _store(
    visitor: Visitor, link: OpenedLink, fields: UserFields, counted: Collection[TryLimit]
) -> Response:
    """Store the credentials together with the webhook, then redirect the person."""
    user_id = link.linked_user.user.id
    try:
        async with visitor.resources.sessionmaker.begin() as db:
            linked_user = await connecting.lock_user(db, user_id)
            connecting.check_destinations(linked_user.provider, link.linked_user.provider)
            endpoint_id = await connecting.connect_user(
                db, visitor.resources.vault, linked_user, fields, link_digest=link.digest
            )
            await link_usage.give_back(db, [each.key for each in counted])
    except LinkUsed:
        raise used_link() from None
    except (ValueTaken, QuotaExceeded) as error:
        reason = FailureReason.ADDRESS_TAKEN if isinstance(error, ValueTaken) else FailureReason.QUOTA
        return redirect_back(visitor, link.linked_user, link.failure_url, Purpose.CONNECT, reason=reason)
    log.info("user connected", extra={"user_id": user_id})
    if endpoint_id is not None:
        await visitor.resources.ring(endpoint_id)
    return redirect_back(visitor, linked_user, link.success_url, Purpose.CONNECT)
