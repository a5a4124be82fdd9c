"""The life of one user's session: connect, watch, and come back after whatever went wrong."""

import asyncio
import contextlib
import logging

from superimap import metrics
from superimap.backoff import Backoff
from superimap.crypto import VaultError
from superimap.db.engine import UNAVAILABLE
from superimap.db.models.user import UserStatus
from superimap.db.queries import tokens, watching
from superimap.db.queries.intake import Fenced
from superimap.idler.context import Context
from superimap.idler.credentials import credentials_of
from superimap.idler.watch import Stumbles, Watch
from superimap.imap.client import connect
from superimap.imap.errors import AuthenticationFailed, ImapError
from superimap.imap.types import Server
from superimap.oauth.tokens import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

# A refusal that lasts must never become a login storm: minutes, then hours, until other credentials come.
REFUSED_FIRST = 300.0
REFUSED_LONGEST = 21_600.0

PASSING: tuple[type[BaseException], ...] = (ImapError, TokenUnavailable, *UNAVAILABLE)


class NobodyToWatch(Exception):
    """The user is archived, disconnected, gone, or has other credentials by now."""


class Session:
    """One user's session. `run` returns when there is nobody to watch, and never of itself otherwise."""

    __slots__ = ("_backoff", "_context", "_has_renewed", "_refusals", "_stumbles", "_user_id", "_version")

    def __init__(self, context: Context, user_id: int, version: int) -> None:
        self._context = context
        self._user_id = user_id
        self._version = version
        self._backoff = Backoff(first=1.0, longest=300.0)
        self._refusals = Backoff(first=REFUSED_FIRST, longest=REFUSED_LONGEST)
        self._stumbles = Stumbles()
        self._has_renewed = False

    async def run(self) -> None:
        """Hold a session until cancelled, fenced, or until there is nobody to watch."""
        while True:
            try:
                await self._connect_and_watch()
            except (NobodyToWatch, Fenced):
                return
            except AuthenticationFailed as error:
                pause = 0.0 if await self._may_renew_token() else await self._refused(error)
            except (TokenRefused, VaultError) as error:
                pause = await self._refused(error)
            except PASSING as error:
                pause = await self._failed(error)
            await asyncio.sleep(pause)

    async def _connect_and_watch(self) -> None:
        """One connection's life."""
        watched = await watching.load(self._context.pool, self._user_id)
        if watched is None or watched.version != self._version:
            raise NobodyToWatch
        async with contextlib.AsyncExitStack() as stack:
            async with self._context.connects:
                credentials = await credentials_of(watched, self._context)
                server = Server(watched.imap_host, watched.imap_port, watched.imap_tls)
                client = await stack.enter_async_context(
                    connect(server, credentials, limits=self._context.limits, guard=self._context.guard.check)
                )
            metrics.LOGINS.inc()
            watch = Watch(self._context, client, watched, self._stumbles)
            await watch.begin()
            self._backoff.reset()
            self._refusals.reset()
            self._has_renewed = False
            await watch.follow()

    async def _refused(self, error: Exception) -> float:
        """These credentials will not do: say so, and seconds until they are tried again all the same."""
        metrics.LOGIN_FAILURES.inc()
        if isinstance(error, VaultError):
            log.error("stored credentials do not open: %s", error, extra={"user_id": self._user_id})
        else:
            log.info("login refused: %s", error, extra={"user_id": self._user_id})
        await self._tell(UserStatus.AUTHENTICATION_FAILED, str(error))
        return REFUSED_FIRST / 2 + self._refusals.next()

    async def _may_renew_token(self) -> bool:
        """Once between two logins that succeed: a kept access token may have been revoked before its time."""
        if self._has_renewed:
            return False
        self._has_renewed = True
        with contextlib.suppress(*UNAVAILABLE):
            return await tokens.forget(self._context.pool, self._user_id)
        return False

    async def _failed(self, error: BaseException) -> float:
        """The connection is gone; seconds until the next."""
        metrics.DISCONNECTS.inc()
        reason = str(error) or type(error).__name__
        log.info("session ended: %s", reason, extra={"user_id": self._user_id})
        pause = self._backoff.next()
        if self._backoff.failures > 1:  # one lost connection is every day's business
            await self._tell(UserStatus.BACKING_OFF, reason)
        return pause

    async def _tell(self, status: UserStatus, reason: str) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await watching.tell(
                self._context.pool, self._user_id, status, reason=reason, version=self._version
            )
