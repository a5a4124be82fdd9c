"""A mailbox with old mails, and its sweeps, for tests."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

from fixtures.world import World, eventually
from superimap.db import engine
from superimap.db.accounts import connections, sweeps, users
from superimap.db.accounts.sweeps import SweepRequest
from superimap.domain.sweeps import SweepState
from superimap.testing import ImapServer
from tests.integration.idler.test_watching import contents, mail, set_up

OLD = datetime.now(UTC).replace(microsecond=0) - timedelta(days=30)
CHANGES = ("STORE", "EXPUNGE", "MOVE", "COPY", "APPEND", "DELETE", " BODY[", "RFC822 ")
STATES = ("finished", "cancelled", "failed")


class Sweeps:
    """A mailbox with old mails, and the sweeps of it."""

    def __init__(self, world: World, imap: ImapServer) -> None:
        self.world, self.imap = world, imap
        self.partner: Any = None

    async def set_up(self, mails: int, *, url: str | None = "https://app.example.com/hook") -> None:
        self.partner = await set_up(self.world, self.imap, url=url)
        for number in range(mails):
            self.imap.deliver("joe", mail(f"old {number}"), internal_date=OLD + timedelta(minutes=number))
        await self.world.user(self.partner, "joe", login="joe", password="pw")

    async def call(self, function, *arguments) -> Any:
        async with engine.sessions(self.world.database_url) as sessions, sessions.begin() as db:
            linked = await connections.by_code(db, self.partner.partner.id, "TEST")
            user = await users.by_tag(db, linked.connection, "joe", lock=True)
            return await function(db, user, *arguments)

    async def start(self, **fields: Any) -> int:
        return (await self.call(sweeps.create, SweepRequest(**fields))).id

    async def set_state(self, sweep: int, state: SweepState) -> None:
        await self.call(sweeps.set_state, sweep, state)

    async def row(self, sweep: int) -> Any:
        (row,) = await self.world.rows("SELECT * FROM sweeps WHERE id = $1", sweep)
        return row

    async def until(self, sweep: int, condition, *, within: float = 30) -> Any:
        async def answer() -> Any:
            row = await self.row(sweep)
            return row if condition(row) else None

        return await eventually(answer, within=within)

    async def ended(self, sweep: int) -> Any:
        return await self.until(sweep, lambda row: row["state"] in STATES)

    async def pay(self) -> None:
        """Settle what the endpoint owes, as its dispatcher would."""
        await self.world.rows(
            "UPDATE deliveries SET state = 'delivered', settled_at = now() WHERE state = 'pending'"
        )

    async def paying(self) -> None:
        """Settle everything, again and again."""
        while True:
            await self.pay()
            await asyncio.sleep(0.05)

    @property
    def changes(self) -> list[str]:
        """Commands that change a mailbox, of all that the server was given."""
        given = [entry.line.upper() for entry in self.imap.log]
        assert any("BODY.PEEK[]" in line for line in given)
        return [line for line in given if any(word in line for word in CHANGES)]

    async def subjects(self, origin: str = "sweep") -> list[str]:
        found = await contents(self.world)
        return [each["envelope"]["subject"] for each in found if each["origin"] == origin]


def olds(*numbers: int) -> list[str]:
    return [f"old {number}" for number in numbers]
