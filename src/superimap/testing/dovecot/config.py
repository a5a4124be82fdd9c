"""Dovecot configuration: ordinary processes, Maildirs, nothing outside of one folder."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

ROOT = os.geteuid() == 0
MAIL_UID = 65534 if ROOT else os.getuid()
MAIL_GID = 65534 if ROOT else os.getgid()

CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
{tls}
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
mail_location = maildir:~/Maildir
mail_max_userip_connections = 100000
maildir_stat_dirs = yes
imap_hibernate_timeout = {hibernate_after}s
shutdown_clients = yes
first_valid_uid = 0
{accounts}
passdb {{
  driver = passwd-file
  args = scheme=PLAIN username_format=%u {base}/users
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={base}/mail/%u
}}
namespace inbox {{
  inbox = yes
  separator = /
  mailbox Drafts {{
    auto = subscribe
    special_use = \\Drafts
  }}
  mailbox Sent {{
    auto = subscribe
    special_use = \\Sent
  }}
  mailbox Junk {{
    auto = subscribe
    special_use = \\Junk
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0  # otherwise a wrong password slows down all clients on 127.0.0.1
  }}
  client_limit = 20000
  {chroot}
}}
service auth {{
  client_limit = 20000
}}
service imap-login {{
  inet_listener imap {{
    port = {port}
  }}
  inet_listener imaps {{
    port = {tls_port}
    ssl = yes
  }}
  service_count = 0
  process_min_avail = 1
  process_limit = 4
  client_limit = 10000
  vsz_limit = 0
  {chroot}
}}
service imap {{
  process_limit = 10000
  service_count = 100
  process_min_avail = 2
  unix_listener imap-master {{
    user = {internal}
  }}
}}
service imap-hibernate {{
  client_limit = 30000
  unix_listener imap-hibernate {{
    mode = 0660
    group = {internal_group}
  }}
}}
service stats {{
  client_limit = 20000
  {chroot}
}}
"""

_TLS = """
ssl = yes
ssl_cert = <{base}/cert.pem
ssl_key = <{base}/key.pem
"""


def configuration(base: Path, *, port: int, tls_port: int, hibernate_after: int) -> str:
    """Return the content of dovecot.conf (Dovecot 2.3), with TLS if `base` contains cert.pem and key.pem.

    A session is hibernated after `hibernate_after` seconds in IDLE.
    """
    us, our_group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    accounts = (
        f"default_internal_user = {us}\ndefault_internal_group = {our_group}\ndefault_login_user = {us}\n"
    )
    has_tls = (base / "cert.pem").exists()
    return CONFIGURATION.format(
        base=base,
        tls=_TLS.format(base=base) if has_tls else "ssl = no",
        port=port,
        tls_port=tls_port if has_tls else 0,
        uid=MAIL_UID,
        gid=MAIL_GID,
        accounts="" if ROOT else accounts,
        chroot="" if ROOT else "chroot =",
        internal="$default_internal_user",
        internal_group="$default_internal_group",
        hibernate_after=hibernate_after,
    )
