"""A person with a browser, an authorization server, and an API with a partner that sends them a link."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import asyncpg
import httpx
import pytest

from superimap.api.app import create_app
from superimap.core.crypto import Place, Vault
from superimap.core.egress import Guard
from superimap.db.accounts import connections, partners, providers
from superimap.db.engine import sessions
from superimap.testing import ImapServer
from superimap.testing.oauth.server import OAuthServer
from tests.support.api import KEY, settings_for

ANN = "ann@example.com"
APP = "https://app.example.com"
HERE = "http://testserver"
CALLBACK = f"{HERE}/users/connect/callback"


@dataclass
class Scene:
    """All participants. `rung` lists the endpoints whose doorbell was rung."""

    database_url: str
    app: Any
    provider: OAuthServer
    imap: ImapServer
    api_key: str
    rung: list[int] = field(default_factory=list)

    def browser(self, **options: Any) -> httpx.AsyncClient:
        """Return a new browser that follows no redirects. It reaches the provider over a socket, without TLS."""
        return httpx.AsyncClient(
            mounts={HERE: httpx.ASGITransport(self.app, **options)}, timeout=40, base_url=HERE, verify=False
        )

    def forbid_loopback(self) -> None:
        """Forbid loopback addresses from now on, as in production."""
        self.app.state.resources = replace(self.app.state.resources, guard=Guard())

    async def user(self, code: str = "OAUTH", tag: str = "ann", **fields: Any) -> dict[str, Any]:
        """Create a user and return it as the API shows it, with its links."""
        path = f"/api/v1/connections/{code}/users"
        async with self.browser() as http:
            http.headers["x-api-key"] = self.api_key
            answer = await http.post(path, json={"tag": tag, **fields})
            assert answer.status_code == 201, answer.text
            shown: dict[str, Any] = answer.json()
            return shown

    async def read_user(self, code: str = "OAUTH", tag: str = "ann") -> dict[str, Any]:
        async with self.browser() as http:
            http.headers["x-api-key"] = self.api_key
            shown: dict[str, Any] = (await http.get(f"/api/v1/connections/{code}/users/{tag}")).json()
            return shown

    async def rows(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        db = await asyncpg.connect(self.database_url)
        try:
            return list(await db.fetch(sql, *args))
        finally:
            await db.close()

    async def delivery_contents(self) -> list[dict[str, Any]]:
        """Return the decrypted content of every delivery."""
        vault = Vault.from_setting(KEY)
        rows = await self.rows("SELECT id, partner_id, kind, content FROM deliveries ORDER BY id")
        found = []
        for row in rows:
            place = Place("deliveries", "content", row["partner_id"], str(UUID(str(row["id"]))))
            found.append({"kind": row["kind"], **json.loads(vault.open(row["content"], place))})
        return found

    async def secret(self, column: str) -> str | None:
        """Return the decrypted value of a column of the only user."""
        row = (await self.rows("SELECT * FROM users"))[0]
        place = Place("users", column, row["partner_id"], str(row["id"]))
        return Vault.from_setting(KEY).open_text(row[column], place) if row[column] else None


@pytest.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as server:
        server.add_account(ANN, "right horse")
        yield server


@pytest.fixture
async def provider() -> AsyncIterator[OAuthServer]:
    async with OAuthServer(consents=ANN) as server:
        server.add_person(ANN)
        server.add_client(CALLBACK, client_secret="cl13nt-s3cret")
        yield server


@pytest.fixture
async def scene(database_url: str, provider: OAuthServer, imap: ImapServer) -> AsyncIterator[Scene]:
    """The partner acme, which uses OAUTH and GMAIL and has webhooks for both events."""
    settings, vault = settings_for(database_url), Vault.from_setting(KEY)
    async with sessions(database_url) as sessionmaker, sessions(settings.database_url) as of_api:
        async with sessionmaker.begin() as db:
            created = await partners.create(
                db,
                vault,
                name="Acme <b>Mail</b>",
                success_url=f"{APP}/ok?page=1",
                failure_url=f"{APP}/failed",
                return_origins=["https://other.example.com:8443"],
                append_results=True,
                user_connected_webhook=f"{APP}/hook",
                user_disconnected_webhook=f"{APP}/hook",
            )
            oauth = await providers.create(db, **provider_row(provider, imap))
            plain = await providers.create(
                db, code="GMAIL", title="Test Mail", imap_host=imap.host, imap_port=imap.port, imap_tls="none"
            )
            secret: Any = {"oauth2_client_id": "client", "oauth2_client_secret": "cl13nt-s3cret"}
            await connections.create(db, vault, created.partner.id, oauth, secret)
            await connections.create(db, vault, created.partner.id, plain, {})
        rung: list[int] = []

        async def ring(endpoint_id: int) -> None:
            rung.append(endpoint_id)

        app = create_app(settings, of_api, vault, ring=ring)
        yield Scene(database_url, app, provider, imap, created.api_key, rung)


def provider_row(provider: OAuthServer, imap: ImapServer) -> Any:
    """Return the authorization server as a row of `providers`."""
    return {
        "code": "OAUTH",
        "title": "Test provider",
        "kind": "OAUTH2",
        "imap_host": imap.host,
        "imap_port": imap.port,
        "imap_tls": "none",
        "oauth2_authorize_url": provider.url("/authorize"),
        "oauth2_token_url": provider.url("/token"),
        "oauth2_revoke_url": provider.url("/revoke"),
        "oauth2_userinfo_url": provider.url("/userinfo"),
        "oauth2_jwks_url": provider.url("/jwks"),
        "oauth2_issuer": provider.url(),
        "oauth2_scope": "openid email mail offline_access",
        "oauth2_access_type": "offline",
    }


async def press_continue(http: httpx.AsyncClient, link: str) -> httpx.Response:
    """Open the link and press its button; return the redirect to the provider."""
    page = await http.get(link)
    assert page.status_code == 200, page.text
    return await http.post(f"{HERE}/users/connect/consent", data=hidden_fields(page.text))


async def consent(http: httpx.AsyncClient, link: str) -> str:
    """Open the link and consent; return the URL to which the provider redirects the browser."""
    opened = await press_continue(http, link)
    assert opened.status_code == 303, opened.text
    answer = await http.get(opened.headers["location"])
    assert answer.status_code == 302, answer.text
    back: str = answer.headers["location"]
    assert back.startswith(CALLBACK + "?")
    return back


async def connect_by_consent(http: httpx.AsyncClient, link: str) -> httpx.Response:
    """Open the link, consent and follow the redirect; return the answer to the callback."""
    return await http.get(await consent(http, link))


def result_of(answer: httpx.Response) -> dict[str, str]:
    """Return the query parameters that the partner's page receives."""
    assert answer.status_code == 303, answer.text
    return {name: values[0] for name, values in parse_qs(urlsplit(answer.headers["location"]).query).items()}


def hidden_fields(page: str) -> dict[str, str]:
    """Return the hidden fields of a form."""
    import html

    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', page)
    return {name: html.unescape(value) for name, value in found}
