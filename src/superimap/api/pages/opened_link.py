"""What does somebody with a link want, and may they? The link is judged, with where it wants to return to."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.dependencies import AppResources, Resources, base_url
from superimap.api.errors import Problem
from superimap.api.pages import browser
from superimap.api.request_body import FORM, parse_fields
from superimap.core.crypto import digest
from superimap.db.accounts import connecting
from superimap.db.accounts.connecting import LinkedUser
from superimap.oauth import links, return_urls
from superimap.oauth.links import LinkValidity, Purpose
from superimap.oauth.return_urls import FailureReason, LinkResult, ReturnUrlRefused

LINK_FIELDS = ("user_id", "ts", "sig", "success", "failure")


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser, and what it is asking of us."""

    request: Request
    opened: Resources
    base: str

    @property
    def is_https(self) -> bool:
        """Whether it came by HTTPS, as far as the outside can see."""
        return self.base.startswith("https://")

    @property
    def browser(self) -> str | None:
        """What it is known by, if it has been here."""
        return browser.browser_of(self.request, is_https=self.is_https)

    @property
    def redirect_uri(self) -> str:
        """Where providers send people back to: one address for all of them."""
        return f"{self.base}/users/connect/callback"


def get_visitor(request: Request, opened: AppResources, base: Annotated[str, Depends(base_url)]) -> Visitor:
    """The visitor of this request."""
    return Visitor(request, opened, base)


CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A true link: whom it is about, and where the person goes afterwards (None: to a page of ours)."""

    purpose: Purpose
    about: LinkedUser
    sig: str = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    success_url: str | None
    failure_url: str | None

    @property
    def digest(self) -> bytes:
        """What the link is remembered by."""
        return digest(self.sig)


def query_fields(request: Request) -> dict[str, str]:
    """The query, in which each name stands once. Raises Problem."""
    pairs = request.query_params.multi_items()
    if len({name for name, _ in pairs}) != len(pairs):
        raise Problem(400, "This link holds the same name twice; open it exactly as it was sent.")
    return dict(pairs)


async def form_fields(coming: Visitor) -> dict[str, str]:
    """The fields of a form that we have shown to this browser within the hour. Raises Problem."""
    body = await coming.request.body()
    if coming.request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(415, "This address takes the form of its own page.")
    given = {name: str(value) for name, value in parse_fields(FORM, body).items()}
    keys, sig = coming.opened.link_keys, given.get("sig", "")
    if not browser.is_form_token(given.get("token", ""), keys, coming.browser, sig):
        raise Problem(
            403,
            "This form was not opened here, or too long ago. Open the link once more, with cookies allowed.",
            kind="form-forged",
        )
    return given


async def open_link(
    db: AsyncSession, coming: Visitor, purpose: Purpose, given: Mapping[str, str], *, is_form: bool = False
) -> OpenedLink:
    """Judge a link. Raises Problem: 404 forged, 410 expired or used, 400 for where it would return to.

    In a form that `posted` let pass it may have aged: it was good when the form was opened.
    """
    user_id, ts, sig = _number(given.get("user_id", "")), _number(given.get("ts", "")), given.get("sig", "")
    verdict = links.verify(purpose, user_id, ts, sig, coming.opened.link_keys, now=time.time())
    if verdict is LinkValidity.FORGED:
        raise unknown_link()
    if verdict is LinkValidity.EXPIRED and not is_form:
        raise Problem(410, "This link has expired; ask the application for a new one.", kind="link-expired")
    if await connecting.is_used(db, digest(sig)):
        raise used_link()
    about = await connecting.subject(db, user_id)
    if about is None:
        raise unknown_link()
    success_url, failure_url = _returns(coming, about, given)
    fields = {name: given[name] for name in LINK_FIELDS if name in given}
    return OpenedLink(purpose, about, sig, fields, success_url, failure_url)


def unknown_link() -> Problem:
    """404 for a link that is none of ours, or whose user is gone; its first sentence is the original's."""
    return Problem(
        404,
        "User not found. Open the link exactly as it was sent, or ask the application for a new one.",
        kind="link-unknown",
    )


def used_link() -> Problem:
    """410 for a link that has done its work."""
    return Problem(410, "This link has been used; ask the application for a new one.", kind="link-used")


def redirect_back(
    coming: Visitor,
    about: LinkedUser,
    url: str | None,
    purpose: Purpose,
    *,
    reason: FailureReason | None = None,
) -> RedirectResponse:
    """Send the person on: to `url`, told what came of it if the partner wants that, or to a page of ours."""
    result = LinkResult.SUCCESS if reason is None else LinkResult.FAILURE
    if url is None:
        url = return_urls.with_result(f"{coming.base}/users/{purpose}/finished", result, reason=reason)
    elif about.partner.append_results:
        url = return_urls.with_result(url, result, reason=reason, tag=about.user.tag)
    return RedirectResponse(url, 303)


def _returns(coming: Visitor, about: LinkedUser, given: Mapping[str, str]) -> tuple[str | None, str | None]:
    """Where the person goes on success and on failure: as the link says, or as the partner does."""
    partner = about.partner
    own = (partner.success_url, partner.failure_url)
    chosen = []
    try:
        for name, stored in zip(("success", "failure"), own, strict=True):
            url = return_urls.checked_return_url(
                given.get(name),
                field=name,
                origins=partner.return_origins,
                own=own,
                https_only=coming.opened.settings.environment == "production",
            )
            chosen.append(url or stored)
    except ReturnUrlRefused as error:
        raise Problem(400, f"{error}.", kind="return-refused", errors=[(error.field, "is refused")]) from None
    return chosen[0], chosen[1]


def _number(text: str) -> int:
    """A whole number of at most 18 digits; 0, which no link is signed for, if it is none."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
