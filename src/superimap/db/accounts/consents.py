"""OAuth 2.0 consents in progress: begun when a person goes to the provider, taken when the person comes back."""

from dataclasses import dataclass, field

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, digest
from superimap.db.accounts.connecting import LinkedUser, ProviderChanged, find_user
from superimap.db.models import OAuthState
from superimap.domain.destinations import destinations_of

CONSENT_SECONDS = 3600
"""Time in which a person may consent, even if the link expires meanwhile."""


@dataclass(frozen=True, slots=True)
class PendingConsent:
    """A consent whose state came back. `browser_digest` is of the cookie that the browser had at the start."""

    linked_user: LinkedUser
    browser_digest: bytes
    link_digest: bytes
    destinations_digest: bytes | None
    verifier: str = field(repr=False)
    success_url: str | None
    failure_url: str | None

    def check_destinations(self) -> None:
        """Raise ProviderChanged if code and client secret would go elsewhere than when the consent began."""
        now = digest(destinations_of(self.linked_user.provider))
        if self.destinations_digest is not None and now != self.destinations_digest:
            raise ProviderChanged


async def begin(
    db: AsyncSession,
    vault: Vault,
    linked_user: LinkedUser,
    *,
    state: str,
    verifier: str,
    browser: str,
    link_digest: bytes,
    success_url: str | None,
    failure_url: str | None,
) -> None:
    """Store a consent for CONSENT_SECONDS: state and browser cookie as digests, the PKCE verifier encrypted."""
    partner_id = linked_user.user.partner_id
    row = await db.scalar(select(func.nextval(func.pg_get_serial_sequence("oauth_states", "id"))))
    values = {
        "id": row,
        "partner_id": partner_id,
        "user_id": linked_user.user.id,
        "state_digest": digest(state),
        "browser_digest": digest(browser),
        "link_digest": link_digest,
        "destinations_digest": digest(destinations_of(linked_user.provider)),
        "verifier": vault.seal_text(verifier, Place("oauth_states", "verifier", partner_id, str(row))),
        "success_url": success_url,
        "failure_url": failure_url,
        "expires_at": func.now() + text(f"interval '{CONSENT_SECONDS} seconds'"),
    }
    await db.execute(insert(OAuthState).values(values))


async def take(db: AsyncSession, vault: Vault, state: str) -> PendingConsent | None:
    """Delete and return the consent of this state, so that it is used once. None if unknown or expired."""
    statement = (
        delete(OAuthState)
        .where(OAuthState.state_digest == digest(state), OAuthState.expires_at > func.now())
        .returning(OAuthState)
    )
    row = (await db.scalars(statement)).one_or_none()
    linked_user = await find_user(db, row.user_id) if row is not None else None
    if row is None or linked_user is None:
        return None
    place = Place("oauth_states", "verifier", row.partner_id, str(row.id))
    return PendingConsent(
        linked_user=linked_user,
        browser_digest=row.browser_digest,
        link_digest=row.link_digest,
        destinations_digest=row.destinations_digest,
        verifier=vault.open_text(row.verifier, place),
        success_url=row.success_url,
        failure_url=row.failure_url,
    )
