"""Sign-in of a session: the credentials to present, and the reason code when they are refused."""

from superimap.core.crypto import Place
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.events import ReasonCode
from superimap.domain.providers import ProviderKind
from superimap.idler.access_tokens import AccessToken
from superimap.idler.context import IdlerContext
from superimap.imap.errors import AuthenticationFailed
from superimap.imap.types import Credentials, Login, OAuth
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused

_CODES = {
    TokenRefusal.REVOKED: ReasonCode.ACCESS_REVOKED,
    TokenRefusal.CONSENT: ReasonCode.CONSENT_REQUIRED,
    TokenRefusal.UNCLEAR: ReasonCode.ACCESS_REVOKED,
}


async def load_credentials(
    watched: WatchedUser, context: IdlerContext
) -> tuple[Credentials, AccessToken | None]:
    """Decrypt the user's password, or get an access token; the second value is the token, if there is one.

    Raises VaultError, TokenRefused (the grant is revoked or wrong) or TokenUnavailable (try again later).
    """
    if watched.provider_kind == ProviderKind.OAUTH2:
        access = await context.tokens.get(watched.user_id)
        return OAuth(watched.login_username or watched.email or "", access.token), access
    place = Place("users", "login_password", watched.partner_id, str(watched.user_id))
    password = context.vault.open_text(watched.login_password or b"", place)
    return Login(watched.login_username or "", password), None


def reason_code(error: AuthenticationFailed | TokenRefused) -> ReasonCode | None:
    """Return why the person must sign in again; None if only the partner can fix the cause."""
    return ReasonCode.LOGIN_REFUSED if isinstance(error, AuthenticationFailed) else _CODES.get(error.refusal)
