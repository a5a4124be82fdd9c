"""A real IMAP server: Debian's Dovecot, run as ordinary processes. `DovecotServer` starts and stops it."""

from superimap.testing.dovecot.server import DovecotServer, is_installed, raise_inotify_limit

__all__ = ["DovecotServer", "is_installed", "raise_inotify_limit"]
