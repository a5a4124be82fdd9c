"""Pictures of a report of the stress test: `python -m trials.stress.pictures build/stress/report.html`.

Without `--folder` they replace those of docs/stress.md.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
from pathlib import Path

from playwright.async_api import Browser, async_playwright

IMAGES = Path(__file__).resolve().parents[2] / "docs/images"
PANELS = {"each-mail": "Each mail", "faults": "Faults", "latency": "Latency"}
"""Charts that the documentation shows, by their titles."""


async def main(report: Path, folder: Path) -> int:
    """Write the pictures; returns the exit code."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("Chromium is not installed: apt-get install chromium", file=sys.stderr)
        return 1
    address = report.resolve().as_uri()
    async with async_playwright() as playwright:
        options = ["--no-sandbox"] if os.geteuid() == 0 else []
        browser = await playwright.chromium.launch(executable_path=chromium, args=options)
        await _panels(browser, address, folder)
        await _top(browser, address, folder / "stress-report.png", width=1100, height=900)
        await browser.close()
    return 0


async def _panels(browser: Browser, address: str, folder: Path) -> None:
    context = await browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page = await context.new_page()
    await page.goto(address)
    for name, title in PANELS.items():
        panel = page.locator("section.panel", has=page.get_by_role("heading", name=title, exact=True))
        await panel.screenshot(path=folder / f"stress-{name}.png")
    await context.close()


async def _top(browser: Browser, address: str, path: Path, *, width: int, height: int) -> None:
    context = await browser.new_context(viewport={"width": width, "height": height}, color_scheme="light")
    page = await context.new_page()
    await page.goto(address)
    await page.screenshot(path=path)
    await context.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m trials.stress.pictures", description=__doc__)
    parser.add_argument("report", type=Path)
    parser.add_argument("--folder", type=Path, default=IMAGES)
    given = parser.parse_args()
    sys.exit(asyncio.run(main(given.report, given.folder)))
