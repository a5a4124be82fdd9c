"""Answers of token endpoints without a token, in the wording of the providers, and what each means."""

from __future__ import annotations

from email.utils import formatdate
from typing import Any

import pytest

from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable, token_error

NOW = 1_790_000_000.0
REVOKED, CONSENT, CLIENT, UNCLEAR = TokenRefusal
TEMPORARY = None


def microsoft(error: str, number: int, **more: Any) -> dict[str, Any]:
    text = f"AADSTS{number}: A sentence. Trace ID: 4a1f Timestamp: 2026-11-28 06:00:00Z"
    return {"error": error, "error_description": text, "error_codes": [number], **more}


TABLE = [
    # RFC 6749 section 5.2
    (400, {"error": "invalid_grant"}, REVOKED),
    (400, {"error": "access_denied"}, REVOKED),
    (401, {"error": "invalid_client"}, CLIENT),
    (400, {"error": "unauthorized_client"}, CLIENT),
    (400, {"error": "unsupported_grant_type"}, CLIENT),
    (400, {"error": "interaction_required"}, CONSENT),
    # Google
    (400, {"error": "invalid_grant", "error_description": "Token has been expired or revoked."}, REVOKED),
    (400, {"error": "invalid_grant", "error_subtype": "invalid_rapt"}, CONSENT),
    (400, {"error": "admin_policy_enforced"}, CONSENT),
    (401, {"error": "deleted_client", "error_description": "The OAuth client was deleted."}, CLIENT),
    (403, {"error": "rate_limit_exceeded"}, TEMPORARY),
    (400, {"error": {"code": 400, "message": "Invalid Value", "status": "INVALID_ARGUMENT"}}, UNCLEAR),
    # Microsoft
    (400, microsoft("invalid_grant", 50173), REVOKED),
    (400, microsoft("invalid_grant", 700082), REVOKED),
    (400, microsoft("invalid_grant", 70008), REVOKED),
    (400, microsoft("invalid_grant", 700084), REVOKED),
    (400, microsoft("invalid_grant", 50057), REVOKED),
    (400, microsoft("invalid_grant", 50076), CONSENT),
    (400, microsoft("interaction_required", 50079), CONSENT),
    (400, microsoft("invalid_grant", 65001, suberror="consent_required"), CONSENT),
    (400, microsoft("invalid_grant", 53003, suberror="message_only"), CONSENT),
    (400, microsoft("invalid_grant", 530034), CONSENT),
    (400, microsoft("invalid_grant", 50105), CONSENT),
    (400, {"error": "invalid_grant", "suberror": "consent_required"}, CONSENT),
    (
        400,
        {"error": "invalid_grant", "error_description": "AADSTS65001: The user has not consented"},
        CONSENT,
    ),
    (401, microsoft("invalid_client", 7000215), CLIENT),
    (401, microsoft("invalid_client", 7000222), CLIENT),
    (400, microsoft("unauthorized_client", 700016), CLIENT),
    (400, microsoft("invalid_request", 90002), CLIENT),
    (400, microsoft("invalid_grant", 50053), TEMPORARY),
    (400, microsoft("temporarily_unavailable", 90033), TEMPORARY),
    # Yahoo, AOL
    (400, {"error": "INVALID_REFRESH_TOKEN", "error_description": "Failed to decode refresh token"}, REVOKED),
    (400, {"error": {"errorId": "INVALID_REFRESH_TOKEN", "localizedMessage": "client request"}}, REVOKED),
    (400, {"error": "INVALID_INPUT", "error_description": "client id cannot be empty"}, UNCLEAR),
    # Zoho
    (200, {"error": "invalid_code"}, REVOKED),
    (200, {"error": "invalid_client_secret"}, CLIENT),
    (
        400,
        {
            "error": "Access Denied",
            "error_description": "You have made too many requests continuously. Please try again later.",
            "status": "failure",
        },
        TEMPORARY,
    ),
    # Yandex
    (400, {"error": "invalid_grant", "error_description": "expired_token"}, REVOKED),
    (400, {"error": "Basic auth required"}, CLIENT),
    # Mail.ru
    (200, {"error": "token not found", "error_code": 6, "error_description": "token not found"}, REVOKED),
    (400, {"error": "invalid token", "error_code": 3}, REVOKED),
    # Fastmail, and others
    (401, {"error": "invalid_grant", "error_description": "Unknown refresh token"}, REVOKED),
    (400, {"error": "invalid_request", "error_description": "The refresh_token is invalid."}, REVOKED),
    (400, {"error": "access_denied", "error_description": "Rate limit exceeded: not expired"}, TEMPORARY),
    (200, {"error": "bad_refresh_token"}, REVOKED),
    (400, {"errors": [{"code": "REFRESH_TOKEN_EXPIRED"}]}, REVOKED),
    (401, {"code": "INVALID_TOKEN", "message": "invalid oauth token"}, REVOKED),
    # HTML and other bodies are no object; the status decides
    (400, {}, UNCLEAR),
    (401, {}, UNCLEAR),
    (403, {}, UNCLEAR),
    (404, {}, UNCLEAR),
    (400, {"error": ["invalid_grant"]}, UNCLEAR),
    (400, {"error": None}, UNCLEAR),
    (200, {}, TEMPORARY),
    (200, {"token_type": "Bearer"}, TEMPORARY),
    (302, {}, TEMPORARY),
    (408, {"error": "invalid_grant"}, TEMPORARY),
    (425, {}, TEMPORARY),
    (429, {"error": "invalid_grant"}, TEMPORARY),
    (500, {"error": "invalid_client"}, TEMPORARY),
    (503, {"error": "invalid_grant"}, TEMPORARY),
]


@pytest.mark.parametrize(("status", "fields", "meaning"), TABLE)
def test_the_meaning_of_each_answer_without_a_token(status, fields, meaning):
    error = token_error(status, fields, now=NOW)

    assert (error.refusal if isinstance(error, TokenRefused) else None) == meaning
    if isinstance(error, TokenRefused):
        assert error.keeps_current_token == (meaning in {CLIENT, UNCLEAR})
        assert error.is_certain == (meaning is not UNCLEAR)


@pytest.mark.parametrize(
    ("status", "retry_after", "seconds"),
    [
        (429, "7", 7.0),
        (503, " 7.5 ", 7.5),
        (429, formatdate(NOW + 90, usegmt=True), 90.0),
        (429, formatdate(NOW + 1e6, usegmt=True), 3600.0),
        (429, formatdate(NOW - 90, usegmt=True), 30.0),
        (429, "1000000000", 3600.0),
        (429, None, 30.0),
        (429, "soon", 30.0),
        (500, "-3", None),
        (500, None, None),
        (503, "nan", None),
    ],
)
def test_a_requested_pause_counts_in_seconds_or_as_a_date_and_up_to_an_hour(status, retry_after, seconds):
    error = token_error(status, {}, retry_after=retry_after, now=NOW)

    assert isinstance(error, TokenUnavailable)
    assert error.retry_after == seconds


@pytest.mark.parametrize(
    "code",
    ["1000.98cb29989f30ab7c.d3e0937e1569", "Bearer ya29.a0AfH6SMBx", "rt-Zm9vYmFyMTIz", "x" * 400],
)
def test_an_unknown_code_that_could_be_a_token_is_not_shown(code):
    error = token_error(400, {"error": code, "error_description": code}, now=NOW)

    assert str(error) == (
        "the provider refused an access token (HTTP 400): the cause is not known; if it lasts for hours, "
        "the person must connect again"
    )
