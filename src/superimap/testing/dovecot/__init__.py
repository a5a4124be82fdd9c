"""A real IMAP server: Debian's Dovecot, run as ordinary processes. `DovecotServer` starts and stops it."""

from superimap.testing.dovecot.server import DovecotServer, raise_inotify_limit

__all__ = ["DovecotServer", "raise_inotify_limit"]
