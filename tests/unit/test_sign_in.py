"""Reason codes of refused logins: the person is asked to sign in again only where that helps."""

import pytest

from superimap.domain.events import ReasonCode
from superimap.idler.sign_in import reason_code
from superimap.imap.errors import AuthenticationFailed
from superimap.oauth.token_errors import TokenRefusal, TokenRefused


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (AuthenticationFailed("no"), ReasonCode.LOGIN_REFUSED),
        (TokenRefused("invalid_grant", TokenRefusal.REVOKED), ReasonCode.ACCESS_REVOKED),
        (TokenRefused("consent_required", TokenRefusal.CONSENT), ReasonCode.CONSENT_REQUIRED),
        (TokenRefused("invalid_client", TokenRefusal.CLIENT), None),
    ],
)
def test_refusals_that_the_person_can_fix_have_a_reason_code(
    error: AuthenticationFailed | TokenRefused, code: ReasonCode | None
):
    assert reason_code(error) is code
