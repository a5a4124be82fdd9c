"""Accessibility of a page in a browser, by axe-core."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from playwright.async_api import Page

SCRIPT = files("axe_playwright_python").joinpath("axe.min.js").read_text()
_RUN = """
rules => axe.run({
  resultTypes: ['violations'], ...(rules.length && { runOnly: { type: 'rule', values: rules } })
})
"""


async def faults(page: Page, rules: Sequence[str] = ()) -> list[str]:
    """Each violation of axe-core's rules, or of these, with the elements."""
    await page.evaluate(SCRIPT)
    found: dict[str, Any] = await page.evaluate(_RUN, list(rules))
    return [
        f"{rule['id']}: {rule['help']}: " + "; ".join(node["html"][:150] for node in rule["nodes"][:3])
        for rule in found["violations"]
    ]
