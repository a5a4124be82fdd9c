"""The page Keys of the portal: a partner's API keys and signing secrets, without their values."""

from starlette.responses import Response

from superimap.api.dashboard.menus import PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db.accounts import api_keys, partner_keys

pages = Pages(PORTAL)


@pages.get("/keys")
async def show_keys(page: Page) -> Response:
    """List the keys and secrets, and say how they are changed.

    The portal changes none: a person with its link would have a key for longer than the portal is open.
    """
    partner_id = page.partner.id
    return page.show(
        "portal_keys.html",
        keys=await api_keys.list_keys(page.db, partner_id),
        signing=await api_keys.signing_key_id(page.db, partner_id),
        secrets=await partner_keys.list_signing_secrets(page.db, partner_id),
        is_valid=partner_keys.is_valid,
    )
