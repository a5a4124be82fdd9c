"""Return URLs: which ones a link may name, and the result that is appended to them. Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from urllib.parse import urlencode

from superimap.core.errors import SuperImapError
from superimap.webhooks.urls import UrlError, check_url, origin_of

RESULT, REASON, TAG = "superimap_result", "superimap_reason", "user_tag"
"""Names of the query parameters."""


class LinkResult(StrEnum):
    """Result of a connect or disconnect link."""

    SUCCESS = "success"
    FAILURE = "failure"


class FailureReason(StrEnum):
    """Why a link did not connect the person."""

    DENIED = "denied"  # the person refused consent
    WRONG_ACCOUNT = "wrong_account"  # another account than the partner expects
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105 - access for an hour only
    NO_MAIL_SCOPE = "no_mail_scope"  # the person did not allow access to mail
    NO_ADDRESS = "no_address"  # neither the provider nor the partner names the account
    ADDRESS_TAKEN = "address_taken"  # another user of the connection has this account
    QUOTA = "quota_exceeded"  # the partner has as many connected users as it may have
    REFUSED = "refused"  # the provider did not accept the code
    CLIENT = "client"  # the connection's client id or secret is wrong or missing
    UNAVAILABLE = "provider_unavailable"  # no answer, or one that cannot be used


class ReturnUrlRefused(SuperImapError):
    """A link names a return URL that its partner has not registered."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


def checked_return_url(
    given: str | None, *, field: str, origins: Sequence[str], own: Iterable[str | None], https_only: bool
) -> str | None:
    """Return `given` if its origin is registered: scheme, host and port, exactly. Raises ReturnUrlRefused.

    `origins` are as `check_origin` writes them; the origins of the partner's `own` URLs count as well.
    """
    if given is None:
        return None
    try:
        check_url(given, field=field, https_only=https_only)
    except UrlError as error:
        raise ReturnUrlRefused(field, error.reason) from None
    if origin_of(given) not in {*origins, *(origin_of(url) for url in own if url)}:
        raise ReturnUrlRefused(field, "leads to an origin that the application has not registered")
    return given


def with_result(
    url: str, result: LinkResult, *, reason: FailureReason | None = None, tag: str | None = None
) -> str:
    """Return `url` with the result in its query, replacing parameters of the same names."""
    head, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in (RESULT, REASON, TAG)]
    values = {RESULT: result, REASON: reason, TAG: tag}
    added = urlencode({name: value for name, value in values.items() if value is not None})
    return f"{head}?{'&'.join([*kept, added])}"
