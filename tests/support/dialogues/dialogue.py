"""A reported behaviour of a mail server, and what an idler must show in spite of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from superimap.testing import ImapServer
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand

_DATE = formatdate(time.time() + 3600)  # no mail is from before its user was connected, by whatever date
EARLY, LATE = 1, 2
"""UIDs of the mail that is there before the idler starts, and of the one that arrives in the first wait."""


def mail(subject: str = "hello", *, headers: str = "", body: str = "text\r\n") -> bytes:
    """A plain mail. `headers` are further ones, each with its line end."""
    return (
        f"Date: {_DATE}\r\nFrom: Fred <fred@example.com>\r\nTo: joe@example.com\r\n"
        f"Subject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n{headers}\r\n{body}"
    ).encode()


@dataclass(frozen=True)
class Dialogue:
    """One server: `prepare` makes it behave as reported; the rest is required of the idler.

    Mails `early` and `late` are delivered to `folder`, the late one when the client first waits. Those of
    `delivered` must be recorded, byte for byte, as delivered; the status must become `status`, with a reason that
    contains `reason`. `logins` is the most that may be tried.
    """

    number: str
    prepare: Callable[[ImapServer], object]
    early: bytes | None = mail("early")
    late: bytes | None = mail("late")
    delivered: frozenset[int] = frozenset({EARLY, LATE})
    status: str = "watching"
    reason: str = ""
    logins: int = 20
    folder: str = "INBOX"
    provider: dict[str, Any] = field(default_factory=dict)


def refused(number: str, prepare: Callable[[ImapServer], object], **expected: Any) -> Dialogue:
    """A server that lets nobody in."""
    values: dict[str, Any] = {"early": None, "late": None, "delivered": frozenset(), "logins": 3}
    return Dialogue(number, prepare, **values | expected)


def rewriting(pattern: bytes, replacement: bytes | Callable[[re.Match[bytes]], bytes]) -> Hook:
    """Answer as usual, with each match of `pattern` replaced."""

    async def hook(session: FakeSession, command: ClientCommand) -> bytes:
        return re.sub(pattern, replacement, session.usual_answer(command), flags=re.DOTALL)

    return hook


def announced(*lines: bytes) -> Hook:
    """Send these lines before the usual answer."""

    async def hook(session: FakeSession, _command: ClientCommand) -> None:
        session.send(b"".join(line + b"\r\n" for line in lines))

    return hook


def on(command: str, *hooks: Hook) -> Callable[[ImapServer], None]:
    """Use these hooks for a command."""

    def prepare(imap: ImapServer) -> None:
        for hook in hooks:
            imap.on(command, hook)

    return prepare


def all_of(*parts: Callable[[ImapServer], object]) -> Callable[[ImapServer], None]:
    """Prepare a server in several ways."""

    def prepare(imap: ImapServer) -> None:
        for part in parts:
            part(imap)

    return prepare


def greeted(greeting: bytes) -> Callable[[ImapServer], None]:
    """Greet with these bytes."""

    def prepare(imap: ImapServer) -> None:
        imap.greeting = greeting

    return prepare


def offering(*capabilities: str) -> Callable[[ImapServer], None]:
    """Offer these capabilities only."""

    def prepare(imap: ImapServer) -> None:
        imap.capabilities = list(capabilities)

    return prepare


def is_about(command: ClientCommand, item: str) -> bool:
    """Whether a FETCH asks for `item`."""
    return item.encode() in repr(command.arguments).encode()
