"""Cyrus IMAP: mail arrives by LMTP, and accounts are created by the administrator over IMAP."""

from __future__ import annotations

import os

from trials.servers.hosted import PASSWORD, PrivateServer

_IMAPD_CONF = """
configdirectory: {base}/conf
proc_path: {base}/conf/proc
mboxname_lockpath: {base}/conf/lock
defaultpartition: default
partition-default: {base}/spool
sievedir: {base}/sieve
servername: localhost
admins: cyrus
unixhierarchysep: yes
altnamespace: yes
virtdomains: off
allowplaintext: yes
sasl_pwcheck_method: auxprop
sasl_auxprop_plugin: sasldb
sasl_sasldb_path: {base}/sasldb2
sasl_mech_list: PLAIN
idlesocket: {base}/conf/socket/idle
lmtp_downcase_rcpt: yes
tls_server_cert: disabled
tls_server_key: disabled
"""

_CYRUS_CONF = """
START {{
  recover cmd="ctl_cyrusdb -r"
}}
SERVICES {{
  imap cmd="imapd" listen="127.0.0.1:{port}" prefork=1
  lmtp cmd="lmtpd -a" listen="127.0.0.1:{lmtp_port}"
}}
DAEMON {{
  idled cmd="idled"
}}
"""

_USER_ID, _GROUP_ID = 65533, 8  # any free number; Debian's group mail


class Cyrus(PrivateServer):
    """Cyrus IMAP, with folders beside the INBOX (altnamespace)."""

    name = "cyrus"
    packages = ("cyrus-imapd", "sasl2-bin")

    def prepare(self, users: list[str]) -> None:
        """See TestedServer."""
        self.write("imapd.conf", _IMAPD_CONF.format(base=self.base))
        self.write("cyrus.conf", _CYRUS_CONF.format(port=self.port, lmtp_port=self.lmtp_port))
        self.add_system_users(f"cyrus:x:{_USER_ID}:{_GROUP_ID}::/:/bin/false\n")
        for folder in ("conf/socket", "conf/proc", "conf/lock", "conf/db", "conf/ptclient", "spool", "sieve"):
            (self.base / folder).mkdir(parents=True)
        accounts = " ".join(["cyrus", *users])
        self.processes.run(
            f"for user in {accounts}; do"
            f" printf %s '{PASSWORD}' | saslpasswd2 -p -c -f {self.base}/sasldb2 -u localhost $user; done"
        )
        for path in (self.base, *self.base.rglob("*")):
            if "etc" not in path.relative_to(self.base).parts:
                os.chown(path, _USER_ID, _GROUP_ID)
        self._users = users

    @property
    def script(self) -> str:
        """See PrivateServer."""
        return "exec /usr/lib/cyrus/bin/master -D"

    def start(self) -> None:
        """See TestedServer. The first start creates the accounts."""
        super().start()
        with self.client("cyrus") as admin:
            for user in self._users:
                admin.create(f"user/{user}")  # NO if it exists

    def deliver(self, user: str, raw: bytes) -> None:
        """See TestedServer."""
        self.deliver_by_lmtp(user, raw)

    def recreate_inbox(self, user: str) -> None:
        """See TestedServer. The administrator deletes the account."""
        with self.client("cyrus") as admin:
            admin.setacl(f"user/{user}", "cyrus", "lrswipkxtecda")
            answer, text = admin.delete(f"user/{user}")
            assert answer == "OK", text
            answer, text = admin.create(f"user/{user}")
            assert answer == "OK", text
