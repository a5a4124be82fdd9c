"""The commands `superimap sweeps`: readings of a mailbox's history into webhooks, with their progress."""

from __future__ import annotations

import asyncio
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, PartnerName, Tag, moment
from superimap.cli.running import (
    CommandContext,
    CommandError,
    command,
    find_connection,
    find_partner,
    transaction,
)

if TYPE_CHECKING:
    from superimap.db.models import Sweep, User
    from superimap.domain.sweeps import SweepState

app = typer.Typer(help="Sweeps, which read a mailbox's history into webhooks.", no_args_is_help=True)

FIELDS = (
    "id", "state", "cause", "reason", "total", "done", "sent", "known", "skipped", "unreadable", "since", "until",
    "folder", "max_mails", "direction", "again", "dry_run", "made_by", "created_at", "started_at", "finished_at",
    "failing_since",
)  # fmt: skip
MAIL_FIELDS = ("uid", "reason", "attempts", "first_failed_at", "next_attempt_at", "given_up_at")
FOLLOW_SECONDS = 1.0
BAR_CHARACTERS = 30

SweepId = Annotated[int, typer.Argument(min=1, max=2**63 - 1, metavar="ID", help="Id of the sweep.")]
Follow = Annotated[
    bool, typer.Option("--follow", help="Show the progress until the sweep ends or is paused.")
]


def _time(help: str) -> Any:
    return typer.Option(parser=moment, metavar="TIME", help=help)


@app.command()
@command
async def create(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    since: Annotated[
        datetime | None, _time("Mails received since: an age such as 30d, or 2026-09-21T14:00 (UTC).")
    ] = None,
    until: Annotated[datetime | None, _time("Mails received before this time.")] = None,
    folder: Annotated[
        str | None, typer.Option(metavar="NAME", help="Folder. [default: the one that is watched]")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(min=1, max=1_000_000, metavar="NUMBER", help="Maximum number of mails to send."),
    ] = None,
    oldest_first: Annotated[
        bool, typer.Option("--oldest-first", help="Begin with the earliest mail.")
    ] = False,
    again: Annotated[bool, typer.Option("--again", help="Send mails again that had their webhook.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Read the history of a user's mailbox into webhooks. A mail that had its webhook is not sent again."""
    from superimap.db.accounts import sweeps
    from superimap.db.accounts.sweeps import SweepRequest
    from superimap.domain.sweeps import SweepDirection

    direction = SweepDirection.OLDEST if oldest_first else SweepDirection.NEWEST
    request = SweepRequest(since, until, folder, limit, direction, again, dry_run)
    async with transaction() as work:
        made = _shown(await sweeps.create(work.db, await _find(work, partner, code, tag, lock=True), request))
    await _show(made, partner, code, tag, follow=follow, as_json=as_json)


@app.command("list")
@command
async def list_all(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    limit: Annotated[
        int, typer.Option(min=1, max=200, metavar="NUMBER", help="Maximum number of sweeps to list.")
    ] = 20,
    as_json: AsJson = False,
) -> None:
    """List a user's sweeps, latest first."""
    from superimap.db.accounts import sweeps

    async with transaction() as work:
        user = await _find(work, partner, code, tag)
        found = [_shown(each) for each in await sweeps.list_latest(work.db, user, limit=limit)]
    if as_json:
        output.show_json(found)
        return
    output.print_table(
        ("ID", "STATE", "CAUSE", "CREATED", "DONE", "SENT", "KNOWN", "REASON"),
        [
            (
                each["id"],
                each["state"],
                each["cause"],
                each["created_at"],
                f"{each['done']} of {each['total'] if each['total'] is not None else '?'}",
                each["sent"],
                each["known"],
                each["reason"],
            )
            for each in found
        ],
        none="This user has no sweeps; `superimap sweeps create` makes one.",
    )


@app.command()
@command
async def show(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    sweep: SweepId,
    follow: Follow = False,
    as_json: AsJson = False,
) -> None:
    """Show a sweep and how far it is; with --follow a progress bar."""
    found = await _read(partner, code, tag, sweep)
    await _show(found, partner, code, tag, follow=follow, as_json=as_json)


@app.command()
@command
async def pause(partner: PartnerName, code: Code, tag: Tag, sweep: SweepId) -> None:
    """Pause a sweep after its present batch."""
    from superimap.domain.sweeps import SweepState

    await _set_state(partner, code, tag, sweep, SweepState.PAUSED)


@app.command()
@command
async def resume(partner: PartnerName, code: Code, tag: Tag, sweep: SweepId) -> None:
    """Go on with a paused sweep, or at once with one that waits."""
    from superimap.domain.sweeps import SweepState

    await _set_state(partner, code, tag, sweep, SweepState.WAITING)


@app.command()
@command
async def cancel(partner: PartnerName, code: Code, tag: Tag, sweep: SweepId) -> None:
    """End a sweep after its present batch. Webhooks that are recorded are sent."""
    from superimap.domain.sweeps import SweepState

    await _set_state(partner, code, tag, sweep, SweepState.CANCELLED)


async def _set_state(partner: str, code: str, tag: str, sweep: int, state: SweepState) -> None:
    from superimap.db.accounts import sweeps
    from superimap.db.errors import RequestError

    async with transaction() as work:
        user = await _find(work, partner, code, tag, lock=True)
        try:
            changed = await sweeps.set_state(work.db, user, sweep, state)
        except RequestError as error:
            raise CommandError(str(error)) from None
        output.print_line(f"Sweep {sweep} is {changed.state}.")


async def _find(work: CommandContext, partner: str, code: str, tag: str, *, lock: bool = False) -> User:
    from superimap.db.accounts import users

    linked = await find_connection(work.db, await find_partner(work.db, partner), code)
    user = await users.by_tag(work.db, linked.connection, tag, lock=lock)
    if user is None:
        raise CommandError(f"This connection has no user {tag!r}; `superimap users list` shows them.")
    return user


async def _read(partner: str, code: str, tag: str, sweep: int) -> dict[str, Any]:
    from superimap.db.accounts import sweeps

    async with transaction() as work:
        found = await sweeps.get(work.db, await _find(work, partner, code, tag), sweep)
        unread = await sweeps.list_unread(work.db, found)
        return _shown(found) | {"unreadable_mails": [output.as_dict(mail, MAIL_FIELDS) for mail in unread]}


def _shown(sweep: Sweep) -> dict[str, Any]:
    return output.as_dict(sweep, FIELDS)


async def _show(
    sweep: dict[str, Any], partner: str, code: str, tag: str, *, follow: bool, as_json: bool
) -> None:
    """Print a sweep; with `follow` once it has ended or is paused, with a bar on a terminal until then."""
    is_terminal = sys.stderr.isatty()
    while follow and sweep["state"] in ("waiting", "running"):
        if is_terminal:
            typer.echo(f"\r\x1b[K{progress_line(sweep)}", nl=False, err=True)
        await asyncio.sleep(FOLLOW_SECONDS)
        sweep = await _read(partner, code, tag, sweep["id"])
    if follow and is_terminal:
        typer.echo(f"\r\x1b[K{progress_line(sweep)}", err=True)
    (output.show_json if as_json else output.print_record)(sweep)


def progress_line(sweep: dict[str, Any]) -> str:
    """Return the progress of a sweep as a bar and a sentence."""
    done, total = sweep["done"], sweep["total"]
    share = 0.0 if not total else min(done / total, 1.0)
    filled = round(share * BAR_CHARACTERS)
    words = "searching" if total is None else f"{done:,} of {total:,}"
    reason = f"; {sweep['reason']}" if sweep["reason"] else ""
    bar = "#" * filled + "-" * (BAR_CHARACTERS - filled)
    return f"[{bar}] {words}, {sweep['sent']:,} sent, {sweep['known']:,} known; {sweep['state']}{reason}"
