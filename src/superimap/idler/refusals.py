"""Who can mend it that credentials are refused?"""

from superimap.domain.events import ReasonCode
from superimap.imap.errors import AuthenticationFailed
from superimap.oauth.endpoint import Refusal, TokenRefused

_CODES = {Refusal.REVOKED: ReasonCode.ACCESS_REVOKED, Refusal.CONSENT: ReasonCode.CONSENT_REQUIRED}


def code_of(error: AuthenticationFailed | TokenRefused) -> ReasonCode | None:
    """Why the person must sign in again; None if it is not for the person to mend, but for the partner."""
    return ReasonCode.LOGIN_REFUSED if isinstance(error, AuthenticationFailed) else _CODES.get(error.refusal)
