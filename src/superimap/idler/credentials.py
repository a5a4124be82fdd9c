"""With what does a session sign in? The user's password, or an access token for what they consented to."""

from superimap.core.crypto import Place
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.providers import ProviderKind
from superimap.idler.access_tokens import Access
from superimap.idler.context import Context
from superimap.imap.types import Credentials, Login, OAuth


async def credentials_of(watched: WatchedUser, context: Context) -> tuple[Credentials, Access | None]:
    """Open or fetch what the server wants to see, and the access token if that is one.

    Raises VaultError, TokenRefused (the grant is revoked or wrong) or TokenUnavailable (try again later).
    """
    if watched.provider_kind == ProviderKind.OAUTH2:
        access = await context.tokens.get(watched.user_id)
        return OAuth(watched.email or "", access.token), access
    place = Place("users", "login_password", watched.partner_id, str(watched.user_id))
    password = context.vault.open_text(watched.login_password or b"", place)
    return Login(watched.login_username or "", password), None
