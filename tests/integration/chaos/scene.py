"""Scene of the fault tests: a partner, a server with a victim and a bystander, a ledger of delivered mails."""

from __future__ import annotations

import contextlib
import functools
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from fixtures.world import World, eventually, running
from superimap.core.config import Settings
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.testing import Chaos, ImapServer
from superimap.testing.chaos.hostile_mails import small_mail
from tests.support.leaks import watch

FAST = SessionTiming(
    timeouts=Timeouts(connect=0.5, login=1.0, command=1.0, fetch=1.0, done=0.3, logout=0.1),
    backoff_first=0.02,
    backoff_longest=0.2,
    refused_first=600.0,
    throttled=0.3,
    retry_first=0.02,
    retry_longest=0.2,
)
IMPATIENT = replace(FAST, throttled=0.05, retry_longest=0.05)
"""Times with which a deferred mail is tried often."""
VICTIM, BYSTANDER = "joe", "ann"
PASSWORD = watch.plant("s3cr3t-of-the-scene")
HOOK = "https://app.example.com/hook"


@dataclass
class Scene:
    """Faults strike only the victim `joe` unless a test says otherwise; the bystander `ann` is unaffected."""

    world: World
    imap: ImapServer
    chaos: Chaos
    partner: Any = None
    ledger: dict[bytes, str] = field(default_factory=dict)
    timing: SessionTiming = FAST
    overrides: dict[str, Any] = field(default_factory=dict)

    async def set_up(self, *logins: str) -> None:
        """Create a partner with a provider, and a user for each login, with an account on the server."""
        self.partner = await self.world.partner(new_mail_webhook=HOOK)
        await self.world.provider(self.imap.host, self.imap.port)
        await self.world.connection(self.partner)
        people = logins or (VICTIM, BYSTANDER)
        for login in people:
            if login not in self.imap.accounts:
                self.imap.add_account(login, PASSWORD)
        await self.world.users(self.partner, {login: login for login in people}, password=PASSWORD)

    async def user_elsewhere(self, login: str, *, host: str, port: int, tls: str = "none") -> None:
        """Create a user whose provider is at another address."""
        await self.world.provider(host, port, code="OTHER", tls=tls)
        await self.world.connection(self.partner, code="OTHER")
        if login not in self.imap.accounts:
            self.imap.add_account(login, PASSWORD)
        await self.world.user(self.partner, login, login=login, password=PASSWORD, code="OTHER")

    @property
    def settings(self) -> Settings:
        """The settings of the world. Overrides are not checked, so that times may be short."""
        return self.world.settings.model_copy(update={"idle_renew": 60.0} | self.overrides)

    @contextlib.asynccontextmanager
    async def watching(self, *logins: str) -> AsyncIterator[None]:
        """Run an idler; the block starts once these users (by default ann) are watched."""
        async with running(functools.partial(main.serve, timing=self.timing), self.settings):
            for login in logins or (BYSTANDER,):
                await self.wait_until_idling(login)
            yield

    @contextlib.asynccontextmanager
    async def running_idler(self) -> AsyncIterator[None]:
        """Run an idler for the duration of the block, whichever servers it can reach."""
        async with running(functools.partial(main.serve, timing=self.timing), self.settings):
            yield

    async def wait_until_idling(self, login: str = VICTIM) -> None:
        """Wait until a session of this user idles."""
        await self.imap.wait_for(lambda: any(session.idling for session in self.imap.sessions_of(login)))

    def deliver(
        self, subject: str, *, to: str = VICTIM, at: datetime | None = None, body: bytes = b"text\r\n"
    ) -> int:
        """Deliver a mail and enter it in the ledger."""
        raw = small_mail(f"{subject} to {to}", body=body)
        self.ledger[hashlib.sha1(raw).digest()] = to
        return self.imap.deliver(to, raw, internal_date=at)

    async def count_deliveries(self) -> Counter[bytes]:
        """Count the deliveries of each mail."""
        rows = await self.world.rows(
            "SELECT m.sha1 FROM deliveries d JOIN messages m"
            " ON m.id = d.message_id AND m.partner_id = d.partner_id WHERE d.kind = 'new_mail'"
        )
        return Counter(row["sha1"] for row in rows)

    async def all_found(self, *, within: float = 10.0) -> None:
        """Wait until every mail of the ledger has one delivery; fail if one has two or was never sent."""

        async def complete() -> bool:
            return self.ledger.keys() <= (await self.count_deliveries()).keys()

        try:
            await eventually(complete, within=within)
        except TimeoutError:
            lost = len(self.ledger.keys() - (await self.count_deliveries()).keys())
            rows = [
                tuple(row) for row in await self.world.rows("SELECT uid_validity, uid, outcome FROM messages")
            ]
            states = [
                tuple(row) for row in await self.world.rows("SELECT tag, status, status_reason FROM users")
            ]
            raise AssertionError(f"{lost} of {len(self.ledger)} mails lost; {rows}; {states}") from None
        await self.assert_nothing_twice()

    async def assert_nothing_twice(self) -> None:
        """Check that no mail has two deliveries, and that each is in the ledger."""
        found = await self.count_deliveries()
        assert max(found.values(), default=1) == 1, "a mail has two deliveries"
        assert found.keys() <= self.ledger.keys(), (
            "a delivery belongs to a mail that was not sent by this test, or to an old one"
        )

    def connections(self, login: str = VICTIM) -> int:
        """Count the connections of this user that have reached a login."""
        return len({event.session for event in self.imap.log if event.username == login})

    def bystander_is_undisturbed(self) -> None:
        """Check that the bystander's first connection is still open."""
        assert self.connections(BYSTANDER) == 1
        assert len(self.imap.sessions_of(BYSTANDER)) == 1

    async def wait_for_status(self, status: str, *, login: str = VICTIM, reason: str = "") -> str:
        """Wait until the user has this status with these words in the reason; return the reason."""

        async def find_reason() -> str | None:
            (row,) = await self.world.rows("SELECT status, status_reason FROM users WHERE tag = $1", login)
            if row["status"] == status and reason in (row["status_reason"] or ""):
                return row["status_reason"] or "none"
            return None

        answer: str = await eventually(find_reason, what=status)
        return answer

    async def outcomes(self, login: str = VICTIM) -> Counter[str]:
        """Count the mails of this user by outcome."""
        rows = await self.world.rows(
            "SELECT m.outcome FROM messages m JOIN users u ON u.id = m.user_id WHERE u.tag = $1", login
        )
        return Counter(row["outcome"] for row in rows)

    async def both_find(self, count: int = 3, *, within: float = 10.0) -> None:
        """Deliver to both users in turn, and check that all mails are found and the bystander is not affected."""
        for number in range(count):
            self.deliver(f"mail {number}")
            self.deliver(f"mail {number}", to=BYSTANDER)
            await self.all_found(within=within)
        self.bystander_is_undisturbed()
