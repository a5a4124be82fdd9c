"""The commands `superimap webhooks`: endpoints and their health."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, PartnerName
from superimap.cli.running import CommandError, command, find_partner, ring, transaction

if TYPE_CHECKING:
    from superimap.domain.events import EventKind

app = typer.Typer(help="Endpoints: where webhooks go, and their health.", no_args_is_help=True)

ENDPOINT_FIELDS = (
    "kind",
    "url",
    "breaker",
    "failures",
    "failing_since",
    "probe_at",
    "disabled_at",
    "disabled_reason",
)
Kind = Annotated[str, typer.Argument(metavar="[KIND]", help="Kind of webhook.")]


@app.command()
@command
async def show(partner: PartnerName, as_json: AsJson = False) -> None:
    """Show the endpoint of each kind of webhook, and its health."""
    from superimap.db.accounts import webhook_endpoints

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        rows = [
            output.as_dict(row, ENDPOINT_FIELDS)
            for row in await webhook_endpoints.list_endpoints(work.db, found.id)
        ]
    if as_json:
        output.show_json(rows)
        return
    output.print_table(
        ("KIND", "URL", "BREAKER", "FAILURES", "FAILING SINCE", "NEXT PROBE", "DISABLED", "REASON"),
        [tuple(row.values()) for row in rows],
        none="This partner has no endpoints.",
    )


@app.command()
@command
async def enable(partner: PartnerName, kind: Kind = "new_mail", as_json: AsJson = False) -> None:
    """Enable a disabled endpoint and close its circuit breaker."""
    from superimap.db.accounts import webhook_endpoints

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        enabled = await webhook_endpoints.enable(work.db, found.id, _kind(kind))
        answer, settings = output.as_dict(enabled, ENDPOINT_FIELDS), work.settings
    await ring(settings, {enabled.id})
    if as_json:
        output.show_json(answer)
    else:
        output.print_line(f"{kind} webhooks go to {enabled.url} again; pending ones are sent at once.")


@app.command()
@command
async def test(partner: PartnerName, kind: Kind = "new_mail", as_json: AsJson = False) -> None:
    """Send one signed sample, without retries, and show the answer. Exit code 0 for a 2xx, else 1."""
    from superimap.db.accounts import partner_keys, webhook_endpoints
    from superimap.dispatcher import sample_webhooks

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        url = str((await webhook_endpoints.get_endpoint(work.db, found.id, _kind(kind))).url)
        keys = await partner_keys.signing_keys(work.db, work.vault, found.id)
        await webhook_endpoints.record_test(work.db, found.id, _kind(kind))
        settings = work.settings
    webhook_id, came = await sample_webhooks.send_sample(settings, keys, _kind(kind), url)
    answer: dict[str, object] = {
        "id": webhook_id,
        "url": url,
        "is_success": came.is_success,
        "code": came.status,
        "error": came.error,
        "milliseconds": came.milliseconds,
        "answer": sample_webhooks.shown_answer(came),
    }
    (output.show_json if as_json else output.print_record)(answer)
    if not came.is_success:
        raise typer.Exit(1)


def _kind(given: str) -> EventKind:
    from superimap.domain.events import EventKind

    if given not in set(EventKind):
        raise CommandError(f"There is no kind {given!r}; the kinds are {', '.join(EventKind)}.")
    return EventKind(given)
