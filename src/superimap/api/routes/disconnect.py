"""What opens behind a disconnect link? A question; its answer forgets the credentials."""

import asyncio
import logging

import httpx
from fastapi import APIRouter, Response
from starlette.background import BackgroundTask

from superimap.api.dependencies import Db
from superimap.api.pages import browser
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    Visitor,
    form_fields,
    open_link,
    query_fields,
    redirect_back,
    used_link,
)
from superimap.api.pages.render import render_page
from superimap.core.crypto import Place, VaultError
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import LinkedUser, LinkUsed
from superimap.oauth.http_client import guarded_client
from superimap.oauth.links import Purpose
from superimap.oauth.token_endpoint import OAuthClient, revoke

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

REVOKE_TIMEOUT_SECONDS = 5.0


@router.get("/disconnect/new")
async def ask(coming: CurrentVisitor, db: Db) -> Response:
    """Ask first: links are opened by mail scanners too."""
    visit = await open_link(db, coming, Purpose.DISCONNECT, query_fields(coming.request))
    name = browser.browser_or_new(coming.request, is_https=coming.is_https)
    response = render_page(
        "disconnect.html",
        returns_to=(visit.success_url, visit.failure_url),
        partner=visit.about.partner.name,
        email=visit.about.user.email,
        fields=visit.fields,
        token=browser.form_token(coming.opened.link_keys[0], name, visit.sig),
    )
    browser.set_cookie(response, name, is_https=coming.is_https)
    return response


@router.post("/disconnect")
async def disconnect(coming: CurrentVisitor) -> Response:
    """Forget what opens the mailbox, and owe the webhook, in one transaction; then tell the provider."""
    given = await form_fields(coming)
    opened = coming.opened
    try:
        async with opened.sessionmaker.begin() as db:
            visit = await open_link(db, coming, Purpose.DISCONNECT, given, is_form=True)
            about = await connecting.locked(db, visit.about.user.id)
            sealed = about.user.oauth2_refresh_token
            endpoint_id = await connecting.disconnected(db, opened.vault, about, link_digest=visit.digest)
    except LinkUsed:
        raise used_link() from None
    log.info("disconnected", extra={"user_id": about.user.id})
    if endpoint_id is not None:
        await opened.ring(endpoint_id)
    response = redirect_back(coming, about, visit.success_url, Purpose.DISCONNECT)
    # The person need not wait for the provider: whatever it says, we have forgotten the token.
    response.background = BackgroundTask(_revoke, coming, about, sealed)
    return response


async def _revoke(coming: Visitor, about: LinkedUser, sealed: bytes | None) -> None:
    """Give the refresh token back, if the provider takes it: best effort, within 5 s."""
    connection, provider = about.linked
    url, vault = provider.oauth2_revoke_url, coming.opened.vault
    if not url or not sealed or not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return
    at_connection = Place("connections", "oauth2_client_secret", connection.partner_id, str(connection.id))
    at_user = Place("users", "oauth2_refresh_token", about.user.partner_id, str(about.user.id))
    try:
        secret = vault.open_text(connection.oauth2_client_secret, at_connection)
        client = OAuthClient(provider.oauth2_token_url or "", connection.oauth2_client_id, secret)
        async with asyncio.timeout(REVOKE_TIMEOUT_SECONDS), guarded_client(coming.opened.guard) as http:
            status = await revoke(http, url, client, token=vault.open_text(sealed, at_user))
    except (httpx.HTTPError, TimeoutError, VaultError) as error:
        log.warning("not revoked", extra={"user_id": about.user.id, "error": type(error).__name__})
    else:
        log.info("revoked", extra={"user_id": about.user.id, "status": status})
