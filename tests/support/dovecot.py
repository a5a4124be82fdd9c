"""A real IMAP server: Debian's Dovecot as an ordinary process, with a configuration of our own.

It takes plain text with STARTTLS on `port` and TLS on `tls_port`, keeps Maildirs, and makes users as they are
asked for. To a client that has been in IDLE for a second (it is "hibernated" then) it announces a new mail 15 ms
after its delivery, and before that after 500 ms.
"""

from __future__ import annotations

import contextlib
import ctypes
import grp
import itertools
import os
import pwd
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import trustme

from tests.support import open_folder

PROGRAM = shutil.which("dovecot", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
INOTIFY_INSTANCES = Path(
    "/proc/sys/fs/inotify/max_user_instances"
)  # one per watched mailbox; the default is 128
ROOT = os.geteuid() == 0
MAIL_UID = 65534 if ROOT else os.getuid()
MAIL_GID = 65534 if ROOT else os.getgid()

CONFIGURATION = """
base_dir = {base}/run
state_dir = {base}/state
log_path = {base}/dovecot.log
protocols = imap
listen = 127.0.0.1
ssl = yes
ssl_cert = <{base}/cert.pem
ssl_key = <{base}/key.pem
disable_plaintext_auth = no
auth_mechanisms = plain login
auth_failure_delay = 0
auth_username_chars =
mail_location = maildir:~/Maildir
mail_max_userip_connections = 100000
maildir_stat_dirs = yes
imap_hibernate_timeout = 1s
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
    mode = 0  # or a wrong password slows down everybody who comes from 127.0.0.1
  }}
  {chroot}
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
  client_limit = 10000
  unix_listener imap-hibernate {{
    mode = 0660
    group = {internal_group}
  }}
}}
service stats {{
  {chroot}
}}
"""


@dataclass
class Dovecot:
    """A running Dovecot. `host`, `port` and `tls_port` stay the same over kill() and start()."""

    base: Path
    port: int
    tls_port: int
    host: str = "127.0.0.1"
    _process: subprocess.Popen[bytes] | None = None
    _passwords: dict[str, str] = field(default_factory=dict)
    _count: Iterator[int] = field(default_factory=itertools.count)

    @property
    def authority(self) -> Path:
        """The file of the authority that signed its certificate (for localhost and 127.0.0.1)."""
        return self.base / "ca.pem"

    def ssl_context(self) -> ssl.SSLContext:
        """A context that trusts it."""
        return ssl.create_default_context(cafile=str(self.authority))

    # Users.

    def add_user(self, user: str = "", password: str = "secret") -> str:
        """Make a user, under a fresh name if none is given, or change its password; returns the name."""
        user = user or self._fresh_name()
        self._add({user: password})
        return user

    def add_users(self, passwords: Sequence[str]) -> list[str]:
        """Make a user for each of these passwords, at one go; returns their names."""
        users = {self._fresh_name(): password for password in passwords}
        self._add(users)
        return list(users)

    def _fresh_name(self) -> str:
        return f"user{next(self._count)}@example.org"

    def _add(self, users: Mapping[str, str]) -> None:
        self._passwords.update(users)
        self._write_users()
        for user in users:
            for sub in ("cur", "new", "tmp"):
                self._own_folder(self.base / "mail" / user / "Maildir" / sub)

    def remove_user(self, user: str) -> None:
        """No further login of this user succeeds; sessions go on (see `kick`)."""
        del self._passwords[user]
        self._write_users()

    def kick(self, user: str) -> None:
        """End this user's sessions."""
        self.doveadm("kick", user)

    # Mail.

    def deliver(
        self, user: str, raw: bytes, *, folder: str = "INBOX", flags: str = "", date: datetime | None = None
    ) -> str:
        """Put a mail into a folder as a delivery agent does: written to tmp, renamed into new.

        `date` becomes its INTERNALDATE. `flags` are Maildir letters ("S" for seen).
        Returns its name for `flags()`.
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

    def flags(self, user: str, *, folder: str = "INBOX") -> dict[str, str]:
        """The Maildir flags of each mail by its name: "" for an untouched mail, "S" for one that was read."""
        maildir = self._maildir(user, folder)
        files = [path.name for sub in ("new", "cur") for path in (maildir / sub).iterdir()]
        return {name.partition(",")[0].partition(":")[0]: name.partition(":2,")[2] for name in files}

    def remove(self, user: str, name: str, *, folder: str = "INBOX") -> None:
        """Take a mail away, as another client's EXPUNGE would."""
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

    # The process.

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-F", "-c", str(self.base / "dovecot.conf")],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.base / "dovecot.log").open("ab"),
            start_new_session=True,
            preexec_fn=_die_with_us,  # noqa: PLW1509 - one system call
        )
        end = time.monotonic() + 10
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(
                    f"Dovecot does not start: {(self.base / 'dovecot.log').read_text()[-2000:]}"
                )
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

    @contextlib.contextmanager
    def frozen(self) -> Iterator[None]:
        """Stopped in its tracks: connections stay open, and nothing answers."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

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

    def _maildir(self, user: str, folder: str) -> Path:
        maildir = self.base / "mail" / user / "Maildir"
        if folder != "INBOX":
            maildir /= "." + folder.replace("/", ".")
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


@contextlib.contextmanager
def running(extra: str = "", **files: str) -> Iterator[Dovecot]:
    """Dovecot with no users yet, in a folder of its own that is removed afterwards.

    `extra` settings come last, so they win; they may name `files` (by name, with what is in them) in {base}.
    """
    with open_folder("dovecot-") as base:
        server = Dovecot(base=base, port=_free_port(), tls_port=_free_port())
        _write_configuration(server, extra)
        for name, content in files.items():
            (base / name).write_text(content)
        _allow_many_watches()
        try:
            server.start()
            yield server
        finally:
            server.kill()


def _write_configuration(server: Dovecot, extra: str) -> None:
    base = server.base
    authority = trustme.CA()
    certificate = authority.issue_cert("localhost", "127.0.0.1")
    authority.cert_pem.write_to_path(str(base / "ca.pem"))
    certificate.private_key_pem.write_to_path(str(base / "key.pem"))
    for number, blob in enumerate(certificate.cert_chain_pems):
        blob.write_to_path(str(base / "cert.pem"), append=number > 0)
    (base / "users").write_text("")
    server._own_folder(base / "mail")
    us, our_group = pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
    accounts = (
        f"default_internal_user = {us}\ndefault_internal_group = {our_group}\ndefault_login_user = {us}\n"
    )
    configuration = CONFIGURATION.format(
        base=base,
        port=server.port,
        tls_port=server.tls_port,
        uid=MAIL_UID,
        gid=MAIL_GID,
        accounts="" if ROOT else accounts,
        chroot="" if ROOT else "chroot =",
        internal="$default_internal_user",
        internal_group="$default_internal_group",
    )
    (base / "dovecot.conf").write_text(configuration + extra.replace("{base}", str(base)))


def _allow_many_watches() -> None:
    with contextlib.suppress(OSError, ValueError):
        if int(INOTIFY_INSTANCES.read_text()) < 8192:
            INOTIFY_INSTANCES.write_text("8192")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _die_with_us() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, int(signal.SIGTERM))
