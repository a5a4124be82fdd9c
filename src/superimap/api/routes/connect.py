"""Connect links: a page that leads to the provider's consent page, or the password form."""

from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.dependencies import Db
from superimap.api.pages import browser, texts
from superimap.api.pages.consent_form import consent_form
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    OpenedLink,
    Visitor,
    form_fields,
    link_fields,
    open_link,
    redirect_back,
    too_many,
    unknown_link,
)
from superimap.api.pages.password_form import password_form
from superimap.api.pages.render import render_page
from superimap.api.pages.try_limits import WITH_THIS_LINK
from superimap.api.router import Router
from superimap.core.crypto import digest
from superimap.db.accounts import consents, link_usage
from superimap.db.accounts.link_usage import TriesExceeded, TryLimit
from superimap.domain.providers import ProviderKind
from superimap.oauth.consent import ConsentRequest, start_consent
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason, LinkResult

router = Router(prefix="/users", include_in_schema=False)

MAX_CONSENTS_PER_LINK = 50
"""Within half an hour. Each one costs a row."""


@router.get("/connect/new")
async def connect(visitor: CurrentVisitor, db: Db) -> Response:
    """Show who asks for which mailbox. This starts nothing and stores nothing, as mail scanners open links too."""
    link = await open_link(db, visitor, Purpose.CONNECT, link_fields(visitor.request))
    provider = link.linked_user.provider
    if provider.is_app_only:
        title, text = texts.NO_CONSENT_NEEDED
        return render_page("message.html", prefix=visitor.prefix, title=title, text=text, kind="good")
    browser_id = browser.browser_or_new(visitor.request, is_https=visitor.is_https)
    show = password_form if provider.kind == ProviderKind.PLAIN else consent_form
    response = show(visitor, link, browser_id)
    visitor.set_cookie(response, browser_id)
    return response


@router.post("/connect/consent")
async def start(visitor: CurrentVisitor, db: Db) -> Response:
    """Store the started consent, and redirect the person to the provider."""
    link = await open_link(db, visitor, Purpose.CONNECT, await form_fields(visitor), is_form=True)
    if link.linked_user.provider.kind == ProviderKind.PLAIN or link.linked_user.provider.is_app_only:
        raise unknown_link()
    key = digest("consent\0" + link.sig)
    try:
        limit = TryLimit(key, MAX_CONSENTS_PER_LINK, LIFETIME_SECONDS, WITH_THIS_LINK)
        await link_usage.count_try(db, [limit])
    except TriesExceeded as exceeded:
        raise too_many(exceeded) from None
    browser_id = visitor.browser or ""
    response = await _start_consent(db, visitor, link, browser_id)
    visitor.set_cookie(response, browser_id)  # for another hour, as long as the consent may take
    return response


@router.get("/{purpose}/finished")
async def show_result(
    visitor: CurrentVisitor,
    purpose: Purpose,
    result: Annotated[LinkResult, Query(alias="superimap_result")] = LinkResult.FAILURE,
    reason: Annotated[FailureReason | None, Query(alias="superimap_reason")] = None,
) -> Response:
    """Show the result to people whose application has no page of its own for it."""
    title, text = texts.SUCCESS_TEXTS[purpose]
    if result is LinkResult.FAILURE:
        title, text = (
            texts.FAILURE_TITLES[purpose],
            texts.FAILURE_TEXTS[reason] if reason else texts.TRY_AGAIN,
        )
    kind = "good" if result is LinkResult.SUCCESS else "bad"
    return render_page("message.html", prefix=visitor.prefix, title=title, text=text, kind=kind)


async def _start_consent(db: AsyncSession, visitor: Visitor, link: OpenedLink, browser_id: str) -> Response:
    """Return the redirect to the provider; to the partner if the connection has no client."""
    user, _, connection, provider = link.linked_user
    if not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return redirect_back(
            visitor, link.linked_user, link.failure_url, Purpose.CONNECT, reason=FailureReason.CLIENT
        )
    started = start_consent(
        ConsentRequest(
            authorize_url=provider.oauth2_authorize_url or "",
            client_id=connection.oauth2_client_id,
            redirect_uri=visitor.redirect_uri,
            scope=provider.oauth2_scope or "",
            access_type=provider.oauth2_access_type,
            prompt=provider.oauth2_approval_prompt,
        ),
        login_hint=user.sign_in_email or user.email,
    )
    await consents.begin(
        db,
        visitor.resources.vault,
        link.linked_user,
        state=started.state,
        verifier=started.verifier,
        browser=browser_id,
        link_digest=link.digest,
        success_url=link.success_url,
        failure_url=link.failure_url,
    )
    return RedirectResponse(started.url, 303)
