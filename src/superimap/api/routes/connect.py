"""What opens behind a connect link? The provider's page for consent, or our own form for a password."""

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
    open_link,
    query_fields,
    redirect_back,
)
from superimap.api.pages.password_form import password_form
from superimap.api.pages.render import render_page
from superimap.core.crypto import digest
from superimap.db.accounts import connecting
from superimap.domain.providers import ProviderKind
from superimap.oauth.consent import ConsentRequest, start_consent
from superimap.oauth.links import LIFETIME_SECONDS, Purpose
from superimap.oauth.return_urls import FailureReason, LinkResult

router = APIRouter(prefix="/users", include_in_schema=False)

MAX_OPENS_PER_LINK = 50  # times in half an hour: mail scanners open links too, but each time costs a row


@router.get("/connect/new")
async def connect(coming: CurrentVisitor, db: Db) -> Response:
    """The way to connect; opening it uses nothing up."""
    visit = await open_link(db, coming, Purpose.CONNECT, query_fields(coming.request))
    if visit.about.provider.is_app_only:
        return render_page(
            "message.html", title=texts.NO_CONSENT_NEEDED[0], text=texts.NO_CONSENT_NEEDED[1], kind="good"
        )
    key = digest("opened\0" + visit.sig)
    if not await connecting.may_try(db, key, at_most=MAX_OPENS_PER_LINK, seconds=LIFETIME_SECONDS):
        raise Problem(429, "This link has been opened very often; ask the application for a new one.")
    name = browser.browser_or_new(coming.request, is_https=coming.is_https)
    if visit.about.provider.kind == ProviderKind.PLAIN:
        response = password_form(coming, visit, name)
    else:
        response = await _consent(db, coming, visit, name)
    browser.set_cookie(response, name, is_https=coming.is_https)
    return response


@router.get("/{purpose}/finished")
async def finished(
    purpose: Purpose,
    result: Annotated[LinkResult, Query(alias="superimap_result")] = LinkResult.FAILURE,
    reason: Annotated[FailureReason | None, Query(alias="superimap_reason")] = None,
) -> Response:
    """What came of it, for people whose application has no page for that."""
    if result is LinkResult.SUCCESS:
        title, text = texts.SUCCESS_TEXTS[purpose]
        return render_page("message.html", title=title, text=text, kind="good")
    text = texts.FAILURE_TEXTS[reason] if reason else texts.TRY_AGAIN
    return render_page("message.html", title=texts.FAILURE_TITLES[purpose], text=text, kind="bad")


async def _consent(db: AsyncSession, coming: Visitor, visit: OpenedLink, name: str) -> Response:
    """Remember who goes, and send them to the provider."""
    user, _, connection, provider = visit.about
    if not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return redirect_back(
            coming, visit.about, visit.failure_url, Purpose.CONNECT, reason=FailureReason.CLIENT
        )
    begun = start_consent(
        ConsentRequest(
            authorize_url=provider.oauth2_authorize_url or "",
            client_id=connection.oauth2_client_id,
            redirect_uri=coming.redirect_uri,
            scope=provider.oauth2_scope or "",
            access_type=provider.oauth2_access_type,
            prompt=provider.oauth2_approval_prompt,
        ),
        login_hint=user.email,
    )
    await connecting.begin(
        db,
        coming.opened.vault,
        visit.about,
        state=begun.state,
        verifier=begun.verifier,
        browser=name,
        link_digest=visit.digest,
        success_url=visit.success_url,
        failure_url=visit.failure_url,
    )
    return RedirectResponse(begun.url, 303)
