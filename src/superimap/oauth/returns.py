"""Where may a person be sent back to, and what is said there? Pure."""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from urllib.parse import urlencode

from superimap.core.errors import SuperImapError
from superimap.webhooks.urls import UrlError, check_url, origin_of

RESULT, REASON, TAG = "superimap_result", "superimap_reason", "user_tag"


class Result(StrEnum):
    """What came of a link."""

    SUCCESS = "success"
    FAILURE = "failure"


class Reason(StrEnum):
    """Why a link did not do what it was for."""

    DENIED = "denied"  # the person said no
    WRONG_ACCOUNT = "wrong_account"  # another account than the partner expects
    NO_REFRESH_TOKEN = "no_refresh_token"  # noqa: S105 - access for an hour alone
    NO_MAIL_SCOPE = "no_mail_scope"  # the person left mail out of what the application may do
    NO_ADDRESS = "no_address"  # the provider does not tell whose account it is, and nor did the partner
    ADDRESS_TAKEN = "address_taken"  # another user of the connection has this account
    REFUSED = "refused"  # the code was not taken
    CLIENT = "client"  # the connection's client id or secret is wrong or missing
    UNAVAILABLE = "provider_unavailable"  # no answer, or none that makes sense


class BadReturn(SuperImapError):
    """A link asks to send the person to where its partner did not say that people may go."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field


def allowed(
    given: str | None, *, field: str, origins: Sequence[str], own: Iterable[str | None], https_only: bool
) -> str | None:
    """`given` itself if its origin is registered: scheme, host and port, exactly. Raises BadReturn.

    `origins` are as `check_origin` writes them; those of the partner's `own` URLs count too.
    """
    if given is None:
        return None
    try:
        check_url(given, field=field, https_only=https_only)
    except UrlError as error:
        raise BadReturn(field, error.reason) from None
    if origin_of(given) not in {*origins, *(origin_of(url) for url in own if url)}:
        raise BadReturn(field, "leads to an origin that the application has not registered")
    return given


def told(url: str, result: Result, *, reason: Reason | None = None, tag: str | None = None) -> str:
    """`url` with the result in its query, in place of what may stand there under the same names."""
    head, _, query = url.partition("?")
    kept = [part for part in query.split("&") if part and part.partition("=")[0] not in (RESULT, REASON, TAG)]
    said = {RESULT: result, REASON: reason, TAG: tag}
    added = urlencode({name: value for name, value in said.items() if value is not None})
    return f"{head}?{'&'.join([*kept, added])}"
