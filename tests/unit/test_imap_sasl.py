"""Permanent and temporary refusals of a login; no secret in a repr or an error."""

import pytest

from superimap.imap.errors import Disconnected, Refused
from superimap.imap.sasl import is_permanent
from superimap.imap.types import Login, OAuth


@pytest.mark.parametrize(
    ("result", "code", "text", "detail", "verdict"),
    [
        ("NO", "AUTHENTICATIONFAILED", "Invalid credentials (Failure)", None, True),
        ("NO", "ALERT", "Application-specific password required", None, True),
        ("NO", None, "LOGIN failed.", None, True),
        ("NO", "AUTHENTICATIONFAILED", "x", '{"status":"400"}', True),
        ("NO", None, "x", '{"status":"401","schemes":"bearer"}', True),
        ("NO", None, "x", '{"status":"503"}', False),
        ("NO", None, "x", "no json", True),
        ("NO", "UNAVAILABLE", "Temporary authentication failure", None, False),
        ("NO", "ALERT", "Too many simultaneous connections. (Failure)", None, False),
        ("NO", None, "Request is throttled. Suggested Backoff Time: 92415 milliseconds", None, False),
        ("NO", "LIMIT", "x", None, False),
        ("BAD", None, "User is authenticated but not connected.", None, False),
    ],
)
def test_permanent_and_temporary_refusals_are_distinguished(result, code, text, detail, verdict):
    assert is_permanent(result, code, text, detail) is verdict


def test_h22_credentials_do_not_show_their_secret():
    assert "s3cret" not in repr(Login("ann", "s3cret")) + repr(OAuth("ann", "s3cret"))


def test_error_texts_state_what_happened():
    assert str(Refused("EXAMINE", "NO", "gone", "NONEXISTENT")) == "EXAMINE: NO [NONEXISTENT] gone"
    assert str(Disconnected("closed", bye="Autologout")) == "closed: BYE Autologout"
