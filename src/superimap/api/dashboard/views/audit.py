"""The page Audit log."""

from collections.abc import Mapping

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db import audit
from superimap.db.accounts import partners
from superimap.db.audit import AuditFilter
from superimap.domain.audit import ActorKind, AuditAction

pages = Pages(ADMIN)

PAGE_ROWS = 50


@pages.get("/audit")
async def entries(page: Page) -> Response:
    """List changes, the latest first."""
    partner = await partners.by_name(page.db, name) if (name := page.query("partner")) else None
    kind, action = page.query("by"), page.query("action")
    which = AuditFilter(
        partner_id=partner.id if partner else -1 if name else None,
        actor_kind=ActorKind(kind) if kind in set(ActorKind) else None,
        action=AuditAction(action) if action in set(AuditAction) else None,
        before=page.number("before"),
    )
    rows = await audit.list_entries(page.db, which, limit=PAGE_ROWS + 1)
    return page.show(
        "audit.html",
        rows=[(row, _details(row.details)) for row in rows[:PAGE_ROWS]],
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        kinds=list(ActorKind),
        actions=list(AuditAction),
        chosen={"partner": name, "by": kind, "action": action},
    )


def _details(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [
        (name, ", ".join(map(str, value)) if isinstance(value, list) else str(value))
        for name, value in sorted(values.items())
    ]
