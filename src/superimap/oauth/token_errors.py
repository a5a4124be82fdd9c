"""Errors of a provider's token endpoint, and what each answer without a token means (RFC 6749 section 5.2)."""

import re
from enum import StrEnum

from superimap.core.errors import SuperImapError

MAX_RETRY_AFTER_SECONDS = 3600.0
THROTTLED_PAUSE_SECONDS = 30.0
"""Pause after a 429 without Retry-After."""

_CODE = re.compile(r"[A-Za-z0-9_.-]{1,60}")


class TokenRefusal(StrEnum):
    """Kinds of refused token requests, by what fixes them."""

    REVOKED = "revoked"  # the person took it back, changed the password, or was away too long: connect again
    CONSENT = "consent"  # the person, or their administrator, must agree to something (more): connect again
    CLIENT = "client"  # client id or secret is wrong: only the partner can fix it


_REFUSALS = {
    "invalid_grant": TokenRefusal.REVOKED,
    "access_denied": TokenRefusal.REVOKED,
    # OpenID Connect Core 3.1.2.6; Microsoft answers them to refresh tokens too.
    "interaction_required": TokenRefusal.CONSENT,
    "consent_required": TokenRefusal.CONSENT,
    "login_required": TokenRefusal.CONSENT,
    "invalid_scope": TokenRefusal.CONSENT,
    "invalid_client": TokenRefusal.CLIENT,
    "unauthorized_client": TokenRefusal.CLIENT,
    "unsupported_grant_type": TokenRefusal.CLIENT,
}
# Values of `suberror` that Microsoft adds to invalid_grant
# (learn.microsoft.com, "Handling errors: token endpoint").
_CONSENT_SUBERRORS = {"consent_required", "basic_action", "additional_action", "user_password_expired"}
_EXPLANATIONS = {
    TokenRefusal.REVOKED: "access was revoked or has expired; the person must connect again",
    TokenRefusal.CONSENT: "the person, or their administrator, must consent again; the person must connect again",
    TokenRefusal.CLIENT: "the connection's client id or secret is wrong, or the client is not allowed to do this",
}


class TokenRefused(SuperImapError):
    """The provider refused a token, and trying again will not change that.

    `code` is the provider's error code (RFC 6749 section 5.2); `refusal` says what fixes it.
    """

    def __init__(self, code: str, refusal: TokenRefusal = TokenRefusal.REVOKED) -> None:
        super().__init__(code)
        self.code = code
        self.refusal = refusal

    @property
    def keeps_current_token(self) -> bool:
        """Whether the current access token may be used until it expires, as the person has revoked nothing."""
        return self.refusal is TokenRefusal.CLIENT

    def __str__(self) -> str:
        return f"the provider refused an access token ({self.code}): {_EXPLANATIONS[self.refusal]}"


class TokenUnavailable(SuperImapError):
    """The provider could not be reached, or did not answer as expected; trying again may help.

    `retry_after` is the pause in seconds that the provider requested, if any.
    """

    def __init__(self, text: str, *, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after


def refusal_of(code: str, *, detail: object = None) -> TokenRefusal | None:
    """Classify an error code, with Microsoft's `suberror` as `detail`; None if the code is not a refusal."""
    if code == "invalid_grant" and detail in _CONSENT_SUBERRORS:
        return TokenRefusal.CONSENT
    return _REFUSALS.get(code)


def token_error(
    status: int, error: object, *, detail: object = None, retry_after: str | None = None
) -> TokenRefused | TokenUnavailable:
    """Translate an answer without a token: a refusal that lasts, or a failure that passes."""
    code = error if isinstance(error, str) and _CODE.fullmatch(error) else None
    # An error code counts only in a 4xx other than 429: a failing server may send any text.
    refusal = refusal_of(code, detail=detail) if code else None
    if code and refusal and 400 <= status < 500 and status != 429:
        return TokenRefused(code, refusal)
    answered = f"{code} (HTTP {status})" if code else f"HTTP {status}"
    pause = _retry_after_seconds(retry_after)
    return TokenUnavailable(
        f"the provider's token endpoint answered {answered}",
        retry_after=THROTTLED_PAUSE_SECONDS if pause is None and status == 429 else pause,
    )


def _retry_after_seconds(value: str | None) -> float | None:
    """Return the seconds of a Retry-After header, at most an hour; None for its form as a date."""
    text = (value or "").strip()
    return min(float(text), MAX_RETRY_AFTER_SECONDS) if text.isascii() and text.isdigit() else None
