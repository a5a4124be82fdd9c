"""How long does a mail server, or who gives tokens, itself ask us to stay away?"""

import re

from superimap.imap.errors import AuthenticationFailed, Disconnected, ImapError, Refused
from superimap.oauth.endpoint import TokenUnavailable

LONGEST = 3600.0  # what a server asks for is believed up to this
LONGEST_CALM = 5.0

# Exchange: "Request is throttled. Suggested Backoff Time: 92415 milliseconds".
_SUGGESTED = re.compile(r"suggested backoff time:?\s*(\d{1,12})", re.IGNORECASE)
_CODES = {"THROTTLED", "LIMIT", "OVERQUOTA"}
_PASSING = {*_CODES, "UNAVAILABLE", "INUSE"}
_WORDS = re.compile(
    r"\[(?:throttled|limit|overquota)\]|throttl|rate limit|bandwidth limit|backoff time"
    r"|too many (?:simultaneous|concurrent|open)? ?(?:imap )?(?:connections|sessions|logins)"
    r"|maximum number of (?:imap )?connections",
    re.IGNORECASE,
)


def asked_pause(error: BaseException, *, ordinary: float) -> float | None:
    """Seconds that the server wants us to wait before the next connection; None if it does not.

    `ordinary` if it only says that we should slow down.
    """
    if isinstance(error, TokenUnavailable):
        return error.retry_after  # bounded where it was read
    code, text = _said(error)
    if suggested := _SUGGESTED.search(text):
        return min(int(suggested[1]) / 1000, LONGEST)
    if code in _CODES or _WORDS.search(text):
        return ordinary
    return None


def is_passing(error: ImapError) -> bool:
    """Whether a refusal speaks of the server's state rather than of what was asked for."""
    return _said(error)[0] in _PASSING or asked_pause(error, ordinary=0.0) is not None


def _said(error: BaseException) -> tuple[str | None, str]:
    match error:
        case Refused() | AuthenticationFailed():
            return error.code, error.text
        case Disconnected():
            return None, error.bye or ""
    return None, ""


def calm(false_alarms: int) -> float:
    """Seconds to wait after so many alarms in a row without a mail: some servers' counts jump for ever."""
    return min(0.05 * 2.0 ** min(false_alarms - 3, 10), LONGEST_CALM) if false_alarms > 3 else 0.0
