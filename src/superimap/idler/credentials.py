"""With what does a session sign in? The user's password, or an access token for its refresh token."""

from superimap.crypto import Place
from superimap.db.models.user import ProviderKind
from superimap.db.queries import tokens as queries
from superimap.db.queries.tokens import GrantRow
from superimap.db.queries.watching import Watched
from superimap.idler.context import Context
from superimap.imap.types import Credentials, Login, OAuth
from superimap.oauth.endpoint import Client, Refusal, TokenRefused
from superimap.oauth.tokens import refresh

# A token is renewed this long before it expires: a login takes a while.
MARGIN = 120.0


async def credentials_of(watched: Watched, context: Context) -> Credentials:
    """Open or fetch what the server wants to see.

    Raises VaultError, TokenRefused (the grant is revoked or wrong) or TokenUnavailable (try again later).
    """
    if watched.provider_kind == ProviderKind.OAUTH2:
        return OAuth(watched.email or "", await _access_token(watched, context))
    place = Place("users", "login_password", watched.partner_id, str(watched.user_id))
    password = context.vault.open_text(watched.login_password or b"", place)
    return Login(watched.login_username or "", password)


async def _access_token(watched: Watched, context: Context) -> str:
    """The token that we have while it is fresh, or a new one; a replaced refresh token is stored before use."""
    grant = await queries.load(context.pool, watched.user_id, margin=MARGIN)
    if grant is None or grant.refresh_token is None:
        raise TokenRefused("no refresh token is stored")
    if grant.is_fresh and grant.access_token is not None:
        return context.vault.open_text(grant.access_token, _user_place(grant, "oauth2_access_token"))
    if grant.token_url is None or grant.client_id is None or grant.client_secret is None:
        raise TokenRefused("the connection has no OAuth 2.0 client", Refusal.CLIENT)
    client_place = Place("connections", "oauth2_client_secret", grant.partner_id, str(grant.connection_id))
    secret = context.vault.open_text(grant.client_secret, client_place)
    given = await refresh(
        context.http,
        Client(grant.token_url, grant.client_id, secret),
        refresh_token=context.vault.open_text(
            grant.refresh_token, _user_place(grant, "oauth2_refresh_token")
        ),
    )
    replaced = given.refresh_token
    await queries.store(
        context.pool,
        watched.user_id,
        old_refresh_token=grant.refresh_token,
        access_token=context.vault.seal_text(given.access_token, _user_place(grant, "oauth2_access_token")),
        expires_in=given.expires_in,
        refresh_token=context.vault.seal_text(replaced, _user_place(grant, "oauth2_refresh_token"))
        if replaced
        else None,
    )
    return given.access_token


def _user_place(grant: GrantRow, column: str) -> Place:
    return Place("users", column, grant.partner_id, str(grant.user_id))
