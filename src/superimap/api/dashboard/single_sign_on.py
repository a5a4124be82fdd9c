"""Sign-in of operators with an OpenID provider: the way there, the way back, and what the person then may do."""

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from superimap.api.dashboard import started_sign_in
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages, opened_page
from superimap.api.dashboard.sign_in import count_sign_in_try, open_operator_session, own_path
from superimap.api.dashboard.started_sign_in import MAX_PATH_CHARACTERS, SignInPurpose, StartedSignIn
from superimap.api.errors import Problem
from superimap.core.config import Settings
from superimap.core.errors import SuperImapError
from superimap.db.operators import accounts, sessions, single_sign_on
from superimap.db.operators.single_sign_on import METHOD
from superimap.domain.operators import STEP_UP_TIME, OperatorRole, SignedInPerson, role_by_groups
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.consent import ConsentRequest, start_consent
from superimap.oauth.discovery import ProviderMetadata
from superimap.oauth.http_client import guarded_client
from superimap.oauth.identity import IdentityError
from superimap.oauth.sign_in import ClaimNames, ReturnedCode, identify_person
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

pages = Pages(ADMIN)

PROVIDER_TIMEOUT_SECONDS = 20.0
"""Limit of all requests to the provider together, while the person waits."""
MAX_PROVIDER_CLOCK_ERROR_SECONDS = 30
"""By which a provider's clock may be off when it says that the identity was proven again."""
MAX_PROVIDER_TEXT_CHARACTERS = 300
_UNKNOWN = (
    "This sign-in was started in another browser, has already been finished, or took more than ten minutes. Start "
    "it again."
)
_NO_SESSION = "Your session has ended. Sign in again."
_NOT_PROVEN = (
    "The provider did not ask for your identity again, or does not say when it did (claim auth_time). Confirm "
    "with a passkey instead."
)
_HOMES = {
    SignInPurpose.SIGN_IN: "/sign-in",
    SignInPurpose.CONFIRM: "/confirm",
    SignInPurpose.LINK: "/account",
}


class ProviderRefused(SuperImapError):
    """Nobody is signed in. The text is a sentence for the person."""


@pages.waiting("/oidc/start")
async def start(request: Request) -> Response:
    """Send the browser to the provider: to sign in, to confirm the identity, or to link the account."""
    async with opened_page(request, ADMIN) as page:
        purpose = _purpose(page)
        if purpose is not SignInPurpose.SIGN_IN and page.opened is None:
            return page.redirect("/sign-in")
        if purpose is SignInPurpose.LINK and not page.is_fresh:
            return page.redirect("/confirm", next="/account")
    settings = page.resources.settings
    try:
        metadata = await page.resources.discovery.find(page.resources.guard, settings.oidc_issuer)
    except IdentityError as error:
        log.warning("single sign-on is not possible: %s", error)
        return _show_fault(page, purpose, _sentence(error), next="")
    proves_again = purpose is SignInPurpose.CONFIRM
    consent = start_consent(
        ConsentRequest(
            authorize_url=metadata.authorize_url,
            client_id=settings.oidc_client_id,
            redirect_uri=_redirect_uri(page),
            scope=settings.oidc_scope,
            prompt="login" if proves_again else None,
            max_age=0 if proves_again else None,
        )
    )
    session = page.session.hex() if purpose is not SignInPurpose.SIGN_IN else ""
    to = own_path(page.query("next"))[:MAX_PATH_CHARACTERS]
    started = StartedSignIn(purpose, consent.state, consent.verifier, to, session, int(time.time()))
    response = RedirectResponse(consent.url, 303)
    started_sign_in.keep(request, response, page.resources.vault, started)
    return response


@pages.waiting("/oidc/callback")
async def callback(request: Request) -> Response:
    """Take what the browser brings back from the provider, which works once and in the browser that was sent."""
    given = request.query_params
    async with opened_page(request, ADMIN) as page:
        _purpose(page)
        await count_sign_in_try(page)
        started = started_sign_in.read(request, page.resources.vault, given.get("state", ""))
        if started is None or not await started_sign_in.use(page.db, started):
            return _show_fault(page, SignInPurpose.SIGN_IN, _UNKNOWN, next="", status=403)
    try:
        person = await _identify(page, started, given)
    except ProviderRefused as refused:
        async with opened_page(request, ADMIN) as page:
            await single_sign_on.record_refusal(page.db, None, str(refused))
        response = _show_fault(page, started.purpose, str(refused), next=started.next)
    else:
        async with opened_page(request, ADMIN) as page:
            response = await _FINISH[started.purpose](page, started, person)
    started_sign_in.forget(request, response)
    return response


async def _finish_sign_in(page: Page, started: StartedSignIn, person: SignedInPerson) -> Response:
    """Open a session. Grave actions are open at once only if the identity was proven within the last minutes."""
    admission = await single_sign_on.admit(page.db, person, _role(page, person))
    if admission.operator is None:
        return _show_fault(page, started.purpose, admission.fault, next=started.next)
    is_recent = _is_proven_since(person, time.time() - STEP_UP_TIME.total_seconds())
    shown = _show_success(page, started.next)
    await open_operator_session(page, shown, admission.operator, method=METHOD, is_stepped_up=is_recent)
    return shown


async def _finish_confirm(page: Page, started: StartedSignIn, person: SignedInPerson) -> Response:
    """Note that the identity was confirmed, if it is the one of the session and was proven since the start."""
    found = await sessions.find(page.db, bytes.fromhex(started.session))
    if found is None or found.operator is None:
        return _show_fault(page, SignInPurpose.SIGN_IN, _NO_SESSION, next=started.next)
    if found.operator.oidc_subject != single_sign_on.subject_of(person):
        fault = "You signed in at the provider as somebody else."
        return _show_fault(page, started.purpose, fault, next=started.next)
    if not _is_proven_since(person, started.started_at - MAX_PROVIDER_CLOCK_ERROR_SECONDS):
        return _show_fault(page, started.purpose, _NOT_PROVEN, next=started.next)
    admission = await single_sign_on.admit(page.db, person, _role(page, person))
    if admission.operator is None:
        return _show_fault(page, SignInPurpose.SIGN_IN, admission.fault, next=started.next)
    await sessions.step_up(page.db, found.session.digest)  # no row, if another role has ended the session
    return _show_success(page, started.next)


async def _finish_link(page: Page, started: StartedSignIn, person: SignedInPerson) -> Response:
    """Link the account of the session, and open a new session."""
    found = await sessions.find(page.db, bytes.fromhex(started.session))
    if found is None or found.operator is None:
        return _show_fault(page, SignInPurpose.SIGN_IN, _NO_SESSION, next="")
    operator = await accounts.get(page.db, found.operator.id, lock=True)
    admission = await single_sign_on.link(page.db, operator, person, _role(page, person))
    if admission.operator is None:
        return _show_fault(page, started.purpose, admission.fault, next="")
    shown = _show_success(page, "/account")
    is_recent = _is_proven_since(person, time.time() - STEP_UP_TIME.total_seconds())
    await open_operator_session(page, shown, admission.operator, method=METHOD, is_stepped_up=is_recent)
    return shown


_FINISH = {
    SignInPurpose.SIGN_IN: _finish_sign_in,
    SignInPurpose.CONFIRM: _finish_confirm,
    SignInPurpose.LINK: _finish_link,
}


async def _identify(page: Page, started: StartedSignIn, given: Mapping[str, str]) -> SignedInPerson:
    """Return the person whom the provider names; no transaction is open. Raises ProviderRefused."""
    settings, resources = page.resources.settings, page.resources
    if given.get("error"):
        told = ": ".join(filter(None, (given["error"], given.get("error_description"))))
        raise ProviderRefused(f"The provider answered: {told[:MAX_PROVIDER_TEXT_CHARACTERS]}")
    if given.get("iss", settings.oidc_issuer) != settings.oidc_issuer:  # RFC 9207
        raise ProviderRefused("The answer came from another provider.")
    returned = ReturnedCode(given.get("code", ""), started.state, started.verifier, _redirect_uri(page))
    names = ClaimNames(settings.oidc_email_claim, settings.oidc_groups_claim)
    try:
        async with asyncio.timeout(PROVIDER_TIMEOUT_SECONDS), guarded_client(resources.guard) as http:
            metadata = await resources.discovery.find(resources.guard, settings.oidc_issuer)
            client = _client(settings, metadata)
            return await identify_person(http, metadata, client, returned, names, now=time.time())
    except (IdentityError, TokenUnavailable) as error:
        log.warning("single sign-on failed: %s", error)
        raise ProviderRefused(_sentence(error)) from None
    except TokenRefused as error:
        log.warning("single sign-on failed: the provider refused the code", extra={"code": error.code})
        raise ProviderRefused(f"The provider did not accept the sign-in: {error.code}.") from None
    except TimeoutError:
        raise ProviderRefused("The provider did not answer in time.") from None


def _client(settings: Settings, metadata: ProviderMetadata) -> OAuthClient:
    secret = settings.oidc_client_secret.get_secret_value() if settings.oidc_client_secret else ""
    return OAuthClient(metadata.token_url, settings.oidc_client_id, secret, metadata.client_auth)


def _role(page: Page, person: SignedInPerson) -> OperatorRole | None:
    settings = page.resources.settings
    groups_of = {
        OperatorRole.OWNER: settings.oidc_owner_groups,
        OperatorRole.OPERATOR: settings.oidc_operator_groups,
        OperatorRole.VIEWER: settings.oidc_viewer_groups,
    }
    return role_by_groups(person.groups, groups_of)


def _is_proven_since(person: SignedInPerson, moment: float) -> bool:
    return person.authenticated_at is not None and person.authenticated_at >= moment


def _purpose(page: Page) -> SignInPurpose:
    """Return what the browser goes to the provider for. Raises Problem 404 where there is no provider."""
    if not page.resources.settings.oidc_issuer:
        raise Problem(404, "This installation has no single sign-on.")
    given = page.query("purpose")
    return SignInPurpose(given) if given in set(SignInPurpose) else SignInPurpose.SIGN_IN


def _redirect_uri(page: Page) -> str:
    return f"{page.base}{page.url('/oidc/callback')}"


def _sentence(error: Exception) -> str:
    text = str(error)
    return f"{text[:1].upper()}{text[1:]}."


def _show_success(page: Page, to: str) -> Response:
    """Return a page that goes on by itself.

    The cookie of a session is not sent with a redirect to our page that began at the provider (SameSite=Strict).
    """
    return page.show("single_sign_on.html", fault="", to=page.url(own_path(to)))


def _show_fault(page: Page, purpose: SignInPurpose, fault: str, *, next: str, status: int = 422) -> Response:
    to = page.url(_HOMES[purpose], next=next or None)
    return replace(page, opened=None).show("single_sign_on.html", status=status, fault=fault, to=to)
