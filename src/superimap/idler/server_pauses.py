"""Pauses that a mail server or token endpoint requests, and pauses after its false alarms."""

import re

from superimap.imap.errors import Disconnected, ImapError, Refused
from superimap.imap.throttling import asks_for_pause
from superimap.oauth.token_errors import TokenUnavailable

MAX_PAUSE_SECONDS = 3600.0
"""Longer pauses that a server requests are cut to this."""
MAX_FALSE_ALARM_PAUSE_SECONDS = 5.0

# Exchange: "Request is throttled. Suggested Backoff Time: 92415 milliseconds".
_SUGGESTED = re.compile(r"suggested backoff time:?\s*(\d{1,12})", re.IGNORECASE)


def requested_pause(error: BaseException, *, ordinary: float) -> float | None:
    """Return the seconds that the server asks us to wait before the next connection; None if it requests no wait.

    Return `ordinary` if the server asks us to slow down without a figure.
    """
    if isinstance(error, TokenUnavailable):
        return error.retry_after  # limited where the header is read
    code, text = _code_and_text(error)
    if suggested := _SUGGESTED.search(text):
        return min(int(suggested[1]) / 1000, MAX_PAUSE_SECONDS)
    if asks_for_pause(code, text):
        return ordinary
    return None


def is_about_mail(error: ImapError) -> bool:
    """Return whether an error concerns the mail that was requested, so that the session goes on.

    After a refusal that asks us to slow down it does not.
    """
    return isinstance(error, Refused) and requested_pause(error, ordinary=0.0) is None


def _code_and_text(error: BaseException) -> tuple[str | None, str]:
    match error:
        case Refused():
            return error.code, error.text
        case Disconnected():
            return error.code, error.bye or ""
    return None, ""


def false_alarm_pause(false_alarms: int) -> float:
    """Return the seconds to wait after this number of announcements in a row without a mail.

    The message counts of some servers change all the time.
    """
    if false_alarms <= 3:
        return 0.0
    return min(0.05 * 2.0 ** min(false_alarms - 3, 10), MAX_FALSE_ALARM_PAUSE_SECONDS)
