"""Every page of the dashboard and the portal: accessible, small, usable on a phone, without inline code."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from fixtures import dashboard, hostile, pages
from fixtures.world import World
from superimap.api.dashboard.render import POLICY
from tests.e2e.people import api
from tests.e2e.test_swagger_ui import QUIET
from tests.support import axe

MAX_PAGE_BYTES = 50_000
"""Of a page with its styles and scripts, as a browser without a cache fetches them."""
MAX_HOSTILE_PAGE_BYTES = 500_000
"""Of a page on which every text is as long as it may be."""
VIEWS = {
    "desktop, light": ({"width": 1280, "height": 900}, "light", ()),
    "phone, dark": ({"width": 390, "height": 844}, "dark", ("color-contrast", "scrollable-region-focusable")),
}
"""Size, colours, and the rules of axe-core that depend on them; none: all rules."""
WITHOUT_SESSION = {"/admin/sign-in", "/portal/sign-in"}


@pytest_asyncio.fixture
async def filled(world: World) -> AsyncIterator[tuple[str, list[str], dict[str, str]]]:
    """The address of an API, the addresses of all pages, and the cookies with which they open."""
    await dashboard.fill(world)
    sent = "SELECT 'msg_' || replace(id::text, '-', '') FROM deliveries WHERE partner_id = 1"
    ids = {"user_id": "3", "code": "EXAMPLE", "message_id": "65", "webhook": await world.value(sent)}
    addresses, cookies = sorted(pages.addresses(ids).values()), await pages.open_sessions(world.database_url)
    async with api(world) as url:
        yield url.replace("127.0.0.1", "localhost"), addresses, cookies  # passkeys need a name


async def test_every_page_opens_is_small_and_has_no_inline_code_and_no_dead_link(filled):
    url, addresses, cookies = filled
    asset_sizes: dict[str, int] = {}
    links: dict[str, str] = {}
    async with httpx.AsyncClient(base_url=url, cookies=cookies) as client:
        for address in addresses:
            answer = await client.get(address)
            if address in WITHOUT_SESSION:
                assert answer.status_code == 303
                continue
            assert answer.status_code == 200, (address, answer.text[:2000])
            assert answer.headers["content-security-policy"] == POLICY, address
            assert answer.headers["cache-control"] == "no-store", address
            assert not re.search(r"\son\w+=|<style|\sstyle=|javascript:|hx-", answer.text), address
            assert 'tabindex="-' not in answer.text, address  # the tab key reaches everything
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


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
async def test_every_page_is_accessible(filled, chromium, view):
    url, addresses, cookies = filled
    viewport, scheme, rules = VIEWS[view]
    found = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context(viewport=viewport, color_scheme=scheme)
        kept = [{"name": name, "value": value, "url": url} for name, value in cookies.items()]
        await context.add_cookies(kept)
        page = await context.new_page()
        for address in addresses:
            await page.goto(url + address)
            found += [f"{address}: {fault}" for fault in await axe.faults(page, rules)]
            if await page.evaluate("document.documentElement.scrollWidth > innerWidth"):
                found.append(f"{address}: wider than the screen")
        await browser.close()
    assert not found, "\n".join(found)


async def test_hostile_text_is_shown_as_text_on_every_page(filled, world):
    """Each text column of the database holds markup, a reversal of writing and 10,000 characters, if it may."""
    url, addresses, cookies = filled
    changed = await hostile.poison(world)
    assert {"partners.name", "users.tag", "users.status_reason", "messages.detail"} <= changed
    shown = 0
    async with httpx.AsyncClient(base_url=url, cookies=cookies) as client:
        for address in addresses:
            answer = await client.get(address)
            assert answer.status_code in {200, 303}, (address, answer.text[:2000])
            assert hostile.MARKUP not in answer.text, address
            assert hostile.REVERSAL not in answer.text, address
            assert len(answer.content) <= MAX_HOSTILE_PAGE_BYTES, (address, len(answer.content))
            shown += "&lt;script&gt;alert(1)" in answer.text
    assert shown > len(addresses) / 2


async def test_an_action_needs_neither_a_mouse_nor_javascript(filled, chromium):
    url, _, cookies = filled
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context(java_script_enabled=False)
        await context.add_cookies(
            [{"name": name, "value": value, "url": url} for name, value in cookies.items()]
        )
        page = await context.new_page()
        await page.goto(f"{url}/admin/mailboxes/3")
        await page.locator("summary", has_text="Archive").press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await expect(page.get_by_text("The mailbox is archived. Nobody watches it.")).to_be_visible()
        await browser.close()


async def test_an_open_page_goes_on_after_errors_of_a_proxy(filled, chromium, world):
    url, _, cookies = filled
    refused = {"live": 1, "jobs": 1}

    async def proxied(route):
        name = route.request.url.rpartition("/")[2].partition("?")[0]
        is_document = route.request.resource_type == "document"
        if is_document or not refused.get(name):
            await route.continue_()
            return
        refused[name] -= 1
        await route.fulfill(status=502, body="Bad Gateway")

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await browser.new_context()
        await context.add_cookies(
            [{"name": name, "value": value, "url": url} for name, value in cookies.items()]
        )
        page = await context.new_page()
        await page.route("**/admin/*", proxied)
        await page.goto(f"{url}/admin/jobs")
        await expect(page.get_by_text("1,000 of 5,240")).to_be_visible()
        await world.value("UPDATE jobs SET done = 2000 WHERE state = 'running' RETURNING 1")
        await expect(page.get_by_text("2,000 of 5,240")).to_be_visible(timeout=20_000)
        await browser.close()
    assert refused == {"live": 0, "jobs": 0}
