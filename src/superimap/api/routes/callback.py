"""The OAuth 2.0 redirect URI: exchanges the code and connects the user, or records why not."""

import asyncio
import logging
import time
from collections.abc import Mapping

from fastapi import Response

from superimap.api.errors import Problem
from superimap.api.pages.opened_link import CurrentVisitor, Visitor, query_fields, redirect_back, used_link
from superimap.api.router import Router
from superimap.core.crypto import Place, constant_time_equal, digest
from superimap.core.errors import SuperImapError
from superimap.db.accounts import connecting, consents
from superimap.db.accounts.connecting import LinkedUser, NewAccessToken
from superimap.db.accounts.consents import PendingConsent
from superimap.db.accounts.constraints import ValueTaken
from superimap.db.accounts.link_usage import LinkUsed
from superimap.db.accounts.quotas import QuotaExceeded
from superimap.domain.mail_accounts import is_one_of
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.consent import exchange_code, lacks_mail_scope, nonce_of
from superimap.oauth.http_client import guarded_client
from superimap.oauth.identity import IdentityError, IdentitySources, MailAccount, find_account
from superimap.oauth.links import Purpose
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.return_urls import FailureReason
from superimap.oauth.token_endpoint import TokenResponse
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

router = Router(prefix="/users", include_in_schema=False)

PROVIDER_TIMEOUT_SECONDS = 20.0
"""Limit of all requests to the provider together, while the person waits."""


class ConnectFailed(SuperImapError):
    """The person is not connected, for a reason that is passed to the partner."""

    def __init__(self, reason: FailureReason) -> None:
        super().__init__(reason)
        self.reason = reason


@router.get("/connect/callback")
async def callback(visitor: CurrentVisitor) -> Response:
    """Take the consent of this state, which works only once, and finish it."""
    given = query_fields(visitor.request)
    state = given.get("state", "")
    async with visitor.resources.sessionmaker.begin() as db:
        consent = await consents.take(db, visitor.resources.vault, state)
    browser_id = visitor.browser
    if (
        consent is None
        or browser_id is None
        or not constant_time_equal(digest(browser_id), consent.browser_digest)
    ):
        raise Problem(
            400,
            "It was started in another browser, has already been finished, or took more than an hour. "
            "Allow cookies and open the link that you were sent again.",
            kind="consent-unknown",
        )
    consent.check_destinations()
    linked_user = consent.linked_user
    try:
        endpoint_id = await _connect(visitor, consent, given, state)
    except ConnectFailed as failed:
        log.info("user not connected", extra={"user_id": linked_user.user.id, "reason": failed.reason})
        return redirect_back(visitor, linked_user, consent.failure_url, Purpose.CONNECT, reason=failed.reason)
    log.info("user connected", extra={"user_id": linked_user.user.id})
    if endpoint_id is not None:
        await visitor.resources.ring(endpoint_id)
    return redirect_back(visitor, linked_user, consent.success_url, Purpose.CONNECT)


def connected_account(
    account: MailAccount | None, expected: str | None, *, sign_in_email: str | None = None
) -> tuple[str, str | None]:
    """Return the address of the connected user, and the provider's login name where it is another one.

    The provider's account must be the one that the partner expects, in one of its forms or by one of its aliases:
    `sign_in_email` for a shared mailbox, to which the provider gives that account access or not.
    If the provider does not report an account, the partner's address is used. Raises ConnectFailed.
    """
    if sign_in_email is not None:
        if expected is None:
            raise ConnectFailed(FailureReason.NO_ADDRESS)
        if account is not None and not is_one_of(sign_in_email, (account.name, *account.aliases)):
            raise ConnectFailed(FailureReason.WRONG_ACCOUNT)
        return expected, None
    if account is None:
        if expected is None:
            raise ConnectFailed(FailureReason.NO_ADDRESS)
        return expected, None
    if expected is None:
        return account.name, None
    if not is_one_of(expected, (account.name, *account.aliases)):
        raise ConnectFailed(FailureReason.WRONG_ACCOUNT)
    return expected, account.name if account.name.lower() != expected.lower() else None


def consent_failure(given: Mapping[str, str], issuer: str | None) -> FailureReason | None:
    """Return why the redirect has no usable code; None if it has (RFC 6749 section 4.1.2.1, RFC 9207)."""
    error = given.get("error")
    if error in {"temporarily_unavailable", "server_error"}:
        return FailureReason.UNAVAILABLE
    if error in {"access_denied", "consent_required", "interaction_required"}:
        return FailureReason.DENIED
    if error in {"unauthorized_client", "invalid_scope", "unsupported_response_type", "invalid_request"}:
        return FailureReason.CLIENT
    is_other_issuer = issuer and "{" not in issuer and given.get("iss", issuer) != issuer
    return FailureReason.REFUSED if error or is_other_issuer or not given.get("code") else None


async def _connect(
    visitor: Visitor, consent: PendingConsent, given: Mapping[str, str], state: str
) -> int | None:
    """Connect the user and return the endpoint to ring. Raises ConnectFailed, or Problem for a used link."""
    linked_user = consent.linked_user
    if reason := consent_failure(given, linked_user.provider.oauth2_issuer):
        raise ConnectFailed(reason)
    tokens, account = await _exchange(visitor, consent, given["code"], state)
    if lacks_mail_scope(linked_user.provider.oauth2_scope or "", tokens.scope):
        raise ConnectFailed(FailureReason.NO_MAIL_SCOPE)
    if tokens.refresh_token is None:
        raise ConnectFailed(FailureReason.NO_REFRESH_TOKEN)
    try:
        async with visitor.resources.sessionmaker.begin() as db:
            current = await connecting.lock_user(db, linked_user.user.id)
            connecting.check_destinations(current.provider, linked_user.provider)
            email, login_name = connected_account(
                account, current.user.email, sign_in_email=current.user.sign_in_email
            )
            return await connecting.connect_user(
                db,
                visitor.resources.vault,
                current,
                {"email": email, "oauth2_refresh_token": tokens.refresh_token},
                link_digest=consent.link_digest,
                login_name=login_name,
                access_token=NewAccessToken(tokens.access_token, tokens.expires_in),
            )
    except LinkUsed:
        raise used_link() from None
    except ValueTaken:
        raise ConnectFailed(FailureReason.ADDRESS_TAKEN) from None
    except QuotaExceeded:
        raise ConnectFailed(FailureReason.QUOTA) from None


async def _exchange(
    visitor: Visitor, consent: PendingConsent, code: str, state: str
) -> tuple[TokenResponse, MailAccount | None]:
    """Exchange the code for tokens and find their account; no transaction is open meanwhile.

    Raises ConnectFailed.
    """
    client = _client(visitor, consent.linked_user)
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_SECONDS), guarded_client(visitor.resources.guard) as http:
            tokens = await exchange_code(
                http, client, code=code, verifier=consent.verifier, redirect_uri=visitor.redirect_uri
            )
            sources = _sources(consent.linked_user, client)
            account = await find_account(http, sources, tokens, nonce=nonce_of(state), now=time.time())
    except TokenRefused as error:
        is_client_error = error.refusal is TokenRefusal.CLIENT
        raise ConnectFailed(FailureReason.CLIENT if is_client_error else FailureReason.REFUSED) from None
    except IdentityError as error:
        log.warning("account of a consent cannot be determined: %s", error)
        raise ConnectFailed(FailureReason.NO_ADDRESS) from None
    except (TokenUnavailable, TimeoutError) as error:
        log.warning("provider unavailable during a consent: %s", error)
        raise ConnectFailed(FailureReason.UNAVAILABLE) from None
    return tokens, account


def _client(visitor: Visitor, linked_user: LinkedUser) -> OAuthClient:
    """Return the partner's OAuth 2.0 client. Raises ConnectFailed if it was removed meanwhile."""
    connection, provider = linked_user.provider_connection
    if not connection.oauth2_client_id or not connection.oauth2_client_secret:
        raise ConnectFailed(FailureReason.CLIENT)
    place = Place("connections", "oauth2_client_secret", connection.partner_id, str(connection.id))
    secret = visitor.resources.vault.open_text(connection.oauth2_client_secret, place)
    return OAuthClient(
        provider.oauth2_token_url or "", connection.oauth2_client_id, secret, provider.client_auth
    )


def _sources(linked_user: LinkedUser, client: OAuthClient) -> IdentitySources:
    provider = linked_user.provider
    return IdentitySources(
        client_id=client.client_id,
        issuer=provider.oauth2_issuer,
        jwks_url=provider.oauth2_jwks_url,
        userinfo_url=provider.oauth2_userinfo_url,
        email_claims=tuple((provider.oauth2_email_claims or "email").split()),
    )
