"""What opens behind a disconnect link? A question; its answer forgets the credentials."""

import asyncio
import logging

import httpx
from fastapi import APIRouter, Response
from starlette.background import BackgroundTask

from superimap.api.deps import Db
from superimap.api.pages import browser
from superimap.api.pages.render import page
from superimap.api.pages.visit import Visiting, Visitor, admit, asked, leave, posted, used
from superimap.core.crypto import Place, VaultError
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import LinkUsed, Subject
from superimap.oauth.endpoint import Client
from superimap.oauth.http import guarded_client
from superimap.oauth.links import Purpose
from superimap.oauth.tokens import revoke

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

PATIENCE = 5.0


@router.get("/disconnect/new")
async def ask(coming: Visiting, db: Db) -> Response:
    """Ask first: links are opened by mail scanners too."""
    visit = await admit(db, coming, Purpose.DISCONNECT, asked(coming.request))
    name = browser.greeted(coming.request, is_https=coming.is_https)
    response = page(
        "disconnect.html",
        returns_to=(visit.success_url, visit.failure_url),
        partner=visit.about.partner.name,
        email=visit.about.user.email,
        fields=visit.fields,
        token=browser.token(coming.opened.link_keys[0], name, visit.sig),
    )
    browser.remember(response, name, is_https=coming.is_https)
    return response


@router.post("/disconnect")
async def disconnect(coming: Visiting) -> Response:
    """Forget what opens the mailbox, and owe the webhook, in one transaction; then tell the provider."""
    given = await posted(coming)
    opened = coming.opened
    try:
        async with opened.sessionmaker.begin() as db:
            visit = await admit(db, coming, Purpose.DISCONNECT, given, is_form=True)
            about = await connecting.locked(db, visit.about.user.id)
            sealed = about.user.oauth2_refresh_token
            endpoint_id = await connecting.disconnected(db, opened.vault, about, link_digest=visit.digest)
    except LinkUsed:
        raise used() from None
    log.info("disconnected", extra={"user_id": about.user.id})
    if endpoint_id is not None:
        await opened.ring(endpoint_id)
    response = leave(coming, about, visit.success_url, Purpose.DISCONNECT)
    # The person need not wait for the provider: whatever it says, we have forgotten the token.
    response.background = BackgroundTask(_revoke, coming, about, sealed)
    return response


async def _revoke(coming: Visitor, about: Subject, sealed: bytes | None) -> None:
    """Give the refresh token back, if the provider takes it: best effort, within 5 s."""
    connection, provider = about.linked
    url, vault = provider.oauth2_revoke_url, coming.opened.vault
    if not url or not sealed or not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return
    at_connection = Place("connections", "oauth2_client_secret", connection.partner_id, str(connection.id))
    at_user = Place("users", "oauth2_refresh_token", about.user.partner_id, str(about.user.id))
    try:
        secret = vault.open_text(connection.oauth2_client_secret, at_connection)
        client = Client(provider.oauth2_token_url or "", connection.oauth2_client_id, secret)
        async with asyncio.timeout(PATIENCE), guarded_client(coming.opened.guard) as http:
            status = await revoke(http, url, client, token=vault.open_text(sealed, at_user))
    except (httpx.HTTPError, TimeoutError, VaultError) as error:
        log.warning("not revoked", extra={"user_id": about.user.id, "error": type(error).__name__})
    else:
        log.info("revoked", extra={"user_id": about.user.id, "status": status})
