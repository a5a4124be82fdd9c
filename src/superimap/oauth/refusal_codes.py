"""Error codes and wordings of token endpoints, by what they mean for the grant. Pure.

RFC 6749 section 5.2 has six codes. Providers have more, in other letter case and fields, and with status 200.
Codes are compared in lower case, with `_` for everything that is neither a letter nor a digit.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any


class TokenRefusal(StrEnum):
    """Kinds of refused token requests, by what fixes them."""

    REVOKED = "revoked"  # the person took it back, changed the password, or was away too long: connect again
    CONSENT = "consent"  # the person, or their administrator, must agree to something (more): connect again
    CLIENT = "client"  # client id or secret is wrong: only the partner can fix it
    UNCLEAR = "unclear"  # a lasting refusal of an unknown cause: counts as REVOKED if it lasts for hours


TEMPORARY = frozenset({
    "temporarily_unavailable", "server_error", "slow_down", "too_many_requests", "rate_limit_exceeded",
    "rate_limited", "throttled", "internal_failure", "internal_error", "backend_error", "service_unavailable",
    "timeout", "request_timeout",
    "aadsts90033", "aadsts90012", "aadsts90006", "aadsts50053", "aadsts50196", "aadsts1000000",
})  # fmt: skip
"""Codes that pass. Microsoft's: 90033 and 90006 a service that fails, 90012 a time-out, 50053 a locked account,
50196 too many requests."""

_REVOKED = (
    "invalid_grant", "access_denied", "expired_token", "token_expired", "invalid_token", "revoked_token",
    "token_revoked", "token_not_found", "invalid_code", "bad_verification_code", "code_expired",
    "invalid_refresh_token", "bad_refresh_token", "refresh_token_expired", "refresh_token_revoked",
    "refresh_token_not_found", "expired_refresh_token", "invalid_or_expired_refresh_token", "deleted_user",
    "user_not_found", "account_disabled",
    # learn.microsoft.com, "Microsoft Entra authentication and authorization error codes": expired, revoked by a
    # new password, unused for 90 days, of a single-page application, sign-in frequency, user gone or disabled.
    "aadsts70008", "aadsts50173", "aadsts700082", "aadsts700084", "aadsts70043", "aadsts50034", "aadsts50057",
    "aadsts50089", "aadsts700003", "aadsts9002341",
)  # fmt: skip
_CONSENT = (
    # OpenID Connect Core 3.1.2.6; Microsoft answers them to refresh tokens too.
    "interaction_required", "consent_required", "login_required", "account_selection_required", "invalid_scope",
    # Values of `suberror` that Microsoft, and of `error_subtype` that Google adds to invalid_grant.
    "basic_action", "additional_action", "user_password_expired", "message_only", "invalid_rapt",
    "admin_policy_enforced", "policy_enforced", "mfa_required", "insufficient_scope",
    # A second factor, a new consent, conditional access, a device, an expired password, an assignment to the app.
    "aadsts50072", "aadsts50074", "aadsts50076", "aadsts50078", "aadsts50079", "aadsts50158", "aadsts65001",
    "aadsts65004", "aadsts53000", "aadsts53001", "aadsts53002", "aadsts53003", "aadsts53004", "aadsts530032",
    "aadsts530034", "aadsts50055", "aadsts50105", "aadsts50097", "aadsts90094", "aadsts50125", "aadsts50144",
)  # fmt: skip
_CLIENT = (
    "invalid_client", "unauthorized_client", "unsupported_grant_type", "invalid_client_id",
    "invalid_client_secret", "client_not_found", "deleted_client", "disabled_client", "org_internal",
    "incorrect_client_credentials",
    "invalid_client_credentials", "basic_auth_required", "malformed_authorization_header", "invalid_assertion",
    # The secret is wrong, expired, missing or an assertion; the application is unknown or disabled.
    "aadsts7000215", "aadsts7000222", "aadsts7000218", "aadsts700027", "aadsts700016", "aadsts7000112",
    "aadsts700213", "aadsts70001", "aadsts90002", "aadsts50194", "aadsts50011", "aadsts9002346",
)  # fmt: skip
REFUSALS: Mapping[str, TokenRefusal] = {
    **dict.fromkeys(_REVOKED, TokenRefusal.REVOKED),
    **dict.fromkeys(_CONSENT, TokenRefusal.CONSENT),
    **dict.fromkeys(_CLIENT, TokenRefusal.CLIENT),
}
WHOLE_CLIENT = frozenset(_CLIENT) - {
    "unauthorized_client", "unsupported_grant_type", "org_internal", "aadsts700016", "aadsts90002", "aadsts50194",
}  # fmt: skip
"""Codes that every user of the connection would get. The others may depend on the user or the user's directory."""

# Codes that some providers use for everything, so that the description decides.
_VAGUE = frozenset({"access_denied", "invalid_request", "invalid_token", "error", "failure"})
# Zoho: 400 "Access Denied", "You have made too many requests continuously". Exact: "Rate limit exceeded".
_TEMPORARY_WORDS = re.compile(r"too many|rate.?limit|throttl|temporar", re.IGNORECASE)
_REVOKED_WORDS = re.compile(
    r"(refresh|grant)[ _-]?token.{0,40}(invalid|expired|revoked|not found|unknown|used)"
    r"|(invalid|expired|revoked|unknown|decode).{0,30}refresh[ _-]?token"
    r"|token (was |has been |is )?(not found|expired|revoked)",
    re.IGNORECASE,
)
# Google: "Invalid JWT Signature.", and "Invalid JWT: Token must be a short-lived token" where a clock is wrong.
_KEY_WORDS = re.compile(r"invalid jwt|jwt.{0,20}(signature|expired)|signatureexception", re.IGNORECASE)
_AADSTS = re.compile(r"\s*AADSTS(\d{4,8})\b")
_FIELDS = ("error", "code", "error_code", "errorCode", "errorId", "type", "status", "reason", "suberror")
_DETAILS = ("suberror", "error_subtype", "error", "error_code", "errorCode", "errorId", "code")
_DESCRIPTIONS = ("error_description", "message", "description", "error_message", "errorDescription", "detail")
MAX_TEXT_CHARACTERS = 1000


def error_codes(fields: Mapping[str, Any]) -> Iterator[str]:
    """Yield the codes in an answer, the most precise first: Microsoft's numbers, subcodes, codes, nested ones."""
    numbers = fields.get("error_codes")
    for number in numbers[:5] if isinstance(numbers, list) else ():
        if isinstance(number, int):
            yield f"aadsts{number}"
    if found := _AADSTS.match(_text(fields.get("error_description"))):
        yield f"aadsts{found[1]}"
    for name in _DETAILS:
        if isinstance(fields.get(name), str):
            yield normalized(fields[name])
    for name in ("error", "fault", "errors"):
        nested = fields.get(name)
        nested = nested[0] if isinstance(nested, list) and nested else nested
        if isinstance(nested, Mapping):
            yield from (normalized(nested[inner]) for inner in _FIELDS if isinstance(nested.get(inner), str))


def description(fields: Mapping[str, Any]) -> str:
    """Return the sentences of an answer for people, which are never shown: they may quote a token."""
    nested = fields.get("error")
    places = (fields, nested) if isinstance(nested, Mapping) else (fields,)
    texts = [_text(place.get(name)) for place in places for name in _DESCRIPTIONS]
    return "\n".join(filter(None, [*texts, _text(nested)]))


def judge(fields: Mapping[str, Any]) -> tuple[str | None, TokenRefusal | None]:
    """Return the code that decides, and what it means; no meaning for one of `TEMPORARY`, or without a code."""
    codes = [code for code in error_codes(fields) if code]
    known = next((code for code in codes if code in TEMPORARY or code in REFUSALS), None)
    text = description(fields)
    if (known is None or known in _VAGUE) and _TEMPORARY_WORDS.search(text):
        return "too_many_requests", None
    if known == "invalid_grant" and _KEY_WORDS.search(text):
        return "invalid_assertion", TokenRefusal.CLIENT
    if known is not None:
        return known, REFUSALS.get(known)
    shown = next(filter(_is_showable, codes), None)
    if _REVOKED_WORDS.search(text):
        return shown or "invalid_grant", TokenRefusal.REVOKED
    return shown, TokenRefusal.UNCLEAR if codes else None


def normalized(code: str) -> str:
    """Return a code of at most 60 characters in lower case, with `_` for all but letters and digits."""
    return re.sub(r"[^a-z0-9]+", "_", code[:60].lower()).strip("_")


def _is_showable(code: str) -> bool:
    """Whether an unknown code cannot be a part of a token, which would have digits among its letters."""
    return len(code) <= 40 and re.fullmatch(r"[a-z_]+|[a-z]{0,8}_?\d{1,8}", code) is not None


def _text(value: object) -> str:
    return value[:MAX_TEXT_CHARACTERS] if isinstance(value, str) else ""
