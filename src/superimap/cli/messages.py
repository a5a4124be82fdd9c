"""The command `superimap messages`: a user's last mails and the outcome of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Code, PartnerName, Tag
from superimap.cli.running import CommandError, command, find_connection, find_partner, transaction

if TYPE_CHECKING:
    from superimap.db.monitoring.messages import MessageRow

MAX_MESSAGES = 200


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command("messages")(messages)


@command
async def messages(
    partner: PartnerName,
    code: Code,
    tag: Tag,
    limit: Annotated[
        int, typer.Option(min=1, max=MAX_MESSAGES, metavar="NUMBER", help="Maximum number of mails to list.")
    ] = 20,
    before: Annotated[
        int | None,
        typer.Option(min=1, max=2**63 - 1, metavar="ID", help="Only mails before the message with this id."),
    ] = None,
    outcome: Annotated[
        str | None, typer.Option(metavar="OUTCOME", help="Only this outcome, such as delivered or too_big.")
    ] = None,
    retry: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=2**63 - 1,
            metavar="ID",
            help="First have this mail read again, which is unreadable, too_big or deferred.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """List a user's last mails, each with its outcome and reason."""
    from superimap.db.accounts import mail_retries, users
    from superimap.db.errors import RequestError
    from superimap.db.monitoring import messages
    from superimap.domain.mails import MailOutcome

    if outcome is not None and outcome not in set(MailOutcome):
        raise CommandError(f"There is no outcome {outcome!r}; the outcomes are {', '.join(MailOutcome)}.")
    async with transaction() as work:
        linked = await find_connection(work.db, await find_partner(work.db, partner), code)
        user = await users.by_tag(work.db, linked.connection, tag)
        if user is None:
            raise CommandError(f"This connection has no user {tag!r}; `superimap users list` shows them.")
        if retry is not None:
            try:
                await mail_retries.retry_message(work.db, user, retry)
            except RequestError as error:
                raise CommandError(f"Mail {retry} cannot be read again. {error}") from None
        rows = await messages.list_latest(
            work.db, user, limit=limit + 1, before=before, outcome=MailOutcome(outcome) if outcome else None
        )
    shown = rows[:limit]
    if as_json:
        output.show_json([asdict(message) for message in shown])
        return
    _print_messages(shown)
    if len(rows) > limit:
        output.print_line(f"There are more; --before {shown[-1].id} lists the earlier ones.")


def _print_messages(shown: Sequence[MessageRow]) -> None:
    output.print_table(
        ("ID", "SEEN, DATE", "MAIL", "OUTCOME", "REASON"),
        [
            (
                message.id,
                [message.seen_at, message.internal_date],
                [f"{message.mailbox} {message.uid}, {message.size} bytes", message.message_id],
                message.outcome,
                message.reason,
            )
            for message in shown
        ],
        none="No matching mail was seen; `superimap users show` shows how far the mailbox has been read.",
    )
