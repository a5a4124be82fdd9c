"""Dovecot as distributions configure it: mail arrives in the Maildir."""

from __future__ import annotations

from pathlib import Path

from superimap.testing.dovecot import DovecotServer, is_installed, raise_inotify_limit
from trials.servers.hosted import PASSWORD, TestedServer, remove
from trials.servers.private_root import NotInstallable


class Dovecot(TestedServer):
    """Debian's Dovecot, which the test suite installs."""

    name = "dovecot"

    def __init__(self, base: Path) -> None:
        """Raises NotInstallable."""
        super().__init__()
        if not is_installed():
            raise NotInstallable("Dovecot is not installed: apt-get install dovecot-imapd")
        self._base = base
        self._server = DovecotServer(base=base, hibernate_after=0)
        self.port = self._server.port

    def prepare(self, users: list[str]) -> None:
        """See TestedServer."""
        raise_inotify_limit()
        self._server.add(dict.fromkeys(users, PASSWORD))

    def start(self) -> None:
        """See TestedServer."""
        self._server.start()

    def kill(self) -> None:
        """See TestedServer."""
        self._server.kill()

    def deliver(self, user: str, raw: bytes) -> None:
        """See TestedServer."""
        self._server.deliver(user, raw)

    def recreate_inbox(self, user: str) -> None:
        """See TestedServer."""
        remove(self._base / "mail" / user / "Maildir")
        self._server.add({user: PASSWORD})
