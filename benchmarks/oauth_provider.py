"""An OAuth 2.0 provider and a mail server that cuts sessions when their tokens expire, in one process."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from benchmarks.mail_server import mail_of
from benchmarks.server_process import spawn_server
from superimap.testing.imap.server import ImapServer
from superimap.testing.imap.session import FakeSession
from superimap.testing.oauth.server import OAuthServer

CLIENT_SECRET = "benchmark"  # noqa: S105 - of a server that lives for minutes


@dataclass
class ServerRecord:
    """Events at the servers. Times are seconds since 1970; a gap is from a user's session to the next login."""

    logins: list[float] = field(default_factory=list)
    gaps: list[tuple[float, float]] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    idling: int = 0
    cut: int = 0
    refused: int = 0


class RecordingImapServer(ImapServer):
    """Accepts the provider's tokens while they are valid, and records logins and gaps."""

    def __init__(self, oauth: OAuthServer) -> None:
        super().__init__(any_login=True, log_size=0)
        self.opens_for = lambda user, token: oauth.opens_for(token, user)
        self.seen = ServerRecord()
        self._left: dict[str, float] = {}

    def end_in_time(self, session: FakeSession, username: str, token: str) -> None:
        """Record a login."""
        now = time.time()
        self.seen.logins.append(now)
        if (before := self._left.pop(username, None)) is not None:
            self.seen.gaps.append((now, now - before))
        super().end_in_time(session, username, token)

    def left(self, session: FakeSession) -> None:
        """Record the end of a session."""
        if session.username is not None:
            self._left[session.username] = time.time()
        super().left(session)


class OAuthProviderProcess:
    """The running servers, controlled through a pipe. Users are user0@example.com and so on."""

    def __init__(self, pipe: Connection, imap_port: int, oauth_port: int) -> None:
        self._pipe = pipe
        self.imap_port = imap_port
        self.oauth_url = f"http://127.0.0.1:{oauth_port}"

    async def grants(self, count: int) -> list[str]:
        """Refresh tokens of `count` users, who have consented already."""
        self._pipe.send(("grants", count))
        answer: list[str] = await asyncio.to_thread(self._pipe.recv)
        return answer

    async def seen(self) -> ServerRecord:
        """The events so far."""
        self._pipe.send(("seen",))
        answer: ServerRecord = await asyncio.to_thread(self._pipe.recv)
        return answer

    async def deliver(self, count: int, *, users: int, rate: float) -> set[tuple[str, bytes]]:
        """Deliver `count` mails to the users, `rate` per second; returns user and SHA-1 of each at the end."""
        self._pipe.send(("deliver", count, users, rate))
        answer: set[tuple[str, bytes]] = await asyncio.to_thread(self._pipe.recv)
        return answer


@asynccontextmanager
async def running(*, life: int) -> AsyncIterator[OAuthProviderProcess]:
    """Run the servers. Access tokens are valid for `life` seconds, and refresh tokens rotate."""
    async with spawn_server(_main, life) as (pipe, imap_port):
        yield OAuthProviderProcess(pipe, imap_port, await asyncio.to_thread(pipe.recv))


def _main(pipe: Connection, life: int) -> None:
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(_serve(pipe, life))


async def _serve(pipe: Connection, life: int) -> None:
    async with OAuthServer(expires_in=life, rotates=True) as oauth, RecordingImapServer(oauth) as mail:
        oauth.add_client(client_secret=CLIENT_SECRET)
        pipe.send(mail.port)
        pipe.send(oauth.port)
        while True:
            match await asyncio.to_thread(pipe.recv):
                case ("grants", count):
                    pipe.send([oauth.grant(_address(user)).refresh_token for user in range(count)])
                case ("deliver", count, users, rate):
                    pipe.send(await _deliver(mail, count, users, rate))
                case _:
                    seen = mail.seen
                    seen.asked = [at for at, path in oauth.requests if path == "/token"]
                    seen.idling = sum(session.idling for session in mail.sessions)
                    seen.cut, seen.refused = mail.expired, mail.failed_logins
                    pipe.send(seen)


async def _deliver(mail: RecordingImapServer, count: int, users: int, rate: float) -> set[tuple[str, bytes]]:
    clock, ledger = asyncio.get_running_loop().time, set()
    began, text = clock(), mail_of(2000)
    for number in range(count):
        raw = text.replace(b"4711", b"%d" % number)  # in the Message-ID and in the subject
        # A stride that reaches every user, so that mails are not in step with the ends of tokens.
        user = _address(number * 7919 % users)
        ledger.add((user, hashlib.sha1(raw, usedforsecurity=False).digest()))
        mail.deliver(user, raw)
        await asyncio.sleep(max(0.0, began + (number + 1) / rate - clock()))
    return ledger


def _address(user: int) -> str:
    return f"user{user}@example.com"
