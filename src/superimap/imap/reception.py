"""Reception: cuts what the server sends into responses, and hands each to whom it is for."""

from collections.abc import Callable

from superimap.imap.command import Command
from superimap.imap.errors import ImapError, LimitExceeded, OutOfSync, ProtocolError
from superimap.imap.folder_news import FolderNews
from superimap.imap.framing import Framer
from superimap.imap.held_memory import HeldMemory
from superimap.imap.link import Link
from superimap.imap.peer import Peer
from superimap.imap.response import Response
from superimap.imap.server_state import ServerState, tidied
from superimap.imap.state import AUTH, NONAUTH, SELECTED, STARTED, MailboxState
from superimap.imap.statuses import decode_text
from superimap.imap.types import Limits

MAX_STRAY_LINES = 50
"""Lines of a connection that are no responses, after which it is out of step."""
MAX_CODE_BYTES = 64
"""Beginning of an untagged response in which the end of announcements is looked for."""
BANNER_SECONDS = 1.0
"""Time between a line in front of the greeting and the greeting."""


class Reception(Link):
    """The reading side of a connection: untagged responses, and the memory that input takes."""

    news: FolderNews | None = None
    """Announcements of other mailboxes. Of the class, so that connections without them pay nothing for it."""

    def __init__(self, limits: Limits, peer: Peer, clean: Callable[[ImapError], ImapError]) -> None:
        super().__init__(clean)
        self.state = STARTED
        self.peer = peer
        self.last_proven_alive: float = self.loop.time()
        self._server = ServerState()
        self._memory = None if peer.room is None else HeldMemory(peer.room)
        self._limits = limits
        self._framer = Framer(limits)
        self._pending: Command | None = None
        self._strays = 0  # lines that are no responses
        self._banner = b""  # the first one in front of the greeting
        self._idling = False  # the server has answered "+" to IDLE
        self._drops_input = False  # input is dropped between the OK to STARTTLS and TLS

    @property
    def capabilities(self) -> frozenset[str]:
        """The capabilities that the server listed last, in capitals."""
        return self._server.capabilities

    @property
    def greeting(self) -> str | None:
        """OK, PREAUTH or BYE; None before the greeting."""
        return self._server.greeting

    @property
    def needs_select(self) -> bool:
        """Whether the greeting names a server that shows new mail only in a mailbox opened by SELECT."""
        return self._server.needs_select

    @property
    def mailbox(self) -> MailboxState:
        """The state of the open mailbox."""
        return self._server.mailbox

    @property
    def has_news(self) -> bool:
        """Whether the open mailbox has messages that no search covers, or another one was announced."""
        return self.mailbox.has_news or (self.news is not None and self.news.is_pending)

    def data_received(self, data: bytes | memoryview) -> None:
        """Handle all complete responses. # upstream: recursed for each line, and formatted all data for a log"""
        self.last_proven_alive = self.loop.time()
        try:
            for response in () if self._drops_input or self.lost else self._framer.feed(data):
                self._handle(response)
                if self._drops_input or self.lost:
                    self._framer.reset()
                    break
            self._account()
        except ImapError as error:
            self.fail(error)
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        """Handle a last line without an end, such as a BYE, and fail all waiters."""
        if self.lost is None and not self._drops_input and (rest := self._framer.rest()):
            try:
                self._handle(Response((rest,)))
            except ImapError as error:
                self.fail(error)
        if self._server.greeting is None and self._banner:
            self._refuse_banner()
        super().connection_lost(exc)

    def _account(self) -> None:
        """Tell the peer's room how much memory the connection takes. Raises LimitExceeded."""
        if self._memory is not None and self.lost is None:
            self._memory.update(self._framer, 0 if self._pending is None else self._pending.weight)

    def give_up_room(self, error: LimitExceeded) -> None:
        """End the connection with `error`, because others need its memory."""
        error.announced = self._framer.announced
        self.fail(error)

    def keep(self, size: int | None = None) -> None:
        """Stop accounting for the latest answer; account for `size` bytes made of it until the next `size`."""
        if self._memory is None:
            return
        self._memory.keep(size)
        try:
            self._account()
        except LimitExceeded as error:
            self.fail(error)
            raise

    def _give_up(self, error: ImapError) -> None:
        self._framer.reset()
        if self._pending is not None:
            self._pending.fail(error)
        self._pending, self._idling = None, False
        if self._memory is not None:
            self._memory.release()

    def _handle(self, response: Response) -> None:
        line = response.line
        if self.transcript is not None:
            self.transcript.received(response)
        if self._server.greeting is not None and line.startswith(b"* "):
            self._untagged(response)
        elif not line.strip():  # a stray blank line is harmless
            return
        elif self._server.greeting is None and not line.startswith(b"*"):
            self._await_greeting(line)
        elif self._server.greeting is None:
            self._server.take_greeting(line)
            self.state = AUTH if self._server.greeting == "PREAUTH" else NONAUTH
        elif line.startswith(b"*"):
            self._untagged(tidied(response))
        elif line.startswith(b"+"):
            self._continuation(line)
        else:
            self._response_done(line)

    def _pass_over(self, line: bytes) -> None:
        """Pass over a line that is no response: texts of some servers have several. Raises OutOfSync."""
        self._strays += 1
        if self._strays > MAX_STRAY_LINES:
            raise OutOfSync(f"not an answer to {self._pending or 'anything'}: {decode_text(line, 40)!r}")

    def _await_greeting(self, line: bytes) -> None:
        """Pass over a line in front of the greeting. If no greeting comes soon, the server speaks no IMAP."""
        self._pass_over(line)
        if not self._banner:
            self._banner = line[:80]
            self.loop.call_later(BANNER_SECONDS, self._refuse_banner)

    def _refuse_banner(self) -> None:
        if self._server.greeting is None and self.lost is None:
            self.fail(ProtocolError(f"no IMAP greeting: {decode_text(self._banner, 80)!r}"))

    def _untagged(self, response: Response) -> None:
        """Let the server's state take it, and pass data to the command."""
        command = self._pending
        if self.news is not None and b"[NOTIFICATIONOVERFLOW]" in response.line[:MAX_CODE_BYTES].upper():
            self.news.end()
        name, response = self._server.take_untagged(
            response, during="" if command is None else command.name, selected=self.state == SELECTED
        )
        if command is not None and name in command.wanted:
            command.collect(response, self._limits)
        elif self.news is not None and name in (b"STATUS", b"LIST"):
            self.news.read(name, response)

    def _continuation(self, line: bytes) -> None:
        """Handle the server's "+"."""
        raise NotImplementedError

    def _response_done(self, line: bytes) -> None:
        """Handle a tagged response."""
        raise NotImplementedError
