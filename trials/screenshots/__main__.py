"""Render every page on a desktop and a phone, light and dark; exit code 1 if a page does not open."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import re
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Literal

from playwright.async_api import Browser, ViewportSize, async_playwright

from fixtures import dashboard, engines, pages
from fixtures.world import World
from superimap.api.main import serve
from superimap.launch import engines as embedded

VIEWS: dict[str, ViewportSize] = {
    "desktop": {"width": 1280, "height": 900},
    "phone": {"width": 390, "height": 844},
}
SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")
DOCUMENTED = {
    "now": "/admin",
    "mail": "/admin/mails/65",
    "portal": "/portal",
    "tracers": "/admin/tracers",
}
"""Pages that docs/images has, on a light desktop."""
FAILED = """
    SELECT 'msg_' || replace(id::text, '-', '') FROM deliveries WHERE partner_id = 1 AND state = 'failed'
"""
IMAGES = Path(__file__).resolve().parents[2] / "docs/images"


async def main(folder: Path, *, documentation: bool) -> int:
    """Render the pages; returns the exit code."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    async with _installation() as (url, found, cookies), async_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=chromium, args=options)
        wrong = [
            await _render(browser, url, found, cookies, folder, view=view, scheme=scheme)
            for view in VIEWS
            for scheme in SCHEMES
        ]
        if documentation:
            await _render(
                browser, url, DOCUMENTED, cookies, IMAGES, view="desktop", scheme="light", prefix="dashboard-"
            )
        await browser.close()
    print(f"{len(found) * len(VIEWS) * len(SCHEMES)} pictures in {folder}")
    return int(any(wrong))


@contextlib.asynccontextmanager
async def _installation() -> AsyncIterator[tuple[str, dict[str, str], dict[str, str]]]:
    """An API with a filled database; yields its address, the pages by name, and the cookies of two sessions."""
    with engines.open_folder("superimap-screenshots-") as folder:
        async with embedded.postgres(folder / "pg", fsync=False) as server, embedded.valkey(None) as redis:
            world = World(await engines.create_database(server, "screenshots"), redis)
            await dashboard.fill(world)
            found = _pages(await world.value(FAILED))
            cookies = await pages.open_sessions(world.database_url)
            stop, listening = asyncio.Event(), asyncio.get_running_loop().create_future()
            update = {"port": 0, "drain_seconds": 0, "heartbeat_expiry": 3600.0}
            settings = world.settings.model_copy(update=update)
            serving = asyncio.create_task(serve(settings, stop, on_listening=listening.set_result))
            try:
                address = str(await asyncio.wait_for(listening, 10))
                yield address.replace("127.0.0.1", "localhost"), found, cookies
            finally:
                stop.set()
                await serving


def _pages(delivery: str) -> dict[str, str]:
    """The addresses of the pages, by names for files."""
    ids = {"user_id": "3", "code": "EXAMPLE", "message_id": "65", "webhook": delivery}
    return {
        re.sub(r"[/{}:]+|_?id\b|:int", "-", path).strip("-").replace("--", "-"): address
        for path, address in pages.addresses(ids).items()
    }


async def _render(
    browser: Browser,
    url: str,
    addresses: dict[str, str],
    cookies: dict[str, str],
    folder: Path,
    *,
    view: str,
    scheme: Literal["light", "dark"],
    prefix: str = "",
) -> list[str]:
    """Render pages into a folder; returns those that did not open."""
    await asyncio.to_thread(folder.mkdir, parents=True, exist_ok=True)
    context = await browser.new_context(viewport=VIEWS[view], color_scheme=scheme)
    await context.add_cookies([{"name": name, "value": value, "url": url} for name, value in cookies.items()])
    page, wrong = await context.new_page(), []
    for name, address in addresses.items():
        answer = await page.goto(url + address)
        if answer is None or not answer.ok:
            print(f"{address}: {answer.status if answer else 'no answer'}", file=sys.stderr)
            wrong.append(address)
        suffix = "" if prefix else f"-{view}-{scheme}"
        await page.screenshot(path=folder / f"{prefix}{name}{suffix}.png", full_page=True)
    await context.close()
    return wrong


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, prog="python -m trials.screenshots")
    parser.add_argument(
        "--folder", type=Path, default=Path("build/screenshots"), help="where the pictures go"
    )
    parser.add_argument("--docs", action="store_true", help="also replace those of the documentation")
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.folder, documentation=given.docs)))
