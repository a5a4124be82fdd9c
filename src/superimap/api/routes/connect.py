"""Connect links: they open the provider's consent page, or our password form."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.dependencies import Db
from superimap.api.errors import Problem
from superimap.api.pages import browser, texts
from superimap.api.pages.opened_link import (
    CurrentVisitor,
    OpenedLink,
    Visitor,
    link_fields,
    open_link,
    redirect_back,
)
from superimap.api.pages.password_form import password_form
from superimap.api.pages.render import render_page
from superimap.core.crypto import digest
from superimap.db.accounts import consents, link_usage
from superimap.domain.providers import ProviderKind
from superimap.oauth.consent import ConsentRequest, start_consent
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason, LinkResult

router = APIRouter(prefix="/users", include_in_schema=False)

MAX_OPENS_PER_LINK = 50
"""Within half an hour. Mail scanners open links too, and each time costs a row."""


@router.get("/connect/new")
async def connect(visitor: CurrentVisitor, db: Db) -> Response:
    """Open a connect link. This does not use the link up."""
    link = await open_link(db, visitor, Purpose.CONNECT, link_fields(visitor.request))
    if link.linked_user.provider.is_app_only:
        return render_page(
            "message.html", title=texts.NO_CONSENT_NEEDED[0], text=texts.NO_CONSENT_NEEDED[1], kind="good"
        )
    key = digest("opened\0" + link.sig)
    if not await link_usage.count_try(db, key, at_most=MAX_OPENS_PER_LINK, seconds=LIFETIME_SECONDS):
        raise Problem(429, "This link has been opened too often. Ask the application for a new one.")
    browser_id = browser.browser_or_new(visitor.request, is_https=visitor.is_https)
    if link.linked_user.provider.kind == ProviderKind.PLAIN:
        response = password_form(visitor, link, browser_id)
    else:
        response = await _start_consent(db, visitor, link, browser_id)
    browser.set_cookie(response, browser_id, is_https=visitor.is_https)
    return response


@router.get("/{purpose}/finished")
async def show_result(
    purpose: Purpose,
    result: Annotated[LinkResult, Query(alias="superimap_result")] = LinkResult.FAILURE,
    reason: Annotated[FailureReason | None, Query(alias="superimap_reason")] = None,
) -> Response:
    """Show the result to people whose application has no page of its own for it."""
    if result is LinkResult.SUCCESS:
        title, text = texts.SUCCESS_TEXTS[purpose]
        return render_page("message.html", title=title, text=text, kind="good")
    text = texts.FAILURE_TEXTS[reason] if reason else texts.TRY_AGAIN
    return render_page("message.html", title=texts.FAILURE_TITLES[purpose], text=text, kind="bad")


async def _start_consent(db: AsyncSession, visitor: Visitor, link: OpenedLink, browser_id: str) -> Response:
    """Store the started consent, and redirect the person to the provider."""
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
        login_hint=user.email,
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
