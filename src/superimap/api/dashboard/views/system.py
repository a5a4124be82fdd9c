"""The page System: settings without secrets, encryption keys in use, and versions."""

import platform

from sqlalchemy import select, text
from starlette.responses import Response

from superimap import __version__
from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.core.environment import effective_values
from superimap.db.models import VaultCanary

pages = Pages(ADMIN)


@pages.get("/system")
async def system(page: Page) -> Response:
    """Show what this process runs with."""
    revision = await page.db.scalar(text("SELECT version_num FROM alembic_version"))
    server = await page.db.scalar(text("SHOW server_version"))
    keys = (
        await page.db.execute(select(VaultCanary.key_id, VaultCanary.seals).order_by(VaultCanary.created_at))
    ).all()
    vault = page.resources.vault
    return page.show(
        "system.html",
        versions={
            "SuperIMAP": __version__,
            "Python": platform.python_version(),
            "PostgreSQL": server,
            "Schema": revision,
        },
        keys=[(key.key_id, vault.role_of(key.key_id), key.seals) for key in keys],
        settings=effective_values(page.resources.settings),
    )
