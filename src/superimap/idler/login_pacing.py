"""Pacing of one user's logins: what earlier logins found out, and the waits between them, whatever the answers."""

import random

from superimap.core.backoff import Backoff
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.logins import (
    LoginHistory,
    has_lasted,
    persistence_note,
    refused_pause,
    refuses_credentials,
)
from superimap.domain.providers import ProviderKind
from superimap.idler.timing import SessionTiming
from superimap.imap.errors import AuthenticationFailed, Refused
from superimap.imap.login_methods import LoginMemory
from superimap.oauth.token_errors import TokenRefused

_FIRST_PAUSE_BACKOFFS = 4.0  # the first pause after a failed login, in first pauses after a lost connection
_PAUSE_FACTOR = 3.0
_LEAST_PAUSE_SHARE = 0.5


class LoginPacing:
    """Logins of one user across connections.

    A login that ends without a refusal of the credentials (closed, timed out, refused for a time) is followed by
    pauses of their own, which grow faster than those after lost connections: many servers lock accounts and
    addresses by the number of logins.
    """

    __slots__ = ("_failures", "_history", "_timing", "_tolerates", "memory")

    def __init__(self, timing: SessionTiming) -> None:
        self.memory = LoginMemory()
        self._timing = timing
        self._failures = Backoff(
            first=_FIRST_PAUSE_BACKOFFS * timing.backoff_first,
            longest=timing.backoff_longest,
            factor=_PAUSE_FACTOR,
            least=_LEAST_PAUSE_SHARE,
        )
        self._history = LoginHistory()
        # Whether a refusal does not count: credentials accepted before, and stored tokens, are tried once more.
        self._tolerates: bool | None = None

    def begin(self, watched: WatchedUser) -> None:
        """Begin a login of the user as it was loaded for it."""
        self._history = history = watched.history
        self.memory.begin()
        if self._tolerates is None:
            was_in_use = history.was_accepted and not history.refusals
            self._tolerates = watched.provider_kind == ProviderKind.OAUTH2 or was_in_use

    def accept(self) -> None:
        """Note that the login has succeeded."""
        self._failures.reset()
        self._tolerates = True

    def tolerate_refusal(self) -> bool:
        """Return whether the credentials are tried once more; true once after each success."""
        tolerates, self._tolerates = bool(self._tolerates), False
        return tolerates

    def needs_other_credentials(self, error: AuthenticationFailed | TokenRefused) -> bool:
        """Return whether the refusal counts as one that only other credentials can end.

        An unclear answer of a token endpoint says nothing about the grant until it has lasted for hours.
        """
        if isinstance(error, TokenRefused):
            return error.is_certain or has_lasted(self._history)
        return refuses_credentials(self._history, is_certain=error.is_certain)

    def refused_pause(self) -> float:
        """Return the seconds until the login after this refusal: minutes, then hours, also across restarts."""
        return refused_pause(
            self._history,
            first=self._timing.refused_first,
            longest=self._timing.refused_longest,
            chance=random.random(),  # noqa: S311 - no secret
        )

    def failed_pause(self) -> float | None:
        """Return the seconds until the next login if credentials were sent and not accepted; None otherwise."""
        return self._failures.next() if self.memory.has_submitted else None

    def persistence_note(self, error: BaseException) -> str:
        """Return what the status adds to the reason of a login that is refused for a time, for hours."""
        if not isinstance(error, Refused) or not self.memory.has_submitted:
            return ""
        return persistence_note(self._history, has_code=error.code is not None)

    @property
    def failures(self) -> int:
        """Failed logins since the last success."""
        return self._failures.failures
