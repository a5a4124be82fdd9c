"""The commands that list and purge the audit log."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Yes, confirm, moment
from superimap.cli.running import CommandError, command, database, find_partner, transaction

if TYPE_CHECKING:
    from superimap.db.audit import AuditFilter
    from superimap.db.models import AuditEntry

ENTRY_FIELDS = ("id", "at", "actor_kind", "actor", "partner_id", "action", "object_id", "fields", "details")
MIN_DAYS = 90


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("audit")(list_entries)
    app.command("purge-audit")(purge)


@command
async def list_entries(
    partner: Annotated[
        str | None, typer.Option(metavar="PARTNER", help="Only changes of this partner (name or id).")
    ] = None,
    actor_kind: Annotated[
        str | None, typer.Option(metavar="KIND", help="Only changes by operator, api_key, link or system.")
    ] = None,
    action: Annotated[
        str | None, typer.Option(metavar="ACTION", help="Only this action, such as user.update.")
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(
            parser=moment, metavar="TIME", help="Since: an age such as 2h, or 2026-09-21T14:00 (UTC)."
        ),
    ] = None,
    before: Annotated[
        int | None, typer.Option(min=1, metavar="ID", help="Only entries before the one with this id.")
    ] = None,
    limit: Annotated[
        int, typer.Option(min=1, max=1000, metavar="NUMBER", help="Maximum number of entries to list.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List changes by operators, API keys and people with links, latest first; no secrets."""
    from superimap.db import audit

    async with transaction() as work:
        partner_id = (await find_partner(work.db, partner)).id if partner is not None else None
        which = _filter(partner_id, actor_kind, action, since, before)
        rows = await audit.list_entries(work.db, which, limit=limit + 1)
    shown = rows[:limit]
    if as_json:
        output.show_json([output.as_dict(row, ENTRY_FIELDS) for row in shown])
        return
    _print_entries(shown)
    if len(rows) > limit:
        output.print_line(f"There are more; --before {shown[-1].id} lists the earlier ones.")


def _filter(
    partner_id: int | None,
    actor_kind: str | None,
    action: str | None,
    since: datetime | None,
    before: int | None,
) -> AuditFilter:
    from superimap.db.audit import AuditFilter
    from superimap.domain.audit import ActorKind, AuditAction

    if actor_kind is not None and actor_kind not in set(ActorKind):
        raise CommandError(f"--actor-kind must be one of {', '.join(ActorKind)}; got {actor_kind!r}.")
    if action is not None and action not in set(AuditAction):
        raise CommandError(f"--action must be one of {', '.join(AuditAction)}; got {action!r}.")
    return AuditFilter(
        partner_id,
        ActorKind(actor_kind) if actor_kind else None,
        AuditAction(action) if action else None,
        since,
        before,
    )


def _print_entries(shown: Sequence[AuditEntry]) -> None:
    output.print_table(
        ("ID", "AT", "ACTOR", "PARTNER", "ACTION", "OBJECT", "FIELDS"),
        [
            (
                row.id,
                row.at,
                f"{row.actor_kind} {row.actor}",
                row.partner_id,
                row.action,
                row.object_id,
                ", ".join(row.fields),
            )
            for row in shown
        ],
        none="No entries match.",
    )


@command
async def purge(
    days: Annotated[
        int, typer.Option(min=MIN_DAYS, metavar="DAYS", help="Age from which entries are deleted.")
    ] = 365,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Delete old entries of the audit log. Needs the role that owns the table."""
    from superimap.db import audit
    from superimap.domain.audit import AuditAction

    confirm(f"Delete all entries of the audit log that are older than {days} days?", yes=yes)
    count = 0
    async with database() as (_, _, sessionmaker):
        while True:
            async with sessionmaker.begin() as db:
                deleted = await audit.delete_old(db, days=days)
                count += deleted
                if deleted < audit.BATCH_ROWS:
                    details = {"days": days, "count": count}
                    await audit.record(db, AuditAction.AUDIT_LOG_PURGE, partner_id=None, details=details)
                    break
    if as_json:
        output.show_json({"deleted": count})
    else:
        output.print_line(f"Deleted {count} entries.")
