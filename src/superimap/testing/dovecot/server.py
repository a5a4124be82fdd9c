"""A real IMAP server: Debian's Dovecot (`apt-get install dovecot-imapd`) as ordinary processes of our own.

It takes plain text on `port`, keeps Maildirs, and makes users as they are asked for. To a client that has been in
IDLE for a second (it is "hibernated" then) it announces a new mail 15 ms after its delivery, and before that after
500 ms. What comes in the half second before it hibernates is announced with the next mail only (seen with 2.3.19).
"""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from superimap.testing.dovecot.config import MAIL_GID, MAIL_UID, ROOT, configuration

DOVECOT_PROGRAM = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
INOTIFY_INSTANCES = Path("/proc/sys/fs/inotify/max_user_instances")
"""Dovecot takes one per watched mailbox; the default is 128."""

_PATIENCE = 10.0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class DovecotServer:
    """A Dovecot in the folder `base`, which any user may enter. Its ports stay the same over kill() and start().

    It hibernates a session after `hibernate_after` seconds of IDLE. On `tls_port` it takes TLS, and on `port`
    STARTTLS, if `base` holds cert.pem and key.pem. Settings in `extra` come last, so they win.
    """

    base: Path
    port: int = field(default_factory=_free_port)
    tls_port: int = field(default_factory=_free_port)
    host: str = "127.0.0.1"
    hibernate_after: int = 1
    extra: str = ""
    _process: subprocess.Popen[bytes] | None = None
    _passwords: dict[str, str] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=itertools.count)

    # Users.

    def add_user(self, user: str = "", password: str = "secret") -> str:  # noqa: S107 - of a test
        """Make a user, under a fresh name if none is given, or change its password; returns the name."""
        user = user or self._fresh_name()
        self.add({user: password})
        return user

    def add_users(self, passwords: Sequence[str]) -> list[str]:
        """Make a user for each of these passwords, at one go; returns their names."""
        users = {self._fresh_name(): password for password in passwords}
        self.add(users)
        return list(users)

    def add(self, users: Mapping[str, str]) -> None:
        """Make these users, or change their passwords, by name."""
        self._passwords.update(users)
        self._write_users()
        for user in users:
            self._maildir(user, "INBOX")

    def remove_user(self, user: str) -> None:
        """No further login of this user succeeds; sessions go on."""
        del self._passwords[user]
        self._write_users()

    # Mail.

    def deliver(
        self, user: str, raw: bytes, *, folder: str = "INBOX", flags: str = "", date: datetime | None = None
    ) -> str:
        """Put a mail into a folder as a delivery agent does: written to tmp, renamed into new.

        `date` becomes its INTERNALDATE. `flags` are Maildir letters ("S" for seen).
        Returns the name of its file, up to the flags.
        """
        maildir = self._maildir(user, folder)
        name = f"{time.time_ns()}.{os.getpid()}_{next(self._count)}.test"
        path = maildir / "tmp" / name
        path.write_bytes(raw)
        if ROOT:
            os.chown(path, MAIL_UID, MAIL_GID)
        if date is not None:
            os.utime(path, (date.timestamp(), date.timestamp()))
        path.rename(maildir / "cur" / f"{name}:2,{flags}" if flags else maildir / "new" / name)
        return name

    # The process.

    @property
    def pid(self) -> int | None:
        """The process that all its others descend from, and whose process group they are."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it, and wait until it accepts connections. Raises RuntimeError with the end of its log."""
        if DOVECOT_PROGRAM is None:
            raise RuntimeError("Dovecot is not installed: apt-get install dovecot-imapd")
        self._own_folder(self.base / "mail")
        self._write_users()
        (self.base / "dovecot.conf").write_text(
            configuration(
                self.base, port=self.port, tls_port=self.tls_port, hibernate_after=self.hibernate_after
            )
            + self.extra
        )
        with (self.base / "dovecot.log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - our own configuration
                [DOVECOT_PROGRAM, "-F", "-c", str(self.base / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=_die_with_us,  # noqa: PLW1509 - one system call
            )
        end = time.monotonic() + _PATIENCE
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Dovecot does not start: {self.log[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it; connections are closed with a BYE."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self.kill()

    def kill(self) -> None:
        """Kill -9 every process of it: connections end without a word."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._forget_sockets()

    def restart(self) -> None:
        """Kill it and start it again, on the same ports with the same mail."""
        self.kill()
        self.start()

    @property
    def log(self) -> str:
        """What it has to say."""
        return (self.base / "dovecot.log").read_text()

    def _forget_sockets(self) -> None:
        """Once the children are dead, too: a socket that answers would mean that it is running already."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            with socket.socket() as port, socket.socket() as tls_port:
                if port.connect_ex((self.host, self.port)) and tls_port.connect_ex(
                    (self.host, self.tls_port)
                ):
                    break
            time.sleep(0.005)
        shutil.rmtree(self.base / "run", ignore_errors=True)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                return connection.recv(4) == b"* OK"
        except OSError:
            return False

    # Its folder.

    def _fresh_name(self) -> str:
        return f"user{next(self._count)}@example.org"

    def _maildir(self, user: str, folder: str) -> Path:
        maildir = self.base / "mail" / user / "Maildir"
        if folder != "INBOX":
            maildir /= "." + folder.replace("/", ".")
        if not (maildir / "tmp").is_dir():
            for sub in ("cur", "new", "tmp"):
                self._own_folder(maildir / sub)
        return maildir

    def _own_folder(self, folder: Path) -> None:
        if folder != self.base and not folder.is_dir():
            self._own_folder(folder.parent)
            folder.mkdir(mode=0o700)
            if ROOT:
                os.chown(folder, MAIL_UID, MAIL_GID)

    def _write_users(self) -> None:
        path = self.base / "users"
        making = path.with_suffix(".new")
        making.write_text("".join(f"{user}:{{PLAIN}}{secret}\n" for user, secret in self._passwords.items()))
        making.chmod(0o644)
        stamp = 1_000_000_000 + next(
            self._count
        )  # it reads the file again when its time in seconds or size differ
        os.utime(making, (stamp, stamp))
        making.replace(path)


def raise_inotify_limit(mailboxes: int = 8192) -> bool:
    """Let Dovecot watch so many mailboxes, if we may; whether it can now."""
    with contextlib.suppress(OSError, ValueError):
        if int(INOTIFY_INSTANCES.read_text()) < mailboxes:
            INOTIFY_INSTANCES.write_text(str(mailboxes))
        return int(INOTIFY_INSTANCES.read_text()) >= mailboxes
    return False


def _die_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
