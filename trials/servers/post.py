"""Mails put into mailboxes in several ways, and read back by a client of another make."""

from __future__ import annotations

import contextlib
import imaplib
import itertools
import re
import smtplib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any

from tests.support.mails import mail
from trials.servers.hosted import TestedServer

WAYS = ("deliver", "append", "copy")
SOURCE = "Elsewhere"
_MESSAGE_ID = re.compile(rb"^Message-ID:\s*<([^>]+)>", re.IGNORECASE | re.MULTILINE)
_ADDED_BY_MBOX = re.compile(rb"^(X-IMAPbase|X-UID|Status|X-Status):.*\r\n", re.IGNORECASE | re.MULTILINE)
_GIVE_UP_SECONDS = 60.0
MAIL_BYTES = 140  # small, because recorded dialogues are in the corpus of the fuzzer


@dataclass(frozen=True)
class Sent:
    """A mail that was put into a mailbox at a time (seconds since 1970)."""

    user: str
    way: str
    phase: str
    at: float


class Failed(Exception):
    """The server did not take a command."""


class Post:
    """Puts mails into the watched folders of one server's users. Methods block, each in a thread of its own."""

    def __init__(self, server: TestedServer, folders: dict[str, str]) -> None:
        """`folders` has the watched folder of each user."""
        self._server = server
        self._folders = folders
        self._numbers = itertools.count()
        self.sent: dict[str, Sent] = {}

    def send(self, user: str, count: int, phase: str, *, pause: float = 0.0) -> None:
        """Put `count` mails into the watched folder, in all ways in turn."""
        ways = WAYS if self._folders[user] == "INBOX" else WAYS[1:]
        for way in itertools.islice(itertools.cycle(ways), count):
            raw = self._new_mail(user, phase)
            id_ = message_id(raw)
            self.sent[id_] = Sent(user, way, phase, time.time())
            self._insist(user, way, raw, id_)
            time.sleep(pause)

    def _new_mail(self, user: str, phase: str) -> bytes:
        """A mail that was written now: GNU mailutils takes INTERNALDATE from the header Date."""
        raw = mail(f"{phase}-{next(self._numbers)}", to=f"{user}@example.com", size=MAIL_BYTES)
        return re.sub(rb"^Date: [^\r]*", b"Date: " + formatdate().encode(), raw)

    def _insist(self, user: str, way: str, raw: bytes, id_: str) -> None:
        """Put one mail there; where the server fails, look for the mail before another attempt."""
        end = time.monotonic() + _GIVE_UP_SECONDS
        while True:
            try:
                self._put(user, way, raw)
                return
            except (OSError, smtplib.SMTPException, imaplib.IMAP4.error, Failed):
                if time.monotonic() > end:
                    raise
            while not self._server.answers():
                time.sleep(0.05)
            time.sleep(0.3)  # a delivery that was accepted has been written
            if id_ in self.contents(user):
                return

    def _put(self, user: str, way: str, raw: bytes) -> None:
        if way == "deliver":
            self._server.deliver(user, raw)
            return
        folder = self._folders[user]
        with self._server.client(user) as client:
            if way == "append":
                _must(client.append(quoted(folder), "", "", raw))
                return
            source = quoted(self._server.folder_prefix + SOURCE)
            client.create(source)  # NO if it exists
            _must(client.append(source, "", "", raw))
            _must(client.select(source))
            (found,) = _must(client.uid("SEARCH", "ALL"))
            last = found.split()[-1].decode()
            verb = "MOVE" if "MOVE" in client.capabilities and int(last) % 2 else "COPY"
            _must(client.uid(verb, last, quoted(folder)))

    def create_folder(self, user: str) -> None:
        """Create the watched folder."""
        with self._server.client(user) as client:
            _must(client.create(quoted(self._folders[user])))

    def recreate_folder(self, user: str) -> None:
        """Delete the watched folder with its mails, and create an empty one."""
        if self._folders[user] == "INBOX":
            self._server.recreate_inbox(user)
            return
        with self._server.client(user) as client:
            _must(client.delete(quoted(self._folders[user])))
            _must(client.create(quoted(self._folders[user])))

    def read_and_delete(self, user: str, count: int) -> None:
        """Open the watched folder as a person's client does, look at all mails and delete the first ones."""
        with self._server.client(user) as client:
            _must(client.select(quoted(self._folders[user])))
            client.uid("FETCH", "1:*", "(FLAGS BODY.PEEK[HEADER])")
            (found,) = _must(client.uid("SEARCH", "ALL"))
            for uid in found.split()[:count]:
                _must(client.uid("STORE", uid.decode(), "+FLAGS", "(\\Deleted)"))
            _must(client.expunge())

    def contents(self, user: str) -> dict[str, bytes]:
        """The mails in the watched folder by Message-ID, without the lines that an mbox adds."""
        with self._examined(user) as client:
            _, data = client.uid("FETCH", "1:*", "(BODY.PEEK[])")
            raws = [part[1] for part in data if isinstance(part, tuple)]
            return {message_id(raw): normal(raw) for raw in raws}

    def count_seen(self, user: str) -> int:
        """The number of mails in the watched folder that are marked as read."""
        with self._examined(user) as client:
            (found,) = _must(client.uid("SEARCH", "SEEN"))
            return len((found or b"").split())

    @contextlib.contextmanager
    def _examined(self, user: str) -> Iterator[imaplib.IMAP4]:
        with self._server.client(user) as client:
            _must(client.select(quoted(self._folders[user]), readonly=True))
            yield client


def message_id(raw: bytes) -> str:
    """The Message-ID of a mail, without brackets; empty if it has none."""
    found = _MESSAGE_ID.search(raw)
    return found[1].decode() if found else ""


def normal(raw: bytes) -> bytes:
    """The mail without the header lines that an mbox server adds and changes."""
    head, gap, body = raw.partition(b"\r\n\r\n")
    return _ADDED_BY_MBOX.sub(b"", head + b"\r\n") + gap[2:] + body


def quoted(name: str) -> str:
    """A folder's name as a quoted string."""
    return f'"{name}"'


def _must(answer: tuple[str, list[Any]]) -> list[Any]:
    """The data of an answer. Raises Failed unless it is OK."""
    status, data = answer
    if status != "OK":
        raise Failed(data)
    return data
