"""The person's own way, in Chromium: from the link to the first webhook, and out again; no script needed."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import Any

import httpx
from aiohttp import web
from playwright.async_api import Page, async_playwright

from superimap import services
from superimap.db import engine
from superimap.db.queries import connections, providers
from superimap.testing.oauth_server import OAuthServer
from tests.e2e.test_swagger_ui import QUIET
from tests.support.api import served
from tests.support.mails import mail
from tests.support.world import eventually, running

ANN = "ann@example.com"
PHONE = {"width": 375, "height": 740}


class Opened(set[str]):
    """The access tokens that the authorization server stands for: the mail server asks it each time."""

    def __init__(self, provider: OAuthServer) -> None:
        super().__init__()
        self.provider = provider

    def __contains__(self, token: object) -> bool:
        return self.provider.opens(str(token), ANN)


@contextlib.asynccontextmanager
async def chrome(chromium: str, **options: Any) -> AsyncIterator[Page]:
    """A page without JavaScript; what it complains about is the test's fault."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context(java_script_enabled=False, **options)
        page = await context.new_page()
        complaints: list[str] = []
        page.on("console", lambda message: complaints.append(message.text))
        try:
            yield page
        finally:
            await browser.close()
        # Chromium says so of every answer beyond 399; everything else would be a fault.
        assert [each for each in complaints if "responded with a status of 4" not in each] == []


@contextlib.asynccontextmanager
async def api(world) -> AsyncIterator[str]:
    async with served(world.settings.model_copy(update={"port": 0})) as url:
        yield url


async def link(url: str, key: str, code: str, name: str) -> str:
    async with httpx.AsyncClient(headers={"x-api-key": key}) as http:
        shown = (await http.get(f"{url}/api/v1/connections/{code}/users/ann")).json()
    return str(shown[name])


async def partner_of(world, sink) -> Any:
    """A partner with webhooks, and pages to return to; all of them are the sink."""
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


async def first(sink, path: str) -> Any:
    """The first webhook that comes to this path."""
    await sink.wait_for(lambda _: bool(sink.to(path)))
    return sink.to(path)[0]


async def oauth_connection(world, partner, imap, server: OAuthServer) -> None:
    values: Any = {
        "code": "OAUTH",
        "title": "Test provider",
        "kind": "OAUTH2",
        "imap_host": imap.host,
        "imap_port": imap.port,
        "imap_tls": "none",
        "oauth2_authorize_url": server.url("/authorize"),
        "oauth2_token_url": server.url("/token"),
        "oauth2_revoke_url": server.url("/revoke"),
        "oauth2_jwks_url": server.url("/jwks"),
        "oauth2_issuer": server.url(),
        "oauth2_scope": "openid email mail offline_access",
        "oauth2_access_type": "offline",
    }
    client: Any = {"oauth2_client_id": "client", "oauth2_client_secret": "s3cret"}
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        row = await providers.create(db, **values)
        await connections.create(db, world.vault, partner.partner.id, row, client)


async def test_from_the_link_through_consent_to_the_first_webhook_and_out_again(
    world, sink, imap, chromium, tmp_path
):
    partner = await partner_of(world, sink)
    imap.add_account(ANN, "unused")
    async with (
        OAuthServer() as server,
        api(world) as url,
        running(services.idler, world.settings),
        running(services.dispatcher, world.settings),
        chrome(chromium) as page,
    ):
        imap.accounts[ANN].tokens = Opened(server)
        server.add_person(ANN)
        server.add_client(f"{url}/users/connect/callback", client_secret="s3cret")
        await oauth_connection(world, partner, imap, server)
        async with httpx.AsyncClient(headers={"x-api-key": partner.api_key}) as http:
            await http.post(f"{url}/api/v1/connections/OAUTH/users", json={"tag": "ann"})

        await page.goto(await link(url, partner.api_key, "OAUTH", "connect_url"))
        await page.get_by_role("button", name="Allow").click()
        assert page.url.startswith(sink.url("/ok") + "?superimap_result=success")
        connected = await first(sink, "/connected")
        assert (connected.json["user_tag"], connected.json["email"]) == ("ann", ANN)

        await imap.wait_for(lambda: any(session.idling for session in imap.sessions))
        imap.deliver(ANN, mail("first"))
        received = await first(sink, "/new_mail")
        assert received.json["user_tag"] == "ann"

        await page.goto(await link(url, partner.api_key, "OAUTH", "disconnect_url"))
        await page.screenshot(path=str(tmp_path / "disconnect.png"))
        await page.get_by_role("button", name="Disconnect").click()
        assert page.url.startswith(sink.url("/ok") + "?superimap_result=success")
        gone = await first(sink, "/disconnected")
        assert gone.json["user_tag"] == "ann"
        await imap.wait_for(lambda: not imap.sessions)

    token = server.records.tokens[0]
    assert token.refresh_revoked
    told = " ".join(str(dict(each.headers)) for each in sink.received)
    assert "callback" not in told, "no Referer tells where people come from"


async def test_the_password_form_on_a_phone_tells_what_is_wrong_and_lets_in_who_is_right(
    world, sink, imap, chromium, tmp_path
):
    partner = await partner_of(world, sink)
    imap.add_account(ANN, "right horse")
    await world.provider(imap.host, imap.port, code="YAHOO")
    await world.connection(partner, code="YAHOO")
    async with api(world) as url, chrome(chromium, viewport=PHONE) as page:
        async with httpx.AsyncClient(headers={"x-api-key": partner.api_key}) as http:
            await http.post(f"{url}/api/v1/connections/YAHOO/users", json={"tag": "ann"})
        connect_url = await link(url, partner.api_key, "YAHOO", "connect_url")

        await page.goto(connect_url)
        await page.screenshot(path=str(tmp_path / "password.png"), full_page=True)
        await page.get_by_label("Email address or user name").fill(ANN)
        await page.get_by_label("App password").fill("wrong")
        await page.get_by_role("button", name="Connect").click()
        alert = await page.get_by_role("alert").inner_text()
        await page.screenshot(path=str(tmp_path / "password-wrong.png"), full_page=True)
        width = await page.locator("main").bounding_box()
        await page.get_by_label("App password").fill("right horse")
        await page.keyboard.press("Enter")
        await page.wait_for_url(f"{sink.url('/ok')}?**")

        await page.goto(connect_url)
        used = await page.get_by_role("heading").inner_text()
        await page.screenshot(path=str(tmp_path / "used.png"), full_page=True)

    assert "does not accept this user name and password" in alert
    assert width is not None
    assert width["x"] + width["width"] <= PHONE["width"]
    assert used == "This link has been used"
    assert await eventually(lambda: world.value("SELECT connected_at IS NOT NULL FROM users"))
