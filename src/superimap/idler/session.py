"""Session of one user: connect, watch, and reconnect after errors."""

import asyncio
import contextlib
import logging
import random
import time

from superimap.core import metrics
from superimap.core.backoff import Backoff
from superimap.core.crypto import VaultError
from superimap.core.errors import ReleasedFrames, SuperImapError
from superimap.core.metric_labels import OTHER_PROVIDERS, PROVIDERS
from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import sessions as watching
from superimap.db.watching.intake import Fenced
from superimap.db.watching.sessions import WatchedUser
from superimap.domain.intake import Suspensions
from superimap.domain.users import StatusChange
from superimap.idler import server_pauses
from superimap.idler.context import IdlerContext
from superimap.idler.login_pacing import LoginPacing
from superimap.idler.mailbox_memory import MailboxMemory, ServerSuspended
from superimap.idler.partner_holds import HOLD_PAUSE_SECONDS, BacklogFull
from superimap.idler.sign_in import load_credentials, reason_code
from superimap.idler.token_rollover import TokenRollover
from superimap.idler.watch import MailboxWatch
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, IdRefused, ImapError, LimitExceeded
from superimap.imap.types import ServerAddress
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

log = logging.getLogger(__name__)

LEAST_STORED_PAUSE_SECONDS = 10.0
"""A shorter pause after a failed login is not stored: a restart takes as long."""

TEMPORARY_ERRORS: tuple[type[BaseException], ...] = (ImapError, TokenUnavailable, *UNAVAILABLE)


class NothingToWatch(SuperImapError):
    """The user is archived, disconnected or deleted, or has other credentials now."""


class UnexpectedFault(SuperImapError):
    """An exception of an unexpected type. Its text is left out because it may quote a mail."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: a fault in SuperIMAP; see the idler's log")


class UserSession:
    """Session of one user across connections."""

    __slots__ = (
        "_backoff", "_context", "_established_at", "_logins", "_memory", "_provider", "_says_id",
        "_suspensions", "_user_id", "_version",
    )  # fmt: skip

    def __init__(self, context: IdlerContext, user_id: int, version: int) -> None:
        self._context = context
        self._user_id = user_id
        self._version = version
        timing = context.timing
        self._backoff = Backoff(first=timing.backoff_first, longest=timing.backoff_longest)
        self._logins = LoginPacing(timing)
        self._memory = MailboxMemory()
        self._provider = OTHER_PROVIDERS  # until it is loaded
        self._established_at: float | None = None
        self._suspensions = Suspensions()
        self._says_id = True

    async def run(self) -> None:
        """Hold a session until cancelled or fenced, or until there is nothing to watch."""
        while True:
            try:
                with ReleasedFrames():  # thousands of sessions reconnect
                    await self._connect_and_watch()
                metrics.ROLL_OVERS.inc()
                self._backoff.reset()
                pause = 0.0
            except (NothingToWatch, Fenced):
                return
            except (AuthenticationFailed, TokenRefused, VaultError) as error:
                pause = await self._refused(error)
            except BacklogFull as error:
                pause = await self._held(error)
            except ServerSuspended as error:
                pause = await self._suspended(error)
            except TEMPORARY_ERRORS as error:
                pause = await self._failed(error)
            except Exception as error:  # unexpected, and no reason for a login storm
                log.exception("session failed", extra={"user_id": self._user_id})
                pause = await self._failed(UnexpectedFault(error))
            self._established_at = None
            await asyncio.sleep(pause)

    async def _connect_and_watch(self) -> None:
        """Hold one connection; return when another one is to begin, with a new access token."""
        watched = await self._load_user()
        self._provider = PROVIDERS.of(watched.provider_code)
        self._logins.begin(watched)
        async with contextlib.AsyncExitStack() as stack:
            credentials, token = await load_credentials(watched, self._context)
            async with self._context.logins.slot(
                watched.imap_host, watched.logins_per_second, is_named=watched.has_own_server
            ):
                if (
                    token is not None and token.seconds_left <= 0
                ):  # the queue was long, or its lifetime is short
                    credentials, token = await load_credentials(watched, self._context)
                room = self._context.peers.room(watched)
                self._memory.begin_connection(room)
                server = ServerAddress(watched.imap_host, watched.imap_port, watched.imap_tls)
                client = await stack.enter_async_context(
                    connect(
                        server,
                        credentials,
                        timeouts=self._context.timing.timeouts,
                        limits=self._context.limits,
                        guard=self._context.guard.check,
                        client_id=self._context.client_id if self._says_id else None,
                        login_memory=self._logins.memory,
                        command_memory=self._memory.commands,
                        peer=self._context.peers.peer(watched, room),
                        trace=self._context.protocol_logs.sink_of(self._user_id),
                    )
                )
            self._logins.accept()
            metrics.LOGINS.labels(self._provider).inc()
            stack.enter_context(self._context.liveness.track(self._user_id, watched.shard, client))
            client.trace(self._context.protocol_logs.sink_of(self._user_id))  # requested during the login
            watch = await MailboxWatch.open(self._context, client, watched, self._memory)
            self._established_at = asyncio.get_running_loop().time()
            stack.enter_context(self._context.watches.track(self._user_id, watch))
            self._suspensions.forgive()
            async with TokenRollover(self._context.tokens, self._user_id, token, watch.stop) as rollover:
                await watch.follow()
        if rollover.refused is not None:
            raise rollover.refused

    async def _load_user(self) -> WatchedUser:
        """Load the user, after the pause that its row states: restarts must not cause a login storm."""
        while True:
            watched = await watching.load(self._context.pool, self._user_id)
            if watched is None or watched.version != self._version:
                raise NothingToWatch
            if not watched.wait:
                if watched.is_held:
                    raise BacklogFull
                return watched
            await asyncio.sleep(watched.wait)

    async def _refused(self, error: AuthenticationFailed | TokenRefused | VaultError) -> float:
        """Record that the credentials are refused; return the seconds until they are tried again.

        Credentials that were accepted before are tried once more, with a new access token: some servers refuse
        valid ones at times.
        """
        metrics.LOGIN_FAILURES.labels(self._provider).inc()
        if isinstance(error, AuthenticationFailed):
            with contextlib.suppress(*UNAVAILABLE):
                await self._context.tokens.forget(self._user_id)
            if self._logins.tolerate_refusal():
                return await self._failed(error)
        pause = self._logins.refused_pause()
        if isinstance(error, TokenRefused) and not self._logins.needs_other_credentials(error):
            pause = self._backoff.next()  # until it is known to last, as after a lost connection
        if isinstance(error, VaultError):  # no server has seen them, so the right key may be tried at once
            log.error("stored credentials do not decrypt: %s", error, extra={"user_id": self._user_id})
            await self._record_status(StatusChange.LOGIN_REFUSED, str(error), is_refusal=True)
        else:
            log.info("login refused: %s", error, extra={"user_id": self._user_id})
            await self._record_refusal(error, retry_in=pause)
        return pause

    async def _record_refusal(self, error: AuthenticationFailed | TokenRefused, *, retry_in: float) -> None:
        """Record a refusal: as one of the credentials, or of an unclear cause unless it lasts for hours."""
        code, change, reason = reason_code(error), StatusChange.LOGIN_REFUSED, str(error)
        if not self._logins.needs_other_credentials(error):
            code, change = None, StatusChange.CONNECTION_LOST
            reason = f"{reason} (next attempt in {retry_in:.0f} s)"
        if code is None:
            await self._record_status(change, reason, retry_in=retry_in, is_refusal=True)
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
        """Record that the connection has ended; return the seconds until the next one."""
        metrics.DISCONNECTS.labels(self._provider).inc()
        if isinstance(error, LimitExceeded) and error.announced is None and self._suspensions.exceeds():
            return await self._suspended(error)
        reason = str(error) or type(error).__name__
        log.info("session ended: %s", reason, extra={"user_id": self._user_id, "error": type(error).__name__})
        requested = server_pauses.requested_pause(error, ordinary=self._context.timing.throttled)
        if self._memory.suspects.may_reconnect_at_once() and requested is None:
            return 0.0
        reason += self._logins.persistence_note(error)
        timing, since = self._context.timing, self._established_at
        # The next connection does without an ID that has ended one. If it fails as well, ID was not the cause.
        self._says_id = not isinstance(error, IdRefused) and (self._says_id or since is None)
        if since is not None and asyncio.get_running_loop().time() - since >= timing.settled:
            self._backoff.reset()
        failed_login = self._logins.failed_pause()
        pause = self._backoff.next() if failed_login is None else failed_login
        if requested is not None:
            pause += requested
            reason = f"{reason} (next attempt in {pause:.0f} s)"
            await self._record_status(StatusChange.THROTTLED, reason, retry_in=pause)
        elif self._backoff.failures + self._logins.failures > 1:  # a single lost connection is normal
            stored = failed_login if failed_login and failed_login >= LEAST_STORED_PAUSE_SECONDS else None
            await self._record_status(StatusChange.CONNECTION_LOST, reason, retry_in=stored)
        return pause

    async def _suspended(self, error: BaseException) -> float:
        """Record that the mail server exceeds its bounds; return the seconds until the next connection."""
        is_growing = isinstance(error, ServerSuspended)
        suspensions = self._suspensions
        pause = suspensions.suspend(now=time.monotonic()) if is_growing else suspensions.pause()
        log.warning("mail server suspended: %s", error, extra={"user_id": self._user_id})
        reason = f"the mail server sends too much: {error} (next attempt in {pause:.0f} s)"
        await self._record_status(StatusChange.SUSPENDED, reason, retry_in=pause)
        return pause

    async def _held(self, error: BacklogFull) -> float:
        """Record that the partner's backlog is full; return the seconds until it is looked at again."""
        pause = HOLD_PAUSE_SECONDS * random.uniform(0.5, 1.0)  # noqa: S311 - no secret
        log.info("session held: %s", error, extra={"user_id": self._user_id})
        await self._record_status(StatusChange.SUSPENDED, str(error), retry_in=pause)
        return pause

    async def _record_status(
        self,
        change: StatusChange,
        reason: str,
        *,
        retry_in: float | None = None,
        is_refusal: bool = False,
    ) -> None:
        with contextlib.suppress(*UNAVAILABLE):
            await watching.record_status(
                self._context.pool,
                self._user_id,
                change,
                reason=reason,
                version=self._version,
                retry_in=retry_in,
                is_refusal=is_refusal,
            )
