"""GNU mailutils imap4d: mboxes that mailutils' own LMTP server delivers to."""

from __future__ import annotations

import os

from trials.servers.hosted import PASSWORD_HASH, PrivateServer, remove

_FIRST_USER_ID = 21000

_MAILBOX = """
mailbox {{
  mail-spool {base}/spool;
  mailbox-type mbox;
}}
logging {{
  syslog no;
}}
tcp-wrappers {{
  enable no;
}}
auth {{
  authentication clear;
  authentication generic;
  authorization clear;
  authorization system;
}}
"""

_IMAP4D = """
mode daemon;
foreground yes;
login-disabled no;
max-children 200;
timeout 1800;
server 127.0.0.1:{port} {{
  tls-mode false;
}}
"""

_LMTPD = """
mode daemon;
foreground yes;
max-children 50;
listen inet://127.0.0.1:{lmtp_port};
"""


class Mailutils(PrivateServer):
    """GNU mailutils imap4d."""

    name = "mailutils"
    packages = ("mailutils-imap4d", "mailutils-mda")

    def prepare(self, users: list[str]) -> None:
        """See TestedServer."""
        self._users = {user: _FIRST_USER_ID + number for number, user in enumerate(users)}
        self.add_system_users(
            "".join(
                f"{user}:{PASSWORD_HASH}:{number}:8::{self.base}/home/{user}:/bin/false\n"
                for user, number in self._users.items()
            )
        )
        mailbox = _MAILBOX.format(base=self.base)
        self.write("imap4d.conf", mailbox + _IMAP4D.format(port=self.port))
        self.write("lmtpd.conf", mailbox + _LMTPD.format(lmtp_port=self.lmtp_port))
        (self.base / "spool").mkdir(mode=0o777)
        (self.base / "spool").chmod(0o1777)
        for user, number in self._users.items():
            home = self.base / "home" / user
            home.mkdir(parents=True)
            os.chown(home, number, 8)
            self._make_spool(user)

    def _make_spool(self, user: str) -> None:
        path = self.base / "spool" / user
        path.touch(mode=0o600)
        os.chown(path, self._users[user], 8)

    @property
    def script(self) -> str:
        """See PrivateServer."""
        return (
            "/usr/sbin/lmtpd --no-site-config --config-file=/etc/lmtpd.conf &\n"
            "exec /usr/sbin/imap4d --no-site-config --config-file=/etc/imap4d.conf"
        )

    def deliver(self, user: str, raw: bytes) -> None:
        """See TestedServer."""
        self.deliver_by_lmtp(user, raw)

    def recreate_inbox(self, user: str) -> None:
        """See TestedServer."""
        remove(self.base / "spool" / user)
        self._make_spool(user)
