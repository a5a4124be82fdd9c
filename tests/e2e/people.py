"""A person with a browser, an API, and a partner with pages to return to."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from aiohttp import web
from playwright.async_api import Page, Request, async_playwright

from fixtures.world import World
from superimap.db import engine
from superimap.db.accounts import connections, providers
from superimap.imap import transport
from superimap.testing.oauth.server import OAuthServer
from tests.e2e.test_swagger_ui import QUIET
from tests.support.api import served
from tests.support.dovecot import Dovecot

ANN = "ann@example.com"
PHONE = {"width": 375, "height": 740}
DESKTOP = {"width": 1280, "height": 800}


@dataclass
class Person:
    """A browser's page, and the requests that it made."""

    page: Page
    requests: list[Request] = field(default_factory=list)

    def note(self, request: Request) -> None:
        self.requests.append(request)

    @property
    def asked(self) -> list[str]:
        """Every URL that was requested."""
        return [request.url for request in self.requests]

    async def referers(self) -> list[str]:
        """Return every Referer that was sent, with its request."""
        return [
            f"{headers['referer']} to {request.url}"
            for request in self.requests
            if (headers := await request.all_headers()).get("referer")
        ]

    async def opens(self, url: str) -> None:
        await self.page.goto(url)

    async def alert(self) -> str:
        """Return the text of the error on the page."""
        return await self.page.get_by_role("alert").inner_text()

    async def focus(self) -> str:
        """Return what a screen reader reads first: the name of the focused field, or an id."""
        return str(await self.page.evaluate("document.activeElement.name || document.activeElement.id"))

    async def described(self, name: str) -> str:
        """Return the text that is read out with a field, beside its label."""
        return str(
            await self.page.evaluate(
                "name => (document.getElementById(name).getAttribute('aria-describedby') || '').split(' ')"
                ".filter(Boolean).map(id => document.getElementById(id).textContent.trim()).join(' ')",
                name,
            )
        )


@contextlib.asynccontextmanager
async def chrome(chromium: str, **options: Any) -> AsyncIterator[Person]:
    """Open a page without JavaScript, and fail the test for any message on its console."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context(java_script_enabled=False, **options)
        person = Person(await context.new_page())
        complaints: list[str] = []

        person.page.on("console", lambda message: complaints.append(message.text))
        person.page.on("request", person.note)
        try:
            yield person
        finally:
            await browser.close()
        # Chromium reports every response with a 4xx; any other message is a fault.
        assert [each for each in complaints if "responded with a status of 4" not in each] == []


@contextlib.asynccontextmanager
async def api(world: World) -> AsyncIterator[str]:
    async with served(world.settings.model_copy(update={"port": 0})) as url:
        yield url


async def link(url: str, key: str, code: str, name: str, *, tag: str = "ann") -> str:
    async with httpx.AsyncClient(headers={"x-api-key": key}) as http:
        shown = (await http.get(f"{url}/api/v1/connections/{code}/users/{tag}")).json()
    return str(shown[name])


async def new_link(url: str, key: str, code: str, *, tag: str = "ann", **fields: str) -> str:
    """Create a user and return its connect link."""
    async with httpx.AsyncClient(headers={"x-api-key": key}) as http:
        made = await http.post(f"{url}/api/v1/connections/{code}/users", json={"tag": tag, **fields})
    return str(made.json()["connect_url"])


async def partner_of(world: World, sink: Any) -> Any:
    """Create a partner whose webhooks and return pages all lead to the sink."""
    for path in ("/ok", "/failed"):
        sink.on(
            path,
            lambda received: web.Response(text=f"<h1>Acme: {received.path}</h1>", content_type="text/html"),
        )
    return await world.partner(
        "Acme Mail",
        new_mail_webhook=sink.url("/new_mail"),
        user_connected_webhook=sink.url("/connected"),
        user_disconnected_webhook=sink.url("/disconnected"),
        success_url=sink.url("/ok"),
        failure_url=sink.url("/failed"),
        append_results=True,
    )


async def first(sink: Any, path: str) -> Any:
    """Wait for the first webhook at this path."""
    await sink.wait_for(lambda _: bool(sink.to(path)))
    return sink.to(path)[0]


async def oauth_connection(
    world: World, partner: Any, server: OAuthServer, port: int, **changes: Any
) -> None:
    """Connect the partner to this provider, whose mail server is on localhost."""
    values: Any = {
        "code": "OAUTH",
        "title": "Test provider",
        "kind": "OAUTH2",
        "imap_host": "localhost",
        "imap_port": port,
        "imap_tls": "tls",
        "oauth2_authorize_url": server.url("/authorize"),
        "oauth2_token_url": server.url("/token"),
        "oauth2_revoke_url": server.url("/revoke"),
        "oauth2_jwks_url": server.url("/jwks"),
        "oauth2_issuer": server.url(),
        "oauth2_scope": "openid email mail offline_access",
        "oauth2_access_type": "offline",
        **changes,
    }
    client: Any = {"oauth2_client_id": "client", "oauth2_client_secret": "s3cret"}
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        row = await providers.create(db, **values)
        await connections.create(db, world.vault, partner.partner.id, row, client)


def trust(monkeypatch: pytest.MonkeyPatch, dovecot: Dovecot) -> None:
    """Make every login from this process trust the server's certificate."""
    monkeypatch.setattr(transport, "shared_tls_context", dovecot.ssl_context)


def origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"
