"""What does a provider send people back with? A code, which becomes a connected user; or a reason why not."""

import asyncio
import logging
import time
from collections.abc import Mapping

from fastapi import APIRouter, Response

from superimap.api.errors import Problem
from superimap.api.pages.opened_link import CurrentVisitor, Visitor, query_fields, redirect_back, used_link
from superimap.core.crypto import Place, constant_time_equal, digest
from superimap.core.errors import SuperImapError
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import AccessToken, Consent, LinkedUser, LinkUsed
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.validation.accounts import UserFields
from superimap.db.models import User
from superimap.oauth.consent import exchange_code, lacks_mail_scope, nonce_of
from superimap.oauth.http_client import guarded_client
from superimap.oauth.identity import IdentityError, IdentitySources, account_email
from superimap.oauth.links import Purpose
from superimap.oauth.return_urls import FailureReason
from superimap.oauth.token_endpoint import OAuthClient, TokenResponse
from superimap.oauth.token_errors import TokenRefusal, TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

router = APIRouter(prefix="/users", include_in_schema=False)

PROVIDER_TIMEOUT_SECONDS = 20.0
"""Seconds for all that is asked of the provider while the person waits."""


class ConnectFailed(SuperImapError):
    """The person is not connected, for a reason that is told."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


@router.get("/connect/callback")
async def callback(coming: CurrentVisitor) -> Response:
    """Take the consent that this state belongs to, once, and finish it."""
    given = query_fields(coming.request)
    state = given.get("state", "")
    async with coming.opened.sessionmaker.begin() as db:
        consent = await connecting.take(db, coming.opened.vault, state)
    name = coming.browser
    if consent is None or name is None or not constant_time_equal(digest(name), consent.browser_digest):
        raise Problem(
            400,
            "It was begun in another browser, has been finished already, or has taken more than an hour. "
            "Open the link that you were sent once more, with cookies allowed.",
            kind="consent-unknown",
        )
    about = consent.subject
    try:
        endpoint_id = await _connect(coming, consent, given, state)
    except ConnectFailed as failed:
        log.info("not connected", extra={"user_id": about.user.id, "reason": failed.reason})
        return redirect_back(coming, about, consent.failure_url, Purpose.CONNECT, reason=failed.reason)
    log.info("connected", extra={"user_id": about.user.id})
    if endpoint_id is not None:
        await coming.opened.ring(endpoint_id)
    return redirect_back(coming, about, consent.success_url, Purpose.CONNECT)


def connected_email(told: str | None, expected: str | None) -> str:
    """The address that was connected: as told by the provider, which must be the one that is expected.

    Where a provider cannot tell, the partner's word is taken. Raises Failed.
    """
    if told is None and expected is None:
        raise ConnectFailed(FailureReason.NO_ADDRESS)
    if told is not None and expected is not None and told.lower() != expected.lower():
        raise ConnectFailed(FailureReason.WRONG_ACCOUNT)
    return expected or told or ""


def consent_failure(given: Mapping[str, str], issuer: str | None) -> FailureReason | None:
    """Why the provider sent no code, or one that is not its own (RFC 6749 section 4.1.2.1, RFC 9207)."""
    error = given.get("error")
    if error in {"temporarily_unavailable", "server_error"}:
        return FailureReason.UNAVAILABLE
    if error in {"access_denied", "consent_required", "interaction_required"}:
        return FailureReason.DENIED
    if error in {"unauthorized_client", "invalid_scope", "unsupported_response_type", "invalid_request"}:
        return FailureReason.CLIENT
    is_other = issuer and "{" not in issuer and given.get("iss", issuer) != issuer
    return FailureReason.REFUSED if error or is_other or not given.get("code") else None


async def _connect(coming: Visitor, consent: Consent, given: Mapping[str, str], state: str) -> int | None:
    """From a code to a connected user; the endpoint to ring. Raises Failed, or a Problem for a used link."""
    about = consent.subject
    if reason := consent_failure(given, about.provider.oauth2_issuer):
        raise ConnectFailed(reason)
    grant, told = await _granted(coming, consent, given["code"], state)
    if lacks_mail_scope(about.provider.oauth2_scope or "", grant.scope):
        raise ConnectFailed(FailureReason.NO_MAIL_SCOPE)
    if grant.refresh_token is None:
        raise ConnectFailed(FailureReason.NO_REFRESH_TOKEN)
    try:
        async with coming.opened.sessionmaker.begin() as db:
            current = await connecting.locked(db, about.user.id)
            return await connecting.connected(
                db,
                coming.opened.vault,
                current,
                _fields(current.user, told, grant.refresh_token),
                link_digest=consent.link_digest,
                access_token=AccessToken(grant.access_token, grant.expires_in),
            )
    except LinkUsed:
        raise used_link() from None
    except ValueTaken:
        raise ConnectFailed(FailureReason.ADDRESS_TAKEN) from None


def _fields(user: User, told: str | None, refresh_token: str) -> UserFields:
    return {"email": connected_email(told, user.email), "oauth2_refresh_token": refresh_token}


async def _granted(
    coming: Visitor, consent: Consent, code: str, state: str
) -> tuple[TokenResponse, str | None]:
    """Tokens for a code, and whose account they open. No transaction is held meanwhile. Raises Failed."""
    client = _client(coming, consent.subject)
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_SECONDS), guarded_client(coming.opened.guard) as http:
            grant = await exchange_code(
                http, client, code=code, verifier=consent.verifier, redirect_uri=coming.redirect_uri
            )
            sources = _sources(consent.subject, client)
            told = await account_email(http, sources, grant, nonce=nonce_of(state), now=time.time())
    except TokenRefused as error:
        is_ours = error.refusal is TokenRefusal.CLIENT
        raise ConnectFailed(FailureReason.CLIENT if is_ours else FailureReason.REFUSED) from None
    except IdentityError as error:
        log.warning("whose account it is cannot be told: %s", error)
        raise ConnectFailed(FailureReason.NO_ADDRESS) from None
    except (TokenUnavailable, TimeoutError) as error:
        log.warning("the provider did not answer: %s", error)
        raise ConnectFailed(FailureReason.UNAVAILABLE) from None
    return grant, told


def _client(coming: Visitor, about: LinkedUser) -> OAuthClient:
    """The partner's application. Raises Failed if it was taken away meanwhile."""
    connection, provider = about.linked
    if not connection.oauth2_client_id or not connection.oauth2_client_secret:
        raise ConnectFailed(FailureReason.CLIENT)
    place = Place("connections", "oauth2_client_secret", connection.partner_id, str(connection.id))
    secret = coming.opened.vault.open_text(connection.oauth2_client_secret, place)
    return OAuthClient(provider.oauth2_token_url or "", connection.oauth2_client_id, secret)


def _sources(about: LinkedUser, client: OAuthClient) -> IdentitySources:
    provider = about.provider
    return IdentitySources(
        client_id=client.client_id,
        issuer=provider.oauth2_issuer,
        jwks_url=provider.oauth2_jwks_url,
        userinfo_url=provider.oauth2_userinfo_url,
        email_claims=tuple((provider.oauth2_email_claims or "email").split()),
    )
