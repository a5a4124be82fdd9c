"""What opens behind a connect link? The provider's page for consent, or our own form for a password."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.deps import Db
from superimap.api.errors import Problem
from superimap.api.pages import browser, words
from superimap.api.pages.login import form
from superimap.api.pages.render import page
from superimap.api.pages.visit import Visit, Visiting, Visitor, admit, asked, leave
from superimap.core.crypto import digest
from superimap.db.accounts import connecting
from superimap.domain.providers import ProviderKind
from superimap.oauth.flow import Consent, begin
from superimap.oauth.links import LIFETIME, Purpose
from superimap.oauth.returns import Reason, Result

router = APIRouter(prefix="/users", include_in_schema=False)

OPENED_AT_MOST = 50  # times in half an hour: mail scanners open links too, but each time costs a row


@router.get("/connect/new")
async def connect(coming: Visiting, db: Db) -> Response:
    """The way to connect; opening it uses nothing up."""
    visit = await admit(db, coming, Purpose.CONNECT, asked(coming.request))
    if visit.about.provider.is_app_only:
        return page("message.html", title=words.NO_CONSENT[0], text=words.NO_CONSENT[1], kind="good")
    key = digest("opened\0" + visit.sig)
    if not await connecting.may_try(db, key, at_most=OPENED_AT_MOST, seconds=LIFETIME):
        raise Problem(429, "This link has been opened very often; ask the application for a new one.")
    name = browser.greeted(coming.request, is_https=coming.is_https)
    if visit.about.provider.kind == ProviderKind.PLAIN:
        response = form(coming, visit, name)
    else:
        response = await _consent(db, coming, visit, name)
    browser.remember(response, name, is_https=coming.is_https)
    return response


@router.get("/{purpose}/finished")
async def finished(
    purpose: Purpose,
    result: Annotated[Result, Query(alias="superimap_result")] = Result.FAILURE,
    reason: Annotated[Reason | None, Query(alias="superimap_reason")] = None,
) -> Response:
    """What came of it, for people whose application has no page for that."""
    if result is Result.SUCCESS:
        title, text = words.DONE[purpose]
        return page("message.html", title=title, text=text, kind="good")
    text = words.REASONS[reason] if reason else words.AGAIN
    return page("message.html", title=words.NOT_DONE[purpose], text=text, kind="bad")


async def _consent(db: AsyncSession, coming: Visitor, visit: Visit, name: str) -> Response:
    """Remember who goes, and send them to the provider."""
    user, _, connection, provider = visit.about
    if not connection.oauth2_client_id or not connection.oauth2_client_secret:
        return leave(coming, visit.about, visit.failure_url, Purpose.CONNECT, reason=Reason.CLIENT)
    begun = begin(
        Consent(
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
