"""Dovecot for tests: with TLS, and control of its mailboxes and processes."""

from __future__ import annotations

import contextlib
import os
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import trustme

from fixtures.engines import open_folder
from superimap.testing.dovecot import server as dovecot
from superimap.testing.dovecot.server import DOVECOT_PROGRAM, raise_inotify_limit

__all__ = ["DOVECOT_PROGRAM", "Dovecot", "running"]


class Dovecot(dovecot.DovecotServer):
    """A running Dovecot."""

    @property
    def authority(self) -> Path:
        """The file of the authority that signed the certificate (for localhost and 127.0.0.1)."""
        return self.base / "ca.pem"

    def ssl_context(self) -> ssl.SSLContext:
        """A TLS context that trusts the server."""
        return ssl.create_default_context(cafile=str(self.authority))

    def make_certificate(self) -> None:
        """Create a certificate, so that the server offers TLS when it starts."""
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        authority.cert_pem.write_to_path(str(self.authority))
        certificate.private_key_pem.write_to_path(str(self.base / "key.pem"))
        for number, blob in enumerate(certificate.cert_chain_pems):
            blob.write_to_path(str(self.base / "cert.pem"), append=number > 0)

    def kick(self, user: str) -> None:
        """End this user's sessions."""
        self.doveadm("kick", user)

    def flags(self, user: str, *, folder: str = "INBOX") -> dict[str, str]:
        """The Maildir flags of each mail by its name: "" for an untouched mail, "S" for one that was read."""
        maildir = self._maildir(user, folder)
        files = [path.name for sub in ("new", "cur") for path in (maildir / sub).iterdir()]
        return {name.partition(",")[0].partition(":")[0]: name.partition(":2,")[2] for name in files}

    def remove(self, user: str, name: str, *, folder: str = "INBOX") -> None:
        """Remove a mail, as another client's EXPUNGE does."""
        for sub in ("new", "cur"):
            for path in (self._maildir(user, folder) / sub).glob(f"{name}*"):
                path.unlink()

    def set_uidvalidity(self, user: str, value: int, *, folder: str = "INBOX") -> None:
        """Give a folder another UIDVALIDITY, as a restored backup does."""
        self.doveadm("mailbox", "update", "-u", user, "--uid-validity", str(value), folder)

    def doveadm(self, *arguments: str) -> str:
        """Run doveadm on this server."""
        command = ["doveadm", "-c", str(self.base / "dovecot.conf"), *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=20).stdout

    def wait_for_login(self, user: str, password: str) -> None:
        """Wait until a new user can sign in: Dovecot looks at its list of users once in a second of its clock."""
        end = time.monotonic() + 5
        while True:
            try:
                self.doveadm("auth", "test", user, password)
            except subprocess.CalledProcessError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)
            else:
                return

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stop all processes by SIGSTOP: connections stay open, and nothing answers."""
        assert self.pid is not None
        os.killpg(self.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self.pid, signal.SIGCONT)


@contextlib.contextmanager
def running(extra: str = "", **files: str) -> Iterator[Dovecot]:
    """A Dovecot without users, in a temporary folder.

    `extra` settings come last, and take precedence; they may refer to `files` (content by name) in {base}.
    """
    with open_folder("dovecot-") as base:
        server = Dovecot(base=base, extra=extra.replace("{base}", str(base)))
        server.make_certificate()
        for name, content in files.items():
            (base / name).write_text(content)
        raise_inotify_limit()
        try:
            server.start()
            yield server
        finally:
            server.kill()
