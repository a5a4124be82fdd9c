"""The commands `superimap deliveries`: list, replay and cancel webhooks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, PartnerName, Yes, confirm, moment
from superimap.cli.running import (
    CommandContext,
    CommandError,
    command,
    database,
    find_partner,
    ring,
    transaction,
)

if TYPE_CHECKING:
    from superimap.db.monitoring.history import DeliveryFilter

app = typer.Typer(help="Pending, delivered, failed and cancelled webhooks.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(metavar="ID", help="The webhook-id, or the UUID of the delivery.")]
Kind = Annotated[
    str | None, typer.Option(metavar="KIND", help="Only webhooks of this kind, such as new_mail.")
]
UserTag = Annotated[str | None, typer.Option("--user", metavar="TAG", help="Only webhooks about this user.")]
CodeOption = Annotated[
    str | None, typer.Option("--code", metavar="CODE", help="Only webhooks about users of this connection.")
]
Since = Annotated[
    datetime | None,
    typer.Option(
        parser=moment, metavar="TIME", help="Created since: an age such as 2h, or 2026-09-21T14:00 (UTC)."
    ),
]
Until = Annotated[
    datetime | None, typer.Option(parser=moment, metavar="TIME", help="Created before, in the same formats.")
]


@app.command("list")
@command
async def list_all(
    partner: PartnerName,
    state: Annotated[
        str | None, typer.Option(metavar="STATE", help="Only this state, such as failed or pending.")
    ] = None,
    kind: Kind = None,
    user: UserTag = None,
    code: CodeOption = None,
    since: Since = None,
    until: Until = None,
    limit: Annotated[
        int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Maximum number of webhooks to list.")
    ] = 50,
    as_json: AsJson = False,
) -> None:
    """List a partner's webhooks, newest first, with the last answer."""
    from superimap.db.monitoring import history

    async with transaction() as work:
        which = await _which(work, partner, state, kind, user, code, since, until)
        rows = await history.list_deliveries(work.db, which, limit=limit + 1)
    shown = rows[:limit]
    if as_json:
        output.show_json([asdict(row) for row in shown])
        return
    output.print_table(
        ("ID", "STATE", "KIND", "USER", "CREATED", "ATTEMPTS", "NEXT", "LAST"),
        [
            (
                row.id, row.state, row.kind, row.user_tag, row.created_at, row.attempts, row.next_attempt_at,
                row.last_code or row.last_error,
            )
            for row in shown
        ],
        none="No webhooks match.",
    )  # fmt: skip
    if len(rows) > limit:
        output.print_line(
            f"There are more than {limit}: raise --limit, or narrow the list with --state, --user or --since."
        )


@app.command()
@command
async def show(partner: PartnerName, delivery: Id, as_json: AsJson = False) -> None:
    """Show a webhook, its attempts, and the beginning of each answer."""
    from superimap.db.monitoring import history

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        id_ = _id(delivery)
        answer: dict[str, object] = asdict(await history.get_delivery(work.db, found.id, id_))
        attempts = [asdict(one) for one in await history.list_attempts(work.db, work.vault, found.id, id_)]
    if as_json:
        output.show_json(answer | {"attempts_made": attempts})
        return
    output.print_record(answer)
    for attempt in attempts:
        output.print_line("")
        output.print_record(attempt)


@app.command()
@command
async def replay(
    partner: PartnerName,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The webhook-ids.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Select all failed webhooks, or all that match the options below.")
    ] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Select cancelled webhooks instead of failed ones.")
    ] = False,
    kind: Kind = None,
    user: UserTag = None,
    code: CodeOption = None,
    since: Since = None,
    until: Until = None,
    as_json: AsJson = False,
) -> None:
    """Send failed webhooks again under their webhook-ids. Possible while their content is kept."""
    from superimap.domain.deliveries import DeliveryState

    _check_choice(ids, every=every, narrowed=bool(kind or user or code or since or until or cancelled))
    if ids:
        await _replay_these(partner, ids, as_json=as_json)
        return
    state = DeliveryState.CANCELLED if cancelled else DeliveryState.FAILED
    async with transaction() as work:
        which = await _which(work, partner, state, kind, user, code, since, until)
    await _replay_all(which, as_json=as_json)


@app.command()
@command
async def cancel(
    partner: PartnerName,
    ids: Annotated[list[str] | None, typer.Argument(metavar="ID", help="The webhook-ids.")] = None,
    every: Annotated[
        bool, typer.Option("--all", help="Select all pending webhooks, or all that match the options below.")
    ] = False,
    kind: Kind = None,
    user: UserTag = None,
    code: CodeOption = None,
    since: Since = None,
    until: Until = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """Cancel pending webhooks. They can be replayed while their content is kept."""
    from superimap.db.delivery import replay as queries
    from superimap.domain.deliveries import DeliveryState

    _check_choice(ids, every=every, narrowed=bool(kind or user or code or since or until))
    count = 0
    async with transaction() as work:
        which = await _which(work, partner, DeliveryState.PENDING, kind, user, code, since, until)
        for one in ids or ():
            await queries.cancel_one(work.db, which.partner_id, _id(one))
            count += 1
    if not ids:
        confirm("Cancel every pending webhook that these options select?", yes=yes)
        async with database() as (_, _, sessionmaker):
            while True:
                async with sessionmaker.begin() as db:
                    done = await queries.cancel(db, which, limit=queries.MAX_PER_CALL)
                count += done.count
                if not done.count or not done.remaining:
                    break
    _answer({"cancelled": count}, f"Cancelled {count} webhook(s).", as_json=as_json)


async def _replay_these(partner: str, ids: Iterable[str], *, as_json: bool) -> None:
    from superimap.db.delivery import replay as queries

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        endpoints = [await queries.replay_one(work.db, found.id, _id(one)) for one in ids]
        settings = work.settings
    await ring(settings, set(endpoints))
    _answer({"replayed": len(endpoints)}, f"Sending {len(endpoints)} webhook(s) again.", as_json=as_json)


async def _replay_all(which: DeliveryFilter, *, as_json: bool) -> None:
    """Replay in batches, each delivery once: one that fails again meanwhile is not replayed again."""
    from superimap.db.delivery import replay as queries

    count, above = 0, None
    async with database() as (settings, _, sessionmaker):
        while True:
            async with sessionmaker.begin() as db:
                done = await queries.replay(db, which, limit=queries.MAX_PER_CALL, above=above)
            await ring(settings, done.endpoints)
            count, above = count + done.count, done.last
            if above is None or not done.remaining:
                break
    said = f"Sending {count} webhook(s) again."
    if done.erased:
        said += f" The content of {done.erased} is erased, so they cannot be sent."
    if done.blocked:
        said += f" {done.blocked} have no enabled URL; see `superimap webhooks show`."
    answer = {"replayed": count, "erased": done.erased, "blocked": done.blocked}
    _answer(answer, said, as_json=as_json)


def _answer(answer: dict[str, int], sentence: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json(answer)
    else:
        output.print_line(sentence)


def _check_choice(ids: list[str] | None, *, every: bool, narrowed: bool) -> None:
    if not ids and not every and not narrowed:
        raise CommandError(
            "No webhooks are selected. Give their ids, an option such as --since or --user, or --all; "
            "`superimap deliveries list` lists them."
        )
    if ids and (every or narrowed):
        raise CommandError("Give either ids or options that select webhooks, not both.")


async def _which(
    work: CommandContext,
    partner: str,
    state: str | None,
    kind: str | None,
    user: str | None,
    code: str | None,
    since: datetime | None,
    until: datetime | None,
) -> DeliveryFilter:
    from superimap.db.monitoring.selections import select_deliveries
    from superimap.domain.deliveries import DeliveryState
    from superimap.domain.events import EventKind

    found = await find_partner(work.db, partner)
    return await select_deliveries(
        work.db,
        found.id,
        state=DeliveryState(_one_of(DeliveryState, "--state", state)) if state else None,
        kind=EventKind(_one_of(EventKind, "--kind", kind)) if kind else None,
        tag=user or None,
        code=code or None,
        since=since,
        until=until,
    )


def _one_of(words: Iterable[str], option: str, given: str) -> str:
    if given not in set(words):
        raise CommandError(f"{option} must be one of {', '.join(words)}; got {given!r}.")
    return given


def _id(given: str) -> UUID:
    from superimap.webhooks.signing import delivery_of

    try:
        return delivery_of(given) or UUID(given)
    except ValueError:
        raise CommandError(
            f"{given!r} is not a webhook-id; it must be msg_ followed by 32 hexadecimal digits."
        ) from None
