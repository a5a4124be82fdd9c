"""Reports of a session's state to PostgreSQL, as the status of the user."""

import asyncio
import contextlib

from superimap.db.postgres import UNAVAILABLE
from superimap.db.watching import sessions as queries
from superimap.db.watching.sessions import WatchedUser
from superimap.idler.context import IdlerContext
from superimap.imap.client import ImapClient

LONG_CATCH_UP_MAILS = 100
"""Mails in one catch-up above which it is reported that the session lags."""


class ConnectionStatus:
    """Whether one connection is established, and whether it lags: its catch-up takes long."""

    __slots__ = ("_catch_up_began", "_client", "_context", "_is_lagging", "_is_new", "_notes", "_watched")

    def __init__(self, context: IdlerContext, watched: WatchedUser, client: ImapClient) -> None:
        self._context = context
        self._client = client
        self._watched = watched
        self._is_new = True  # nothing is reported yet
        self._is_lagging = False
        self._notes: dict[str, str] = {}
        self._catch_up_began = 0.0  # by the event loop's clock

    async def report_established(self) -> None:
        """Report that the session is established and has caught up."""
        await self._report(is_lagging=False)

    async def note(self, subject: str, text: str | None) -> None:
        """Report a peculiarity of the established session as the reason of its status; None withdraws it."""
        if self._notes.get(subject) == text:
            return
        self._notes.pop(subject, None)
        if text is not None:
            self._notes[subject] = text
        if not self._is_new:
            with contextlib.suppress(*UNAVAILABLE):
                await self._report(is_lagging=self._is_lagging)

    def begin_catch_up(self) -> None:
        """Start the clock of a catch-up."""
        self._catch_up_began = asyncio.get_running_loop().time()

    async def report_if_lagging(self, mails: int) -> None:
        """Report once per catch-up that it takes long, by its `mails` or by the clock. Most cost no statement."""
        if self._is_lagging:
            return
        seconds = asyncio.get_running_loop().time() - self._catch_up_began
        if mails > LONG_CATCH_UP_MAILS or seconds > self._context.timing.lag:
            with contextlib.suppress(*UNAVAILABLE):
                await self._report(is_lagging=True)

    async def report_caught_up(self) -> None:
        """Report that the session has caught up, if it was reported to lag."""
        if self._is_lagging:
            with contextlib.suppress(*UNAVAILABLE):
                await self._report(is_lagging=False)

    def of_folder(self, name: str) -> "FolderStatus":
        """Return the status for the visit of one of several folders: its notes name the folder."""
        return FolderStatus(self, name)

    async def _report(self, *, is_lagging: bool) -> None:
        is_new = self._is_new
        self._is_new, self._is_lagging = False, is_lagging
        await queries.record_established(
            self._context.pool,
            self._watched.user_id,
            version=self._watched.version,
            is_new=is_new,
            proven_ago=asyncio.get_running_loop().time() - self._client.last_proven_alive,
            lags=is_lagging,
            reason="; ".join(self._notes.values()) or None,
        )


class FolderStatus(ConnectionStatus):
    """The status of a connection during the visit of one of several folders."""

    __slots__ = ("_connection", "_name")

    def __init__(self, connection: ConnectionStatus, name: str) -> None:
        self._connection = connection
        self._name = name

    async def note(self, subject: str, text: str | None) -> None:
        """Report a peculiarity of the folder. That of deferred mails concerns all folders."""
        if subject == "deferred":
            await self._connection.note(subject, text)
        else:
            named = None if text is None else f"{self._name}: {text}"
            await self._connection.note(f"{subject} of {self._name}", named)

    def begin_catch_up(self) -> None:
        """Start the clock of a catch-up."""
        self._connection.begin_catch_up()

    async def report_if_lagging(self, mails: int) -> None:
        """Report once per catch-up that it takes long."""
        await self._connection.report_if_lagging(mails)

    async def report_caught_up(self) -> None:
        """Report that the session has caught up, if it was reported to lag."""
        await self._connection.report_caught_up()

    async def report_established(self) -> None:
        """Do nothing: the session is established once all folders have caught up."""
