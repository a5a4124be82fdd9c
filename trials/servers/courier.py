"""Courier IMAP: mail arrives in the Maildir, accounts are in userdb."""

from __future__ import annotations

import itertools
import os
import time

from trials.servers.hosted import PASSWORD_HASH, PrivateServer, remove

_MAIL_ID, _COURIER_ID = 65534, 65533

_SCRIPT = """
umask 022
mkdir -p /run/courier/authdaemon
chmod 0755 /run/courier/authdaemon
set -a
. /etc/courier/authdaemonrc
. /etc/courier/imapd
IMAP_STARTTLS=NO
/usr/lib/courier/courier-authlib/authdaemond &
exec /usr/sbin/couriertcpd -address=127.0.0.1 -maxprocs=200 -maxperip=200 -nodnslookup -noidentlookup \
    {port} /usr/lib/courier/courier/imaplogin /usr/bin/imapd Maildir
"""


class Courier(PrivateServer):
    """Courier IMAP, whose folders are below the INBOX."""

    name = "courier"
    packages = ("courier-imap",)
    has_lmtp = False
    folder_prefix = "INBOX."

    def prepare(self, users: list[str]) -> None:
        """See TestedServer."""
        self._numbers = itertools.count()
        self.add_system_users(
            f"courier:x:{_COURIER_ID}:{_COURIER_ID}::/:/bin/false\n", group=f"courier:x:{_COURIER_ID}:\n"
        )
        self.write("courier/authdaemonrc", 'authmodulelist="authuserdb"\ndaemons=2\n')
        mails = self.base / "mail"
        self.write(
            "courier/userdb",
            "".join(
                f"{user}\tuid={_MAIL_ID}|gid={_MAIL_ID}|home={mails / user}|mail={mails / user / 'Maildir'}"
                f"|systempw={PASSWORD_HASH}|imappw={PASSWORD_HASH}\n"
                for user in users
            ),
            mode=0o600,
        )
        self._make_user_database()
        for user in users:
            self._make_maildir(user)

    def _make_user_database(self) -> None:
        """Make the databases of userdb; makeuserdb writes beside its source, and /etc is read-only."""
        etc = self.base / "etc/courier"
        self.processes.run(f"mount --bind {etc} {etc}; makeuserdb -f {etc}/userdb")

    def _make_maildir(self, user: str) -> None:
        maildir = self.base / "mail" / user / "Maildir"
        for folder in ("cur", "new", "tmp"):
            (maildir / folder).mkdir(parents=True, exist_ok=True)
        for path in (maildir.parent, maildir, *maildir.iterdir()):
            os.chown(path, _MAIL_ID, _MAIL_ID)

    @property
    def script(self) -> str:
        """See PrivateServer."""
        return _SCRIPT.format(port=self.port)

    def deliver(self, user: str, raw: bytes) -> None:
        """See TestedServer. Written to tmp and renamed into new, with LF, as a delivery agent does it."""
        maildir = self.base / "mail" / user / "Maildir"
        name = f"{time.time_ns()}.{next(self._numbers)}.localhost"
        path = maildir / "tmp" / name
        path.write_bytes(raw.replace(b"\r\n", b"\n"))
        os.chown(path, _MAIL_ID, _MAIL_ID)
        path.rename(maildir / "new" / name)

    def recreate_inbox(self, user: str) -> None:
        """See TestedServer. The folder itself stays: it is the working directory of the user's sessions.

        A session whose working directory was deleted shows the old mails for as long as it lasts, also by STATUS.
        """
        maildir = self.base / "mail" / user / "Maildir"
        for path in maildir.iterdir():
            remove(path)
        self._make_maildir(user)
