"""Operators of a dashboard, and browsers that are signed in as one, without a browser."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import httpx

from superimap.api.dashboard import passwords
from superimap.db.operators import accounts, links, sessions, tokens
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld

PASSWORD = "four quiet ponies"
_TOKEN = re.compile(r'name="form" value="([^"]+)"')


@dataclass(frozen=True, slots=True)
class Browser:
    """A client that keeps cookies and sends forms as browsers do."""

    client: httpx.AsyncClient
    door: str = "admin"

    async def get(self, path: str = "", **query: str) -> httpx.Response:
        """Open a page below the door."""
        return await self.client.get(f"/{self.door}{path}", params=query)

    async def post(
        self, path: str, fields: Mapping[str, str] | None = None, *, page: str | None = None
    ) -> httpx.Response:
        """Send a form that the page `page` shows; None: the first page."""
        token = await self.token(page or "")
        return await self.client.post(f"/{self.door}{path}", data={"form": token, **(fields or {})})

    async def token(self, page: str = "") -> str:
        """The token of a form on a page."""
        return form_token(await self.get(page))


def form_token(shown: httpx.Response) -> str:
    """The token of a form on a page; empty without one."""
    found = _TOKEN.search(shown.text)
    return found[1] if found else ""


def browser(world: ApiWorld, door: str = "admin") -> Browser:
    """A browser that is not signed in."""
    client = world.client()
    client.headers["Sec-Fetch-Site"] = "same-origin"
    return Browser(client, door)


async def operator(
    world: ApiWorld,
    role: OperatorRole = OperatorRole.OWNER,
    email: str | None = None,
    *,
    password: str | None = PASSWORD,
) -> str:
    """Create an operator with a password; returns the address."""
    address = email or f"{role}@example.com"
    hashed = None if password is None else await passwords.hash_password(password)
    async with world.sessionmaker.begin() as db:
        made = await accounts.create(db, address, role)
        made.password = hashed
    return address


async def signed_in(
    world: ApiWorld, role: OperatorRole = OperatorRole.OWNER, email: str | None = None
) -> Browser:
    """A browser that is signed in as a new operator of this role."""
    address = await operator(world, role, email, password=None)
    secret = secrets.token_urlsafe(32)
    async with world.sessionmaker.begin() as db:
        found = await accounts.by_email(db, address)
        assert found is not None
        await sessions.open_session(
            db,
            sha256(secret.encode()).digest(),
            operator_id=found.id,
            method="test",
            address="192.0.2.1",
            browser="test",
        )
    opened = browser(world)
    opened.client.cookies.set("superimap-admin", secret)
    return opened


async def with_token(
    world: ApiWorld, role: OperatorRole = OperatorRole.OWNER, *, confirmed: bool = False, name: str = "script"
) -> httpx.AsyncClient:
    """A program that acts for a new operator of this role, by a token of the same role."""
    address = await operator(world, role, f"{name}-{role}@example.com", password=None)
    async with world.sessionmaker.begin() as db:
        found = await accounts.by_email(db, address, lock=True)
        assert found is not None
        made = await tokens.create(db, found, name=name, role=role, days=1, is_confirmed=confirmed)
    client = world.client()
    client.headers["Authorization"] = f"Bearer {made.secret}"
    return client


async def invitation(world: ApiWorld, email: str) -> str:
    """Invite an operator; returns the secret of the link."""
    async with world.sessionmaker.begin() as db:
        found = await accounts.by_email(db, email)
        assert found is not None
        return await links.invite(db, found)
