"""Fixtures for tests of the dispatcher: a partner with endpoints, users and deliveries, and dispatchers to run."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncpg
import pytest_asyncio

from fixtures import bulk
from fixtures.engines import as_role
from superimap.core import crypto
from superimap.core.config import Settings
from superimap.core.crypto import Place, Vault
from superimap.core.health import Readiness
from superimap.db.privileges import Role
from superimap.dispatcher.main import DispatcherCounts, serve
from superimap.dispatcher.timings import DispatcherTimings
from superimap.doorbells.redis import EndpointDoorbell
from superimap.testing import WebhookSink

KEY = crypto.generate_key()
FAST = DispatcherTimings(
    lane_budget=2.0,
    lease_margin=0.5,
    sweep_interval=0.05,
    absence_limit=0.4,
    late_after=0.3,
    lane_grace=1.0,
    post_grace=1.0,
)


SHOWN_STATE = """CASE WHEN d.state = 'pending' AND EXISTS (
    SELECT FROM delivery_leases l
    WHERE l.endpoint_id = d.endpoint_id AND l.delivery_id = d.id AND l.lease_until > now()
) THEN 'sending' ELSE d.state END"""


@dataclass
class SinkWorld:
    """One partner, one user, a database, a doorbell and a receiver."""

    db: asyncpg.Pool
    database_url: str
    redis_url: str
    queue: EndpointDoorbell
    sink: WebhookSink
    partner_id: int = 0
    user_id: int = 0
    connection_id: int = 0
    api_key: str = field(default_factory=crypto.generate_api_key)
    secret: str = field(default_factory=crypto.generate_signing_secret)
    vault: Vault = field(default_factory=lambda: Vault.from_setting(KEY))

    def settings(self, **changes: object) -> Settings:
        """Settings of a dispatcher with its own privileges, that may connect to the receiver on loopback."""
        values: dict[str, object] = {
            "environment": "development",
            "database_url": as_role(self.database_url, Role.DISPATCHER),
            "redis_url": self.redis_url,
            "encryption_key": KEY,
            "webhook_timeout": 1.0,
        }
        return Settings(**(values | changes))

    @asynccontextmanager
    async def dispatcher(
        self, *, timings: DispatcherTimings = FAST, health: Readiness | None = None, **changes: object
    ) -> AsyncIterator[DispatcherCounts]:
        """Run a dispatcher in this process."""
        stop, counts = asyncio.Event(), DispatcherCounts()
        service = serve(self.settings(**changes), stop, counts=counts, timings=timings, health=health)
        serving = asyncio.create_task(service)
        try:
            yield counts
        finally:
            stop.set()
            async with asyncio.timeout(25):
                await serving

    async def endpoint(self, path: str = "/", *, kind: str = "new_mail", url: str | None = "") -> int:
        """Create or update an endpoint at the receiver; with `url=None` it has no URL. Returns its id."""
        url = self.sink.url(path) if url == "" else url
        return await self.db.fetchval(
            "INSERT INTO endpoints (partner_id, kind, url) VALUES ($1, $2, $3)"
            " ON CONFLICT (partner_id, kind) DO UPDATE SET url = excluded.url RETURNING id",
            self.partner_id, kind, url,
        )  # fmt: skip

    async def user(self, *, enable_tracer: bool = False) -> int:
        """Create another user; returns its id."""
        return await self.db.fetchval(
            "INSERT INTO users (partner_id, connection_id, tag, enable_tracer, connected_at, status)"
            " VALUES ($1, $2, $3, $4, now(), 'watching') RETURNING id",
            self.partner_id, self.connection_id, uuid.uuid4().hex, enable_tracer,
        )  # fmt: skip

    async def add_deliveries(
        self, endpoint_id: int, count: int = 1, *, user_id: int | None = None, ring: bool = True
    ) -> list[uuid.UUID]:
        """Insert due deliveries, commit, and ring the doorbell; returns their ids."""
        ids = [uuid.uuid4() for _ in range(count)]
        await self.db.executemany(
            "INSERT INTO deliveries (id, partner_id, endpoint_id, user_id, kind, content)"
            " VALUES ($1, $2, $3, $4, 'new_mail', $5)",
            [
                (id_, self.partner_id, endpoint_id, user_id or self.user_id, self.sealed(id_))
                for id_ in ids
            ],
        )  # fmt: skip
        if ring:
            await self.queue.ring(endpoint_id)
        return ids

    def sealed(self, id_: uuid.UUID) -> bytes:
        """Content, encrypted for the row of this delivery."""
        sha1 = hashlib.sha1(id_.bytes).hexdigest()
        content = f'{{"sha1":"{sha1}","user_tag":"ann","rfc822":"Subject: hé\\r\\n\\r\\n"}}'.encode()
        return self.vault.seal(content, Place("deliveries", "content", self.partner_id, str(id_)))

    async def row(self, id_: uuid.UUID) -> asyncpg.Record:
        """A delivery's row; `due_in` is the seconds until it is due."""
        return await self.db.fetchrow(
            "SELECT *, extract(epoch FROM due_at - now())::float8 AS due_in FROM deliveries WHERE id = $1",
            id_,
        )

    async def attempts(self, id_: uuid.UUID) -> list[asyncpg.Record]:
        """Attempts of a delivery, oldest first."""
        return await self.db.fetch("SELECT * FROM attempts WHERE delivery_id = $1 ORDER BY id", id_)

    async def in_state(self, state: str) -> int:
        """Number of deliveries in this state, as people see it."""
        return await self.db.fetchval(f"SELECT count(*) FROM deliveries d WHERE {SHOWN_STATE} = $1", state)

    async def leases(self) -> dict[uuid.UUID, uuid.UUID]:
        """The tokens of the claims that hold deliveries now, by delivery."""
        rows = await self.db.fetch("SELECT delivery_id, token FROM delivery_leases WHERE lease_until > now()")
        return dict(rows)


async def eventually(
    condition: Callable[[], Awaitable[object]], *, within: float = 10.0, every: float = 0.02
) -> None:
    """Check the condition every `every` seconds until it holds. Raises TimeoutError after `within` seconds."""
    async with asyncio.timeout(within):
        while not await condition():
            await asyncio.sleep(every)


@pytest_asyncio.fixture
async def world(database_url: str, redis_url: str) -> AsyncIterator[SinkWorld]:
    """A partner with keys, a user, and a receiver that answers 200."""
    async with (
        asyncpg.create_pool(database_url, min_size=1, max_size=4) as db,
        EndpointDoorbell(redis_url) as queue,
        WebhookSink() as sink,
    ):
        made = SinkWorld(db, database_url, redis_url, queue, sink)
        await _settle_in(made)
        yield made


async def _settle_in(made: SinkWorld) -> None:
    db = made.db
    made.partner_id = await db.fetchval("INSERT INTO partners (name) VALUES ('acme') RETURNING id")
    provider = await db.fetchval(
        "INSERT INTO providers (code, title, kind, imap_host, imap_port)"
        " VALUES ('X', 'X', 'PLAIN', 'localhost', 993) RETURNING id"
    )
    made.connection_id = await db.fetchval(
        "INSERT INTO connections (partner_id, provider_id) VALUES ($1, $2) RETURNING id",
        made.partner_id, provider,
    )  # fmt: skip
    made.user_id = await made.user()
    await keep_key(made, "api_keys", made.api_key)
    await keep_key(made, "signing_secrets", made.secret)


async def keep_key(made: SinkWorld, table: str, secret: str) -> int:
    """Give the partner another API key or signing secret."""
    return await bulk.add_partner_key(made.db, made.vault, made.partner_id, table, secret)
