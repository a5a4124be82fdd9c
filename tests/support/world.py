"""Partners, providers and users as tests need them, and services that run for the length of a block."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import asyncpg

from superimap.core import config
from superimap.core.config import Settings
from superimap.core.crypto import Vault, generate_key
from superimap.core.health import Readiness
from superimap.db import engine
from superimap.db.accounts import connections, partners, providers, users
from superimap.launch import services

Condition = Callable[[], Awaitable[Any]]


@dataclass
class World:
    """One database with its settings; everything in it is made through the queries that the API uses."""

    database_url: str
    redis_url: str
    overrides: dict[str, Any] = field(default_factory=dict)
    encryption_key: str = field(default_factory=generate_key)

    @property
    def settings(self) -> Settings:
        """Quick timings, and loopback open."""
        values: dict[str, Any] = {
            "environment": "development",
            "database_url": self.database_url,
            "redis_url": self.redis_url,
            "encryption_key": self.encryption_key,
            "heartbeat_interval": 0.5,
            "heartbeat_expiry": 2.0,
            "reconcile_interval": 1.0,
        }
        return config.load(values | self.overrides)

    @property
    def vault(self) -> Vault:
        return Vault.from_setting(self.encryption_key)

    async def partner(self, name: str = "acme", **values: Any) -> partners.Created:
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            return await partners.create(db, self.vault, name=name, **values)

    async def provider(self, host: str, port: int, *, code: str = "TEST", tls: str = "none") -> None:
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            await providers.create(db, code=code, title=code, imap_host=host, imap_port=port, imap_tls=tls)

    async def connection(self, partner: partners.Created, *, code: str = "TEST") -> None:
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            provider = await providers.by_code(db, code)
            assert provider is not None
            await connections.create(db, self.vault, partner.partner.id, provider, {})

    async def user(
        self, partner: partners.Created, tag: str, *, login: str, password: str, code: str = "TEST"
    ) -> int:
        """A connected user; its id."""
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            linked = await connections.by_code(db, partner.partner.id, code)
            assert linked is not None
            fields: Any = {"tag": tag, "email": login, "login_username": login, "login_password": password}
            return (await users.create(db, self.vault, linked, fields)).id

    async def users(
        self, partner: partners.Created, logins: Mapping[str, str], *, password: str, code: str = "TEST"
    ) -> None:
        """Many connected users in one transaction: logins by tag, all of one password."""
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            linked = await connections.by_code(db, partner.partner.id, code)
            assert linked is not None
            for tag, login in logins.items():
                fields: Any = {
                    "tag": tag,
                    "email": login,
                    "login_username": login,
                    "login_password": password,
                }
                await users.create(db, self.vault, linked, fields)

    async def change_user(
        self, partner: partners.Created, tag: str, /, *, code: str = "TEST", **fields: Any
    ) -> None:
        async with engine.sessions(self.database_url) as sessions, sessions.begin() as db:
            linked = await connections.by_code(db, partner.partner.id, code)
            assert linked is not None
            user = await users.by_tag(db, linked.connection, tag, lock=True)
            assert user is not None
            await users.update(db, self.vault, linked, user, fields)  # type: ignore[arg-type]

    async def rows(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(sql, *args))
        finally:
            await connection.close()

    async def value(self, sql: str, *args: Any) -> Any:
        return (await self.rows(sql, *args))[0][0]


async def eventually(condition: Condition, *, within: float = 15.0, what: str = "the condition") -> Any:
    """The first true answer of `condition`, asked again and again; fails after `within` seconds."""
    async with asyncio.timeout(within):
        while True:
            if answer := await condition():
                return answer
            await asyncio.sleep(0.02)
    raise AssertionError(what)


@contextlib.asynccontextmanager
async def running(service: services.Service, settings: Settings) -> AsyncIterator[Readiness]:
    """The service in this event loop, for the length of the block; its faults are the test's."""
    stop, state = asyncio.Event(), Readiness()
    task = asyncio.create_task(service(settings, stop, state))
    try:
        async with asyncio.timeout(20):
            while not state.ready and not task.done():
                await asyncio.sleep(0.01)
        if task.done():
            task.result()
        yield state
    finally:
        stop.set()
        async with asyncio.timeout(30):
            await task
