"""The list of mailboxes that are not watched, as a file for those who write to the people."""

import csv
import io

from starlette.responses import Response

from superimap.api.dashboard.menus import ADMIN, PORTAL
from superimap.api.dashboard.page import Page
from superimap.api.dashboard.pages import Pages
from superimap.api.dashboard.render import POLICY
from superimap.api.errors import Problem
from superimap.db.monitoring import troubled_lists
from superimap.db.monitoring.troubled_lists import ExportedMailbox
from superimap.domain.users import TROUBLED, UserStatus

pages = Pages(ADMIN, PORTAL)

MAX_EXPORTED = 10_000
FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


@pages.get("/unwatched.csv")
async def download(page: Page) -> Response:
    """Download the mailboxes of one status, at most MAX_EXPORTED, as CSV (RFC 4180)."""
    given = page.query("status")
    if given not in TROUBLED:
        raise Problem(
            404, f"There is no list for this status. There is one for {', '.join(sorted(TROUBLED))}."
        )
    rows = await troubled_lists.export_troubled(
        page.db, UserStatus(given), partner_id=page.scope, limit=MAX_EXPORTED
    )
    file = io.StringIO()
    writer = csv.writer(file)
    writer.writerow(ExportedMailbox._fields)
    writer.writerows(map(_cells, rows))
    headers = {
        "Content-Disposition": f'attachment; filename="{given}.csv"',
        "Content-Security-Policy": POLICY,
    }
    return Response(file.getvalue(), media_type="text/csv; charset=utf-8", headers=headers)


def _cells(row: ExportedMailbox) -> list[str]:
    """Return the cells of a row. A spreadsheet would compute one that begins like a formula."""
    return [*map(_cell, row[:-2]), row.since.isoformat(timespec="seconds"), _cell(row.reason)]


def _cell(value: str | None) -> str:
    text = value or ""
    return f"'{text}" if text.startswith(FORMULA_STARTS) else text
