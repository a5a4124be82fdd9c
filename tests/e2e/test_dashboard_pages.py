"""Every page of the dashboard and the portal: accessible, small, usable on a phone, without inline code."""

from __future__ import annotations

import html
import re
import secrets
from collections.abc import AsyncIterator, Mapping
from hashlib import sha256

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright

from fixtures import dashboard
from fixtures.world import World
from superimap.api.dashboard import routes
from superimap.api.dashboard.render import POLICY
from superimap.db import engine
from superimap.db.operators import sessions
from tests.e2e.people import api
from tests.e2e.test_swagger_ui import QUIET
from tests.support import axe

MAX_PAGE_BYTES = 50_000
"""Of a page with its styles and scripts, as a browser without a cache fetches them."""
VIEWS = {
    "desktop, light": ({"width": 1280, "height": 900}, "light", ()),
    "phone, dark": ({"width": 390, "height": 844}, "dark", ("color-contrast", "scrollable-region-focusable")),
}
"""Size, colours, and the rules of axe-core that depend on them; none: all rules."""
QUERIES = {"/admin/jobs/new": "?partner=1&state=failed&do=replay", "/admin/deliveries": "?partner=1"}
WITHOUT_SESSION = {"/admin/sign-in", "/portal/sign-in"}
NEEDS_MORE = {
    "/admin/live",
    "/portal/live",
    "/admin/invitation",
    "/portal/open",
    "/admin/oidc/start",
    "/admin/oidc/callback",
}
"""Streams, and pages that need a link."""


def addresses(ids: Mapping[str, str], *, delivery: str) -> list[str]:
    """The address of every page, with the id of an object that exists: 1, but for `ids` and deliveries."""
    found = []
    for route in routes():
        if "GET" in (route.methods or ()) and route.path not in NEEDS_MORE:
            known = ids | {"webhook": delivery}
            found.append(re.sub(r"{(\w+)(:\w+)?}", lambda name, ids=known: ids.get(name[1], "1"), route.path))
    return sorted(f"{each}{QUERIES.get(each, '')}" for each in found)


async def open_sessions(world: World) -> dict[str, str]:
    """Cookies of an owner's session and of the portal of the first partner."""
    cookies = {"superimap-admin": secrets.token_urlsafe(32), "superimap-portal": secrets.token_urlsafe(32)}
    async with engine.sessions(world.database_url) as made, made.begin() as db:
        for name, owner in (("superimap-admin", {"operator_id": 1}), ("superimap-portal", {"partner_id": 1})):
            digest = sha256(cookies[name].encode()).digest()
            await sessions.open_session(
                db, digest, **owner, method="test", address="192.0.2.1", browser="Chromium"
            )
    return cookies


@pytest_asyncio.fixture
async def filled(world: World) -> AsyncIterator[tuple[str, list[str], dict[str, str]]]:
    """The address of an API, the addresses of all pages, and the cookies with which they open."""
    await dashboard.fill(world)
    sent = "SELECT 'msg_' || replace(id::text, '-', '') FROM deliveries WHERE partner_id = 1"
    ids = {"user_id": "3", "code": "EXAMPLE"}
    pages = addresses(ids, delivery=await world.value(sent))
    cookies = await open_sessions(world)
    async with api(world) as url:
        yield url.replace("127.0.0.1", "localhost"), pages, cookies  # passkeys need a name


async def test_every_page_opens_is_small_and_has_no_inline_code_and_no_dead_link(filled):
    url, pages, cookies = filled
    asset_sizes: dict[str, int] = {}
    links: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, cookies=cookies) as client:
        for address in pages:
            answer = await client.get(address)
            if address in WITHOUT_SESSION:
                assert answer.status_code == 303
                continue
            assert answer.status_code == 200, (address, answer.text[:2000])
            assert answer.headers["content-security-policy"] == POLICY, address
            assert answer.headers["cache-control"] == "no-store", address
            assert not re.search(r"\son\w+=|<style|\sstyle=|javascript:|hx-", answer.text), address
            assert not re.search(r"<script(?![^>]*src=)", answer.text), address
            found = re.findall(r'href="(/(?:admin|portal)[^"#]*)"', answer.text)
            links |= {html.unescape(link): address for link in found}
            size = len(answer.content)
            for asset in set(re.findall(r'(?:href|src)="([^"]*/docs/assets/[^"]+)"', answer.text)):
                if asset not in asset_sizes:
                    asset_sizes[asset] = len((await client.get(asset)).content)
                size += asset_sizes[asset]
            assert size <= MAX_PAGE_BYTES, (address, size)
        for link, address in links.items():
            assert (await client.get(link)).status_code in {200, 303}, (link, address)


@pytest.mark.parametrize("view", VIEWS)
async def test_every_page_is_accessible(filled, chromium, view):
    url, pages, cookies = filled
    viewport, scheme, rules = VIEWS[view]
    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context(viewport=viewport, color_scheme=scheme)
        kept = [{"name": name, "value": value, "url": url} for name, value in cookies.items()]
        await context.add_cookies(kept)
        page = await context.new_page()
        for address in pages:
            await page.goto(url + address)
            found += [f"{address}: {fault}" for fault in await axe.faults(page, rules)]
            if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{address}: wider than the screen")
        await browser.close()
    assert not found, "\n".join(found)
