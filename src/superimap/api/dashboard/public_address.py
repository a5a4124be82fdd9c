"""The address of this installation for people and providers outside."""

from superimap.api.dashboard.page import Page
from superimap.api.public_path import PREFIX


def public_base(page: Page) -> str:
    """Return BASE_URL, or else the address that this browser uses, with the prefix of a proxy."""
    return page.resources.settings.base_url or f"{page.base}{page.request.scope[PREFIX]}"
