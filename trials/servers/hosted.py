"""The interface of a mail server under test, and what those in a private root have in common."""

from __future__ import annotations

import contextlib
import imaplib
import shutil
import smtplib
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from trials.faults.fault_run import free_port
from trials.servers.private_root import PrivateProcesses, unpacked, wait_until

PASSWORD = "planted-password-7f3a"
PASSWORD_HASH = (
    "$6$superimap$IbRAYrsZ7AN3aXG7WXkGn/vYnyRtDmkdAXnC6d45XgUwJcSzn7CQ/h7jWLmCvWdKYu44wm47r21IE9BnG.vk00"
)
"""PASSWORD as crypt(3) has it."""
START_SECONDS = 20.0
ANSWER_SECONDS = 20.0


class TestedServer(ABC):
    """A mail server with users that all have the password PASSWORD. Methods block."""

    name: ClassVar[str]
    host = "127.0.0.1"
    folder_prefix: ClassVar[str] = ""
    """What the name of a folder besides INBOX begins with."""

    def __init__(self) -> None:
        self.port = free_port()

    @abstractmethod
    def prepare(self, users: list[str]) -> None:
        """Write the server's files, with these users; before the first start."""

    @abstractmethod
    def start(self) -> None:
        """Start the server on the same port with the same mail, and wait until it answers."""

    @abstractmethod
    def kill(self) -> None:
        """kill -9 of all its processes."""

    @abstractmethod
    def deliver(self, user: str, raw: bytes) -> None:
        """Deliver a mail to the INBOX by the server's own way. Raises OSError or smtplib.SMTPException."""

    @abstractmethod
    def recreate_inbox(self, user: str) -> None:
        """Delete the INBOX with all its mails, and create an empty one."""

    @contextlib.contextmanager
    def client(self, user: str) -> Iterator[imaplib.IMAP4]:
        """A signed-in client of another make."""
        with imaplib.IMAP4(self.host, self.port, timeout=ANSWER_SECONDS) as client:
            client.login(user, PASSWORD)
            yield client

    def answers(self) -> bool:
        """Whether the server greets."""
        return greets(self.port, b"* OK")


def greets(port: int, words: bytes) -> bool:
    """Whether the server on this port of the loopback greets with these words."""
    try:
        with socket.create_connection((TestedServer.host, port), timeout=5) as connection:
            return connection.recv(len(words)) == words
    except OSError:
        return False


class PrivateServer(TestedServer):
    """A server of Debian packages that are not installed; see private_root."""

    packages: ClassVar[tuple[str, ...]]
    has_lmtp: ClassVar[bool] = True

    def __init__(self, base: Path) -> None:
        """Raises NotInstallable."""
        super().__init__()
        self.lmtp_port = free_port()
        self.base = base
        self.processes = PrivateProcesses(unpacked(self.name, self.packages), base)
        (base / "etc").mkdir(parents=True)

    def write(self, name: str, text: str, *, mode: int = 0o644) -> None:
        """Write a configuration file below /etc."""
        path = self.base / "etc" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)

    def add_system_users(self, passwd: str, *, group: str = "") -> None:
        """Add lines to /etc/passwd and /etc/group as the server sees them."""
        self.write("passwd", Path("/etc/passwd").read_text() + passwd)
        self.write("group", Path("/etc/group").read_text() + group)

    @property
    @abstractmethod
    def script(self) -> str:
        """The shell script that starts the server within its private root."""

    def start(self) -> None:
        """See TestedServer."""
        self.processes.start(self.script)
        wait_until(
            lambda: self.processes.has_ended() or self.answers(),
            START_SECONDS,
            f"{self.name} does not answer",
        )
        if self.processes.has_ended():
            raise RuntimeError(f"{self.name} ended: {self.log[-2000:]}")

    def kill(self) -> None:
        """See TestedServer."""
        self.processes.kill()
        wait_until(lambda: not self.answers(), START_SECONDS, f"{self.name} still answers")

    def answers(self) -> bool:
        """Whether the servers for IMAP and LMTP greet."""
        return super().answers() and (not self.has_lmtp or greets(self.lmtp_port, b"220"))

    @property
    def log(self) -> str:
        """The output of the server."""
        return (self.base / "log").read_text(errors="replace")

    def deliver_by_lmtp(self, user: str, raw: bytes) -> None:
        """Deliver a mail by LMTP (RFC 2033)."""
        with smtplib.LMTP(self.host, self.lmtp_port, timeout=ANSWER_SECONDS) as client:
            client.sendmail("fred@example.com", [user], raw)


def remove(path: Path) -> None:
    """Delete a file or a folder with its content."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
