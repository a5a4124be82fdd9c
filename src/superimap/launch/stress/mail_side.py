"""The mail server of a stress test with its mailboxes, in a process of its own; it delivers by the schedule."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

from superimap.launch.stress.emptying import Emptying
from superimap.launch.stress.journal import EVENTS, FETCHED, GENERATED, WATCHED_BY, Journal
from superimap.launch.stress.plan import ScheduledMail, StressPlan, schedule_mails
from superimap.testing.chaos.server import Chaos
from superimap.testing.imap.server import ImapServer
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand

PASSWORD = "stress"  # noqa: S105 - of mailboxes that live as long as the test
CHAOS_CASES = ("seed", "seed-uidvalidity")
"""The original's weights, and its new UIDVALIDITY on each connection."""

FLUSH_SECONDS = 0.2
MAX_PADDING_BYTES = 4096
PRIORITY = -5
"""Nice value of the test's own processes, if the machine allows it: they measure the others."""


def user_name(user: int) -> str:
    """Return the login and tag of a user, as in the original."""
    return f"user{user}"


def mail_text(mail: ScheduledMail, chance: random.Random) -> bytes:
    """Return a mail like the original's, of 0 to 4 KiB more."""
    address = f"{user_name(mail.user)}@localhost"
    padding = b"x" * 70 + b"\r\n"
    head = (
        f"From: {address}\r\nTo: {address}\r\nSubject: MySubject\r\nMIME-Version: 1.0\r\n"
        f"Message-ID: <message-{user_name(mail.user)}-{mail.number}-{chance.getrandbits(48):x}@localhost>\r\n"
        "\r\nMyBody\r\n"
    )
    return head.encode() + padding * (chance.randrange(MAX_PADDING_BYTES) // len(padding))


def raise_priority() -> None:
    """Run before the processes under test where both are ready to run."""
    with contextlib.suppress(OSError):
        os.nice(PRIORITY)


def run_mail_side(pipe: Connection, plan: StressPlan, folder: str) -> None:
    """Serve until killed. Sends its port, and then answers orders; see `_Mailboxes.obey`."""
    raise_priority()
    with contextlib.suppress(KeyboardInterrupt, EOFError):
        asyncio.run(_serve(pipe, plan, Path(folder)))


async def _serve(pipe: Connection, plan: StressPlan, folder: Path) -> None:
    async with ImapServer(log_size=0) as server:
        for user in range(plan.users):
            server.add_account(user_name(user), PASSWORD)
        mailboxes = _Mailboxes(server, plan, folder)
        pipe.send(server.port)
        flushing = asyncio.create_task(mailboxes.keep_flushed())
        while (order := await asyncio.to_thread(pipe.recv)) != "end":
            pipe.send(mailboxes.obey(order))
        flushing.cancel()
        mailboxes.close()
        pipe.send(None)


class _Mailboxes:
    """The server, its misbehaviour, and the journals of what happened."""

    def __init__(self, server: ImapServer, plan: StressPlan, folder: Path) -> None:
        self._server = server
        self._plan = plan
        self._generated = Journal(folder, GENERATED)
        self._fetched = Journal(folder, FETCHED)
        self._events = Journal(folder, EVENTS)
        self._emptying = Emptying()
        self._chaos: Chaos | None = None
        self._delivering: asyncio.Task[None] | None = None
        self._sent = 0
        self._strikes = 0
        self._clock = time.time() - time.monotonic()

    def obey(self, order: str | float | list[str]) -> tuple[int, int, int, bool]:
        """Obey an order, and return idle sessions, mails, strikes, and whether all mails are delivered.

        `chaos` begins the misbehaviour. `calm` ends it, and the connections that wait for an answer that never
        comes, as a server does that recovers. A number is the Unix time at which the schedule starts, and a list
        the SHA-1s of mails whose webhooks were accepted.
        """
        if order == "chaos":
            self._misbehave()
        elif order == "calm" and self._chaos is not None:
            self._chaos.clear()
            for session in tuple(self._server.sessions):
                if not session.idling:
                    session.transport.abort()
        elif isinstance(order, float):
            self._delivering = asyncio.create_task(self._deliver(order))
        elif isinstance(order, list):
            self._emptying.accept(order)
        idle = sum(session.idling for session in self._server.sessions)
        if self._delivering is not None and self._delivering.done():
            self._delivering.result()
            return idle, self._sent, self._strikes, True
        return idle, self._sent, self._strikes, False

    def _misbehave(self) -> None:
        self._chaos = Chaos(self._server, seed=self._plan.seed)
        if self._plan.has_chaos:
            for case in CHAOS_CASES:
                self._chaos.add(case)
        # A hook of `*` is called after those of the cases, so it sees only what the server answers itself.
        self._server.on("*", self._note)

    async def _note(self, session: FakeSession, command: ClientCommand) -> None:
        if command.name in WATCHED_BY:
            self._events.write(f"{time.time():.3f}", session.username, command.name)
        elif command.name == "UID FETCH":
            self._fetched.write(f"{time.time():.3f}", session.username, command.name)

    async def _deliver(self, start: float) -> None:
        """Deliver each mail at its time, late ones at once: nothing waits for the processes under test."""
        chance = self._plan.random("texts")
        for mail in schedule_mails(self._plan):
            raw, due = mail_text(mail, chance), start + mail.at
            await asyncio.sleep(max(0.0, due - time.time()))
            now = time.time()
            name = user_name(mail.user)
            sha1 = hashlib.sha1(raw, usedforsecurity=False).hexdigest()
            self._emptying.add(sha1, self._server.accounts[name].inbox, self._server.deliver(name, raw))
            self._generated.write(f"{due:.4f}", f"{now:.4f}", name, sha1)
            self._sent += 1

    async def keep_flushed(self) -> None:
        """Move the log of the misbehaviour to its journal, and write all journals, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_SECONDS)
            self._flush()

    def _flush(self) -> None:
        while self._chaos is not None and self._chaos.log:
            event = self._chaos.log.popleft()
            if event.case.startswith("seed "):
                self._strikes += 1
                what = f"chaos {event.case.removeprefix('seed ')}"
                self._events.write(f"{event.at + self._clock:.3f}", event.username or "", what)
        for journal in (self._generated, self._fetched, self._events):
            journal.flush()

    def close(self) -> None:
        """Write everything to the journals."""
        self._flush()
        for journal in (self._generated, self._fetched, self._events):
            journal.close()
