"""Pauses between token requests of one connection, after refusals and failures of its token endpoint."""

from superimap.db.watching.token_leases import GrantRow
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

CLIENT_PAUSE_SECONDS = 300.0
"""Pause of a connection after its client secret is refused: one request per pause, not one per user."""
MAX_THROTTLED_PAUSE_SECONDS = 60.0
"""Longest pause of a whole connection that the provider throttles, even if one user has to wait longer."""
SHARED_PAUSE_SECONDS = 5.0
"""Pause between requests for a token of a whole connection while the provider is unreachable."""


def pause_after(error: Exception, *, is_shared: bool) -> tuple[float, str] | None:
    """Return the seconds to pause a whole connection, and the reason; None if the error concerns one user only.

    The reason for a refusal contains its kind and code, so that the other users get the same refusal.
    """
    if isinstance(error, TokenRefused):
        is_for_all = is_shared or error.is_of_whole_client
        return (CLIENT_PAUSE_SECONDS, f"{error.refusal}: {error.code}") if is_for_all else None
    if isinstance(error, TokenUnavailable) and error.retry_after is not None:
        return min(error.retry_after, MAX_THROTTLED_PAUSE_SECONDS), str(error)
    return (SHARED_PAUSE_SECONDS, str(error)) if is_shared else None


def check_pause(grant: GrantRow) -> None:
    """Raise TokenRefused or TokenUnavailable while the connection of this grant pauses."""
    if grant.pause <= 0:
        return
    reason = grant.pause_reason or "the provider was asked a moment ago"
    kind, _, code = reason.partition(": ")
    if kind in set(TokenRefusal):
        raise TokenRefused(code, TokenRefusal(kind))
    # A short pause is not worth a status of its own: the usual backoff covers it.
    raise TokenUnavailable(reason, retry_after=grant.pause if grant.pause > SHARED_PAUSE_SECONDS else None)
