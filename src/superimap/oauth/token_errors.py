"""Errors of a provider's token endpoint, and what each answer without a token means (RFC 6749 section 5.2)."""

from collections.abc import Mapping
from typing import Any

from superimap.core.errors import SuperImapError
from superimap.domain.answers import retry_after_seconds
from superimap.oauth.refusal_codes import TEMPORARY, WHOLE_CLIENT, TokenRefusal, judge

THROTTLED_PAUSE_SECONDS = 30.0
"""Pause after throttling without Retry-After."""

# Request timeout, misdirected, locked, too early, too many requests: nothing is said about the grant.
_TEMPORARY_STATUSES = frozenset({407, 408, 421, 423, 425, 429})
_THROTTLED = frozenset({"slow_down", "too_many_requests", "rate_limit_exceeded", "rate_limited", "throttled"})
_EXPLANATIONS = {
    TokenRefusal.REVOKED: "access was revoked or has expired; the person must connect again",
    TokenRefusal.CONSENT: "the person, or their administrator, must consent again; the person must connect again",
    TokenRefusal.CLIENT: "the connection's client id or secret is wrong, or the client is not allowed to do this",
    TokenRefusal.UNCLEAR: "the cause is not known; if it lasts for hours, the person must connect again",
}


class TokenRefused(SuperImapError):
    """The provider refused a token, and trying again will not change that.

    `code` is the provider's error code (RFC 6749 section 5.2) or the HTTP status; `refusal` says what fixes it.
    """

    def __init__(self, code: str, refusal: TokenRefusal = TokenRefusal.REVOKED) -> None:
        super().__init__(code)
        self.code = code
        self.refusal = refusal

    @property
    def keeps_current_token(self) -> bool:
        """Whether the current access token may be used until it expires, as the person has revoked nothing."""
        return self.refusal in {TokenRefusal.CLIENT, TokenRefusal.UNCLEAR}

    @property
    def is_certain(self) -> bool:
        """Whether the refusal counts at once, and not only if it lasts for hours."""
        return self.refusal is not TokenRefusal.UNCLEAR

    @property
    def is_of_whole_client(self) -> bool:
        """Whether every user of the connection would be refused."""
        return self.code in WHOLE_CLIENT

    def __str__(self) -> str:
        return f"the provider refused an access token ({self.code}): {_EXPLANATIONS[self.refusal]}"


class TokenUnavailable(SuperImapError):
    """The provider could not be reached, or did not answer as expected; trying again may help.

    `retry_after` is the pause in seconds that the provider requested, if any.
    """

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def token_error(
    status: int, fields: Mapping[str, Any], *, retry_after: str | None = None, now: float
) -> TokenRefused | TokenUnavailable:
    """Translate an answer without a token: a refusal that lasts, or a failure that passes.

    `now` is Unix time by the provider's clock, for a Retry-After that is a date. A code counts only in a 4xx, or
    in a 200 as of Zoho: a failing server may send any text.
    """
    code, refusal = judge(fields)
    is_client_error = 400 <= status < 500 and status not in _TEMPORARY_STATUSES
    if refusal is None and is_client_error and code not in TEMPORARY:
        refusal = TokenRefusal.UNCLEAR
    if refusal is not None and (is_client_error or status == 200):
        return TokenRefused(code or f"HTTP {status}", refusal)
    answered = f"{code} (HTTP {status})" if code else f"HTTP {status}"
    pause = retry_after_seconds(retry_after, now=now) or None
    if pause is None and (status == 429 or code in _THROTTLED):
        pause = THROTTLED_PAUSE_SECONDS
    return TokenUnavailable(f"the provider's token endpoint answered {answered}", retry_after=pause)
