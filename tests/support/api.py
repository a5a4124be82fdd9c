"""An API with two partners and a provider of each kind, and clients that call it as one of the partners."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from fixtures.engines import as_role
from superimap.api.app import create_app
from superimap.api.main import serve
from superimap.core.config import Settings
from superimap.core.crypto import Vault, generate_key
from superimap.core.environment import load_settings
from superimap.db.accounts import partners
from superimap.db.engine import sessions
from superimap.db.models import Provider
from superimap.db.privileges import Role

KEY = generate_key()


@dataclass(frozen=True, slots=True)
class ApiWorld:
    """An API on a database with the providers PLAIN and GMAIL_OAUTH2 and the partners acme and globex."""

    settings: Settings
    app: FastAPI
    sessionmaker: async_sessionmaker[AsyncSession]
    vault: Vault
    acme: str
    globex: str

    def client(self, api_key: str | None = None, **options: object) -> httpx.AsyncClient:
        """A client that sends this API key and calls the application without a socket."""
        transport = httpx.ASGITransport(self.app, **options)  # type: ignore[arg-type]
        headers = {"x-api-key": api_key} if api_key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://testserver", headers=headers)


def settings_for(database_url: str, **values: object) -> Settings:
    """Settings of an API in development, on a free port, with the privileges of an API."""
    chosen = {"environment": "development", "port": 0, "drain_seconds": 0, "encryption_key": KEY, **values}
    return load_settings({"database_url": as_role(database_url, Role.API), **chosen})


@asynccontextmanager
async def world(database_url: str, **values: object) -> AsyncIterator[ApiWorld]:
    """Set up the API on this migrated, empty database."""
    settings = settings_for(database_url, **values).model_copy(update={"database_url": database_url})
    vault = Vault.from_setting(KEY)
    async with (
        sessions(database_url) as sessionmaker,
        sessions(as_role(database_url, Role.API)) as of_api,
        sessions(as_role(database_url, Role.OPERATOR)) as of_operators,
    ):
        async with sessionmaker.begin() as db:
            db.add_all([plain(), gmail()])
            acme = await partners.create(db, vault, name="acme")
            globex = await partners.create(db, vault, name="globex")
        app = create_app(settings, of_api, vault, dashboard_sessions=of_operators)
        yield ApiWorld(settings, app, sessionmaker, vault, acme.api_key, globex.api_key)


@asynccontextmanager
async def served(settings: Settings) -> AsyncIterator[str]:
    """Serve the API on a socket; yields its address."""
    stop = asyncio.Event()
    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(serve(settings, stop, on_listening=listening.set_result))
        try:
            yield await asyncio.wait_for(listening, 5)
        finally:
            stop.set()


def plain() -> Provider:
    """A provider whose users sign in with passwords."""
    return Provider(code="PLAIN", title="Test", kind="PLAIN", imap_host="localhost", imap_port=10143)


def gmail() -> Provider:
    """A provider whose users sign in with OAuth 2.0."""
    return Provider(
        code="GMAIL_OAUTH2",
        title="Gmail",
        kind="OAUTH2",
        imap_host="imap.gmail.com",
        imap_port=993,
        oauth2_scope="https://mail.google.com/",
        oauth2_token_url="https://oauth2.googleapis.com/token",
        oauth2_authorize_url="https://accounts.google.com/o/oauth2/v2/auth",
    )
