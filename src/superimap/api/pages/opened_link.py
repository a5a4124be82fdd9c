"""Requests behind a signed link: the visitor, the verified link, and the redirect back to the partner."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.datastructures import QueryParams

from superimap.api.dependencies import AppResources, Resources, base_url
from superimap.api.errors import Problem
from superimap.api.pages import browser
from superimap.api.pages.try_limits import WITH_THIS_LINK, wait_minutes
from superimap.api.public_path import PREFIX
from superimap.api.request_body import FORM, parse_fields
from superimap.core.crypto import digest
from superimap.db.accounts import connecting, link_usage
from superimap.db.accounts.connecting import LinkedUser
from superimap.db.accounts.link_usage import TriesExceeded
from superimap.oauth import links, return_urls
from superimap.oauth.links import LinkValidity, Purpose
from superimap.oauth.return_urls import FailureReason, LinkResult, ReturnUrlRefused


@dataclass(frozen=True, slots=True)
class Visitor:
    """A browser and its current request."""

    request: Request
    resources: Resources
    base: str

    @property
    def is_https(self) -> bool:
        """Whether the public URL uses HTTPS."""
        return self.base.startswith("https://")

    @property
    def browser(self) -> str | None:
        """The value of its cookie; None on a first visit."""
        return browser.browser_of(self.request, is_https=self.is_https)

    @property
    def prefix(self) -> str:
        """The path under which the API is published; empty for the root."""
        return str(self.request.scope[PREFIX])

    def set_cookie(self, response: Response, browser_id: str) -> None:
        """Set the browser's cookie."""
        browser.set_cookie(response, browser_id, is_https=self.is_https, prefix=self.prefix)

    @property
    def redirect_uri(self) -> str:
        """The redirect URI, the same for all providers."""
        return f"{self.base}/users/connect/callback"


async def get_visitor(
    request: Request, resources: AppResources, base: Annotated[str, Depends(base_url)]
) -> Visitor:
    """Return the visitor of this request."""
    return Visitor(request, resources, base)


CurrentVisitor = Annotated[Visitor, Depends(get_visitor)]


@dataclass(frozen=True, slots=True)
class OpenedLink:
    """A verified link: its user, and where the person goes afterwards (None: to a page of ours)."""

    purpose: Purpose
    linked_user: LinkedUser
    sig: str = field(repr=False)
    fields: Mapping[str, str] = field(repr=False)
    success_url: str | None
    failure_url: str | None

    @property
    def digest(self) -> bytes:
        """Digest under which the use of the link is recorded."""
        return digest(self.sig)


def link_fields(request: Request) -> dict[str, str]:
    """Return the parameters of a link, without what was added on its way. Raises Problem for repeated names."""
    return _unique_fields(QueryParams(links.repaired_query(request.url.query)))


def query_fields(request: Request) -> dict[str, str]:
    """Return the query's parameters. Raises Problem if a name is repeated."""
    return _unique_fields(request.query_params)


def _unique_fields(params: QueryParams) -> dict[str, str]:
    pairs = params.multi_items()
    if len({name for name, _ in pairs}) != len(pairs):
        raise Problem(400, "This link contains the same name twice. Open it exactly as it was sent to you.")
    return dict(pairs)


async def form_fields(visitor: Visitor) -> dict[str, str]:
    """Return the fields of a form that we showed to this browser within the last hour. Raises Problem."""
    body = await visitor.request.body()
    if visitor.request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise Problem(415, "This address accepts only the form on its own page.")
    given = {name: str(value) for name, value in parse_fields(FORM, body).items()}
    keys, sig = visitor.resources.link_keys, given.get("sig", "")
    if not browser.is_form_token(given.get("token", ""), keys, visitor.browser, sig):
        raise Problem(
            403,
            "This form was not opened in this browser, or more than an hour ago. Allow cookies, then open "
            "the link again.",
            kind="form-forged",
        )
    return given


async def open_link(
    db: AsyncSession, visitor: Visitor, purpose: Purpose, given: Mapping[str, str], *, is_form: bool = False
) -> OpenedLink:
    """Verify a link. Raises Problem: 404 if forged, 410 if expired or used, 400 for a bad return URL.

    `is_form`: a form that `form_fields` accepted may carry an expired link, as it was valid when the form was
    opened.
    """
    user_id, ts, sig = _number(given.get("user_id", "")), _number(given.get("ts", "")), given.get("sig", "")
    validity = links.verify(purpose, user_id, ts, sig, visitor.resources.link_keys, now=time.time())
    if validity is LinkValidity.FORGED:
        raise unknown_link()
    if validity is LinkValidity.EXPIRED and not is_form:
        raise Problem(410, "This link has expired. Ask the application for a new one.", kind="link-expired")
    if await link_usage.is_used(db, digest(sig)):
        raise used_link()
    linked_user = await connecting.find_user(db, user_id)
    if linked_user is None:
        raise unknown_link()
    success_url, failure_url = _chosen_urls(visitor, linked_user, given)
    fields = {name: given[name] for name in links.FIELDS if name in given}
    return OpenedLink(purpose, linked_user, sig, fields, success_url, failure_url)


def unknown_link() -> Problem:
    """Return a 404 for a forged link or a deleted user; its first sentence is the original's."""
    return Problem(
        404,
        "User not found. Open the link exactly as it was sent, or ask the application for a new one.",
        kind="link-unknown",
    )


def used_link() -> Problem:
    """Return a 410 for a link that has been used."""
    return Problem(410, "This link has been used. Ask the application for a new one.", kind="link-used")


def too_many(exceeded: TriesExceeded) -> Problem:
    """Return a 429 that says which tries were too many, and how long to wait."""
    minutes = wait_minutes(exceeded.seconds)
    advice = f"Wait {'a minute' if minutes == 1 else f'{minutes} minutes'}, then try again."
    if exceeded.limit.what == WITH_THIS_LINK:
        advice = "Ask the application for a new one."
    return Problem(
        429,
        f"Too many attempts {exceeded.limit.what}. {advice}",
        kind="too-many",
        headers={"Retry-After": str(minutes * 60)},
    )


def redirect_back(
    visitor: Visitor,
    linked_user: LinkedUser,
    url: str | None,
    purpose: Purpose,
    *,
    reason: FailureReason | None = None,
) -> RedirectResponse:
    """Redirect the person to `url`, with the result if enabled; to a page of this API if there is no URL."""
    result = LinkResult.SUCCESS if reason is None else LinkResult.FAILURE
    if url is None:
        url = return_urls.with_result(f"{visitor.base}/users/{purpose}/finished", result, reason=reason)
    elif linked_user.partner.append_results:
        url = return_urls.with_result(url, result, reason=reason, tag=linked_user.user.tag)
    return RedirectResponse(url, 303)


def _chosen_urls(
    visitor: Visitor, linked_user: LinkedUser, given: Mapping[str, str]
) -> tuple[str | None, str | None]:
    """Return the URLs for success and failure, from the link or else from the partner."""
    partner = linked_user.partner
    own = (partner.success_url, partner.failure_url)
    chosen = []
    try:
        for name, stored in zip(("success", "failure"), own, strict=True):
            url = return_urls.checked_return_url(
                given.get(name),
                field=name,
                origins=partner.return_origins,
                own=own,
                https_only=visitor.resources.settings.environment == "production",
            )
            chosen.append(url or stored)
    except ReturnUrlRefused as error:
        raise Problem(
            400,
            f"{error}. Ask the application for a new link.",
            kind="return-refused",
            errors=[(error.field, "is not allowed")],
        ) from None
    return chosen[0], chosen[1]


def _number(text: str) -> int:
    """Parse a whole number of at most 18 digits; return 0, for which no link is signed, for other text."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else 0
