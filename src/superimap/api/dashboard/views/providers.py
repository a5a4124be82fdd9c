"""The pages Providers and Provider."""

from starlette.responses import Response

from superimap.api.dashboard import activity_charts
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.provider_fields import GROUPS, setting_text
from superimap.api.dashboard.views.connections import get_provider
from superimap.db.monitoring import partner_lists

pages = Pages(ADMIN)


@pages.get("/providers")
async def list_providers(page: Page) -> Response:
    """List the providers by code, with their servers and the number of connections."""
    return page.show(
        "providers.html",
        rows=await partner_lists.list_providers(page.db),
        health=await activity_charts.of_providers(page.db),
        live=True,
    )


@pages.get("/providers/{code}")
async def show_provider(page: Page, code: str) -> Response:
    """Show the settings of a provider that differ from the defaults."""
    provider = await get_provider(page, code)
    groups = [
        (
            title,
            [
                (each.label, setting_text(each, getattr(provider, each.name)))
                for each in fields
                if each.name != "smtp_tls" or provider.smtp_host  # says nothing without a server
            ],
        )
        for title, fields in GROUPS
    ]
    seen, charts = await activity_charts.of_provider(page.db, provider.id)
    return page.show(
        "provider.html",
        seen=seen,
        charts=charts,
        provider=provider,
        trail=[("Providers", "/providers")],
        groups=[(title, [(label, text) for label, text in rows if text]) for title, rows in groups],
        connections=await partner_lists.count_connections(page.db, provider),
    )
