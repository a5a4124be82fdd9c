"""Dovecot, a real IMAP server: Debian's (`apt-get install dovecot-imapd`), run as ordinary child processes.

It listens for plain text on `port`, keeps mail in Maildirs, and creates users on demand. To a client that has been
in IDLE for a second, and is then "hibernated", it announces a new mail 15 ms after the delivery; before that,
after 500 ms. A mail delivered in the half second before hibernation is announced only with the next one (seen in
2.3.19).
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
"""Dovecot needs one inotify instance per watched mailbox; the default limit is 128."""

_START_SECONDS = 10.0


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@dataclass
class DovecotServer:
    """A Dovecot in the folder `base`, which every user must be able to enter. kill() and start() keep its ports.

    It hibernates a session after `hibernate_after` seconds of IDLE. If `base` contains cert.pem and key.pem it
    offers TLS on `tls_port`, and STARTTLS on `port`. Settings in `extra` come last, and take precedence.
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

    def add_user(self, user: str = "", password: str = "secret") -> str:  # noqa: S107 - for tests
        """Create a user, by default with a fresh name, or change the password of a user; return the name."""
        user = user or self._fresh_name()
        self.add({user: password})
        return user

    def add_users(self, passwords: Sequence[str]) -> list[str]:
        """Create one user for each of these passwords, in one step; return their names."""
        users = {self._fresh_name(): password for password in passwords}
        self.add(users)
        return list(users)

    def add(self, users: Mapping[str, str]) -> None:
        """Create these users, or change their passwords."""
        self._passwords.update(users)
        self._write_users()
        for user in users:
            self._maildir(user, "INBOX")

    def remove_user(self, user: str) -> None:
        """Remove a user: further logins fail, established sessions continue."""
        del self._passwords[user]
        self._write_users()

    # Mail.

    def deliver(
        self, user: str, raw: bytes, *, folder: str = "INBOX", flags: str = "", date: datetime | None = None
    ) -> str:
        """Deliver a mail to a folder as a delivery agent does: write it to tmp, rename it into new.

        `date` becomes its INTERNALDATE. `flags` are Maildir letters ("S" is seen). Returns the name of its file,
        without the flags.
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
        """The main process; all other processes of Dovecot are its children, and in its process group."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start Dovecot, and wait until it accepts connections. Raises RuntimeError with the end of its log."""
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
            self._process = subprocess.Popen(  # noqa: S603 - a fixed command
                [DOVECOT_PROGRAM, "-F", "-c", str(self.base / "dovecot.conf")],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call
            )
        end = time.monotonic() + _START_SECONDS
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(f"Dovecot does not start: {self.log[-2000:]}")
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop Dovecot; connections are closed with a BYE."""
        if self._process is not None:
            self._process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            self.kill()

    def kill(self) -> None:
        """Kill every process of Dovecot by SIGKILL; connections end without a BYE."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None
            self._forget_sockets()

    def restart(self) -> None:
        """Kill Dovecot and start it again, on the same ports with the same mail."""
        self.kill()
        self.start()

    @property
    def log(self) -> str:
        """The content of the log file."""
        return (self.base / "dovecot.log").read_text()

    def _forget_sockets(self) -> None:
        """Remove the sockets once all children have ended: Dovecot takes a live socket for a running instance."""
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
        # Dovecot reads the file again when its size, or its time in seconds, differs.
        stamp = 1_000_000_000 + next(self._count)
        os.utime(making, (stamp, stamp))
        making.replace(path)


def is_installed() -> bool:
    """Whether this machine has Dovecot."""
    return DOVECOT_PROGRAM is not None


def raise_inotify_limit(mailboxes: int = 8192) -> bool:
    """Raise the kernel's inotify limit to `mailboxes`, if permitted; return whether it is that high."""
    with contextlib.suppress(OSError, ValueError):
        if int(INOTIFY_INSTANCES.read_text()) < mailboxes:
            INOTIFY_INSTANCES.write_text(str(mailboxes))
        return int(INOTIFY_INSTANCES.read_text()) >= mailboxes
    return False


def _end_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
