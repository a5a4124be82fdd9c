"""The life of one user's session: connect, watch, and come back after whatever went wrong."""

import asyncio
import contextlib
import logging

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.core.crypto import VaultError
from superimap.core.errors import SuperImapError
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import sessions as watching
from superimap.db.watching.intake import Fenced
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.providers import ProviderKind
from superimap.domain.users import StatusChange
from superimap.idler import server_pauses
from superimap.idler.context import IdlerContext
from superimap.idler.mailbox import MailboxMemory
from superimap.idler.sign_in import load_credentials, reason_code
from superimap.idler.token_rollover import TokenRollover
from superimap.idler.watch import MailboxWatch
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, ImapError
from superimap.imap.types import ServerAddress
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

PASSING: tuple[type[BaseException], ...] = (ImapError, TokenUnavailable, *UNAVAILABLE)


class NothingToWatch(SuperImapError):
    """The user is archived, disconnected or deleted, or has other credentials by now."""


class UnexpectedFault(SuperImapError):
    """An exception of an unexpected type. Its text is left out because it may quote a mail."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: a fault in SuperIMAP; see the idler's log")


class UserSession:
    """One user's session. `run` returns when there is nobody to watch, and never of itself otherwise."""

    __slots__ = (
        "_backoff",
        "_chances",
        "_context",
        "_memory",
        "_refusals",
        "_stood_since",
        "_user_id",
        "_version",
    )  # fmt: skip

    def __init__(self, context: IdlerContext, user_id: int, version: int) -> None:
        self._context = context
        self._user_id = user_id
        self._version = version
        timing = context.timing
        self._backoff = Backoff(first=timing.backoff_first, longest=timing.backoff_longest)
        self._refusals = Backoff(first=timing.refused_first, longest=timing.refused_longest)
        self._memory = MailboxMemory()
        self._chances: int | None = None  # refusals to pass over: of what was good, or of a token kept
        self._stood_since: float | None = None

    async def run(self) -> None:
        """Hold a session until cancelled, fenced, or until there is nobody to watch."""
        while True:
            try:
                await self._connect_and_watch()
                metrics.ROLL_OVERS.inc()
                self._backoff.reset()
                pause = 0.0
            except (NothingToWatch, Fenced):
                return
            except (AuthenticationFailed, TokenRefused, VaultError) as error:
                pause = await self._refused(error)
            except PASSING as error:
                pause = await self._failed(error)
            except Exception as error:  # nobody foresaw it; no reason to sign in again and again
                log.exception("session failed", extra={"user_id": self._user_id})
                pause = await self._failed(UnexpectedFault(error))
            self._stood_since = None
            await asyncio.sleep(pause)

    async def _connect_and_watch(self) -> None:
        """One connection's life; returns when another should begin, with a new access token."""
        watched = await self._admitted()
        if self._chances is None:
            self._chances = int(watched.provider_kind == ProviderKind.OAUTH2)
        async with contextlib.AsyncExitStack() as stack:
            credentials, access = await load_credentials(watched, self._context)
            async with self._context.logins.turn(
                watched.imap_host, watched.logins_per_second, is_named=watched.has_own_server
            ):
                if access is not None and access.left <= 0:  # the queue was long, or its life is short
                    credentials, access = await load_credentials(watched, self._context)
                server = ServerAddress(watched.imap_host, watched.imap_port, watched.imap_tls)
                client = await stack.enter_async_context(
                    connect(
                        server,
                        credentials,
                        timeouts=self._context.timing.timeouts,
                        limits=self._context.limits,
                        guard=self._context.guard.check,
                    )
                )
            metrics.LOGINS.inc()
            stack.enter_context(self._context.liveness.track(self._user_id, client))
            watch = await MailboxWatch.open(self._context, client, watched, self._memory)
            self._refusals.reset()
            self._chances = 1
            self._stood_since = asyncio.get_running_loop().time()
            async with TokenRollover(self._context.tokens, self._user_id, access, watch.leave) as roll_over:
                await watch.follow()
        if roll_over.refused is not None:
            raise roll_over.refused

    async def _admitted(self) -> WatchedUser:
        """Whom to watch, once the pause is over that the row asks for: restarts must not make a login storm."""
        while True:
            watched = await watching.load(self._context.pool, self._user_id)
            if watched is None or watched.version != self._version:
                raise NothingToWatch
            if not watched.wait:
                return watched
            await asyncio.sleep(watched.wait)

    async def _refused(self, error: AuthenticationFailed | TokenRefused | VaultError) -> float:
        """These credentials will not do: say so, and seconds until they are tried again all the same.

        Those that have been good get one more chance, with a new access token: servers have their moods.
        """
        metrics.LOGIN_FAILURES.inc()
        if isinstance(error, AuthenticationFailed):
            with contextlib.suppress(*UNAVAILABLE):
                await self._context.tokens.forget(self._user_id)
            if self._chances:
                self._chances = 0
                return await self._failed(error)
        pause = self._context.timing.refused_first / 2 + self._refusals.next()
        if isinstance(error, VaultError):  # no server has seen them: the right key may be tried at once
            log.error("stored credentials do not open: %s", error, extra={"user_id": self._user_id})
            await self._tell(StatusChange.LOGIN_REFUSED, str(error))
        else:
            log.info("login refused: %s", error, extra={"user_id": self._user_id})
            await self._tell_refusal(error, retry_in=pause)
        return pause

    async def _tell_refusal(self, error: AuthenticationFailed | TokenRefused, *, retry_in: float) -> None:
        code = reason_code(error)
        if code is None:
            await self._tell(StatusChange.LOGIN_REFUSED, str(error), retry_in=retry_in)
            return
        with contextlib.suppress(*UNAVAILABLE):
            is_news = await watching.record_refusal(
                self._context.pool,
                self._user_id,
                code=code,
                reason=str(error),
                version=self._version,
                retry_in=retry_in,
            )
            if is_news:
                metrics.REAUTH_REQUIRED.labels(code).inc()

    async def _failed(self, error: BaseException) -> float:
        """The connection is gone; seconds until the next."""
        metrics.DISCONNECTS.inc()
        reason = str(error) or type(error).__name__
        log.info("session ended: %s", reason, extra={"user_id": self._user_id})
        timing, stood = self._context.timing, self._stood_since
        if stood is not None and asyncio.get_running_loop().time() - stood >= timing.settled:
            self._backoff.reset()
        pause = self._backoff.next()
        if (asked := server_pauses.requested_pause(error, ordinary=timing.throttled)) is not None:
            pause += asked
            said = f"{reason} (next try in {pause:.0f} s)"
            await self._tell(StatusChange.THROTTLED, said, retry_in=pause)
        elif self._backoff.failures > 1:  # one lost connection is every day's business
            await self._tell(StatusChange.CONNECTION_LOST, reason)
        return pause

    async def _tell(self, happening: StatusChange, reason: str, *, retry_in: float | None = None) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await watching.record_status(
                self._context.pool,
                self._user_id,
                happening,
                reason=reason,
                version=self._version,
                retry_in=retry_in,
            )
