"""Disconnect links: a page that asks for confirmation, and the deletion of credentials."""

import asyncio
import logging

import httpx
from fastapi import Response
from starlette.background import BackgroundTask

from superimap.api.dependencies import Db
from superimap.api.pages import browser
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    Visitor,
    form_fields,
    link_fields,
    open_link,
    redirect_back,
    used_link,
)
from superimap.api.pages.render import render_page
from superimap.api.router import Router
from superimap.core.crypto import Place, VaultError
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import LinkedUser
from superimap.db.accounts.link_usage import LinkUsed
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.http_client import guarded_client
from superimap.oauth.links import Purpose
from superimap.oauth.token_endpoint import revoke
from superimap.oauth.token_errors import TokenRefused

log = logging.getLogger(__name__)

router = Router(prefix="/users", include_in_schema=False)

REVOKE_TIMEOUT_SECONDS = 5.0


@router.get("/disconnect/new")
async def show_confirmation(visitor: CurrentVisitor, db: Db) -> Response:
    """Ask for confirmation, as mail scanners open links too."""
    link = await open_link(db, visitor, Purpose.DISCONNECT, link_fields(visitor.request))
    browser_id = browser.browser_or_new(visitor.request, is_https=visitor.is_https)
    response = render_page(
        "disconnect.html",
        prefix=visitor.prefix,
        returns_to=(link.success_url, link.failure_url),
        partner=link.linked_user.partner.name,
        email=link.linked_user.user.email,
        fields=link.fields,
        token=browser.form_token(visitor.resources.link_keys[0], browser_id, link.sig),
    )
    visitor.set_cookie(response, browser_id)
    return response


@router.post("/disconnect")
async def disconnect(visitor: CurrentVisitor) -> Response:
    """Delete the credentials and record the webhook in one transaction, then revoke the token at the provider."""
    given = await form_fields(visitor)
    resources = visitor.resources
    try:
        async with resources.sessionmaker.begin() as db:
            link = await open_link(db, visitor, Purpose.DISCONNECT, given, is_form=True)
            linked_user = await connecting.lock_user(db, link.linked_user.user.id)
            sealed = linked_user.user.oauth2_refresh_token
            endpoint_id = await connecting.disconnect_user(
                db, resources.vault, linked_user, link_digest=link.digest
            )
    except LinkUsed:
        raise used_link() from None
    log.info("user disconnected", extra={"user_id": linked_user.user.id})
    if endpoint_id is not None:
        await resources.ring(endpoint_id)
    response = redirect_back(visitor, linked_user, link.success_url, Purpose.DISCONNECT)
    # The person does not wait for the provider: its answer changes nothing, as the token is already deleted here.
    response.background = BackgroundTask(_revoke, visitor, linked_user, sealed)
    return response


async def _revoke(visitor: Visitor, linked_user: LinkedUser, sealed: bytes | None) -> None:
    """Revoke the refresh token if the provider has a URL for it: best effort, within 5 s."""
    connection, provider = linked_user.provider_connection
    url, vault = provider.oauth2_revoke_url, visitor.resources.vault
    if not url or not sealed or not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return
    at_connection = Place("connections", "oauth2_client_secret", connection.partner_id, str(connection.id))
    at_user = Place("users", "oauth2_refresh_token", linked_user.user.partner_id, str(linked_user.user.id))
    try:
        secret = vault.open_text(connection.oauth2_client_secret, at_connection)
        client = OAuthClient(
            provider.oauth2_token_url or "", connection.oauth2_client_id, secret, provider.client_auth
        )
        async with asyncio.timeout(REVOKE_TIMEOUT_SECONDS), guarded_client(visitor.resources.guard) as http:
            status = await revoke(http, url, client, token=vault.open_text(sealed, at_user))
    except (httpx.HTTPError, TimeoutError, VaultError, TokenRefused) as error:
        log.warning(
            "refresh token not revoked", extra={"user_id": linked_user.user.id, "error": type(error).__name__}
        )
    else:
        log.info("refresh token revoked", extra={"user_id": linked_user.user.id, "status": status})
