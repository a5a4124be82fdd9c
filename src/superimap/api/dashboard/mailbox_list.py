"""The list of mailboxes on the page of a connection: by scope, with filters, or those in one status."""

from typing import Any

from superimap.api.dashboard.page import Page
from superimap.api.dashboard.words import STATUSES
from superimap.db.monitoring import mailbox_lists, troubled_lists
from superimap.db.monitoring.mailbox_lists import MailboxFilter, MailboxScope
from superimap.db.monitoring.troubled_lists import TroubledPlace
from superimap.domain.users import TROUBLED, UserStatus

PAGE_ROWS = 50
MAX_MICROSECONDS = 10**17
"""After 1970; what a date can hold."""
SCOPE_NAMES = {
    MailboxScope.ACTIVE: "Active",
    MailboxScope.ARCHIVED: "Archived",
    MailboxScope.TRACER: "Tracer",
}


async def read_list(page: Page, connection_id: int) -> dict[str, Any]:
    """Return the values of the list that the query asks for."""
    chosen = page.query("status")
    status = UserStatus(chosen) if chosen in TROUBLED else None
    scope = page.query("scope")
    which = MailboxFilter(
        connection_id,
        MailboxScope(scope) if scope in set(MailboxScope) else MailboxScope.ACTIVE,
        *(_prefix(page, name) for name in ("tag", "email")),
    )
    rows, more = await (_troubled(page, connection_id, status) if status else _listed(page, which))
    return {
        "which": which,
        "chosen_status": status,
        "rows": rows,
        "more": more,
        "is_first": page.number("after") is None,
        "scopes": SCOPE_NAMES,
        "counts": await mailbox_lists.count_scopes(page.db, connection_id),
        "troubled": await troubled_lists.count_troubled(page.db, connection_id),
        "words": STATUSES,
    }


async def _listed(page: Page, which: MailboxFilter) -> tuple[Any, dict[str, object] | None]:
    found = await mailbox_lists.list_page(page.db, which, after=page.number("after"), limit=PAGE_ROWS)
    filters = {"scope": which.scope.value, "tag": which.tag or None, "email": which.email or None}
    return found.rows, {"after": found.next, **filters} if found.next is not None else None


async def _troubled(
    page: Page, connection_id: int, status: UserStatus
) -> tuple[Any, dict[str, object] | None]:
    user_id, microseconds = page.number("after"), page.number("since")
    after = None
    if user_id is not None and microseconds is not None and microseconds <= MAX_MICROSECONDS:
        after = TroubledPlace(microseconds, user_id)
    rows, last = await troubled_lists.list_troubled(
        page.db, connection_id, status, after=after, limit=PAGE_ROWS
    )
    if last is None:
        return rows, None
    return rows, {"status": status.value, "since": last.microseconds, "after": last.user_id}


def _prefix(page: Page, name: str) -> str:
    return page.query(name)[: mailbox_lists.MAX_FILTER_CHARACTERS].replace("\0", "")
