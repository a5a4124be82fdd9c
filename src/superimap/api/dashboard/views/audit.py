"""The page Audit log."""

from collections.abc import Mapping
from uuid import UUID

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.db import audit
from superimap.db.accounts import partners
from superimap.db.audit import AuditFilter
from superimap.db.models import AuditEntry
from superimap.domain.audit import ActorKind, AuditAction
from superimap.webhooks.signing import webhook_id

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
        rows=[(row, _object_of(row), _details(row.details)) for row in rows[:PAGE_ROWS]],
        more=rows[PAGE_ROWS - 1].id if len(rows) > PAGE_ROWS else None,
        kinds=list(ActorKind),
        actions=list(AuditAction),
        chosen={"partner": name, "by": kind, "action": action},
    )


def _object_of(row: AuditEntry) -> tuple[str, str | None]:
    """Return the name of the changed object, and the path of its page; None if it has none, or has ended."""
    kind, _, verb = row.action.partition(".")
    given = row.object_id
    name, path = _PAGES.get(kind, (kind.replace("_", " "), None))
    if given is None:
        return "", None
    if kind == "delivery":
        given = webhook_id(UUID(given))
    if path is None or verb == "delete":
        return f"{name} {given}", None
    return f"{name} {given}", path.format(partner=row.partner_id, id=given)


_PAGES = {
    "user": ("mailbox", "/mailboxes/{id}"),
    "message": ("mail", "/mails/{id}"),
    "partner": ("partner", "/partners/{id}"),
    "provider": ("provider", "/providers/{id}"),
    "job": ("job", "/jobs/{id}"),
    "delivery": ("webhook", "/deliveries/{partner}/{id}"),
}
"""Kinds of objects that have a page: how people call them, and its path."""


def _shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(map(str, value)) or "none"
    return str(value)


def _details(values: Mapping[str, object]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), _shown(value)) for name, value in sorted(values.items())]
