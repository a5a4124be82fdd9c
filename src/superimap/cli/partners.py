"""The commands `superimap partners`: partners, their URLs and their keys."""

from __future__ import annotations

import shlex
from typing import Annotated, Any

import typer

from superimap.cli import output, partner_keys, partner_quotas
from superimap.cli.options import AsJson, PartnerName, Yes, confirm
from superimap.cli.running import command, find_partner, transaction

app = typer.Typer(help="Partners: the applications that use the API.", no_args_is_help=True)

SHOWN_ONCE = "Store both now: they are not shown again."
SuccessUrl = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Page for people who have connected or disconnected; '' clears it."),
]
FailureUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="Page for people whose attempt to connect or disconnect failed; '' clears it."
    ),
]
ReturnOrigin = Annotated[
    list[str] | None,
    typer.Option(
        metavar="ORIGIN", help="Origin that links may return to, such as https://app.example.com; repeatable."
    ),
]
AppendResults = Annotated[
    bool | None,
    typer.Option(
        "--append-results/--no-append-results",
        help="Append the result to the query of the pages that people return to; off by default.",
    ),
]
SendTraceparent = Annotated[
    bool | None,
    typer.Option(
        "--send-traceparent/--no-send-traceparent",
        help="Send the header traceparent with webhooks, by which receivers continue a trace; off by default.",
    ),
]
NewMail = Annotated[str | None, typer.Option(metavar="URL", help="URL for new_mail webhooks; '' clears it.")]
Connected = Annotated[
    str | None, typer.Option(metavar="URL", help="URL for user_connected webhooks; '' clears it.")
]
Events = Annotated[
    str | None,
    typer.Option(
        metavar="URL", help="URL for webhooks about other events, such as a refused login; '' clears it."
    ),
]
Disconnected = Annotated[
    str | None, typer.Option(metavar="URL", help="URL for user_disconnected webhooks; '' clears it.")
]


@app.command()
@command
async def create(
    name: Annotated[str, typer.Argument(help="Name of the partner, such as acme-production.")],
    success_url: SuccessUrl = None,
    failure_url: FailureUrl = None,
    return_origin: ReturnOrigin = None,
    append_results: AppendResults = None,
    send_traceparent: SendTraceparent = None,
    new_mail_webhook: NewMail = None,
    user_connected_webhook: Connected = None,
    user_disconnected_webhook: Disconnected = None,
    events_webhook: Events = None,
    as_json: AsJson = False,
) -> None:
    """Add a partner. Its API key and signing secret are shown only once."""
    from superimap.db.accounts import partners

    async with transaction() as work:
        created = await partners.create(
            work.db,
            work.vault,
            https_only=work.https_only,
            name=name,
            success_url=success_url,
            failure_url=failure_url,
            return_origins=return_origin or (),
            append_results=append_results or False,
            send_traceparent=send_traceparent or False,
            new_mail_webhook=new_mail_webhook,
            user_connected_webhook=user_connected_webhook,
            user_disconnected_webhook=user_disconnected_webhook,
            events_webhook=events_webhook,
        )
        answer = await partners.describe(work.db, created.partner)
    secrets = {"api_key": created.api_key, "signing_secret": created.signing_secret}
    if as_json:
        output.show_json(answer | secrets)
        return
    output.print_line(f"Created partner {created.partner.name} with id {created.partner.id}.")
    output.print_secret("API key       ", created.api_key)
    output.print_secret("Signing secret", created.signing_secret)
    output.print_line(SHOWN_ONCE)
    name = shlex.quote(created.partner.name)
    output.print_line(f"Next: `superimap connections create {name} CODE` connects it to a mail provider.")


@app.command("list")
@command
async def list_all(as_json: AsJson = False) -> None:
    """List all partners."""
    from superimap.db.accounts import partners

    async with transaction() as work:
        rows = await partners.list_with_counts(work.db)
    if as_json:
        names = ("id", "name", "created_at")
        output.show_json(
            [
                output.as_dict(row.partner, names) | {"connections": row.connections, "users": row.users}
                for row in rows
            ]
        )
        return
    output.print_table(
        ("ID", "NAME", "CONNECTIONS", "USERS", "CREATED"),
        [
            (row.partner.id, row.partner.name, row.connections, row.users, row.partner.created_at)
            for row in rows
        ],
        none="There is no partner yet; `superimap partners create NAME` adds one.",
    )


@app.command()
@command
async def show(partner: PartnerName, as_json: AsJson = False) -> None:
    """Show a partner and its URLs. `partners keys` lists its keys."""
    from superimap.db.accounts import partners

    async with transaction() as work:
        answer = await partners.describe(work.db, await find_partner(work.db, partner))
    _answer(answer, as_json=as_json)


@app.command()
@command
async def update(
    partner: PartnerName,
    name: Annotated[str | None, typer.Option(metavar="NAME", help="New name.")] = None,
    success_url: SuccessUrl = None,
    failure_url: FailureUrl = None,
    return_origin: ReturnOrigin = None,
    no_return_origins: Annotated[
        bool, typer.Option("--no-return-origins", help="Remove every return origin.")
    ] = False,
    append_results: AppendResults = None,
    send_traceparent: SendTraceparent = None,
    new_mail_webhook: NewMail = None,
    user_connected_webhook: Connected = None,
    user_disconnected_webhook: Disconnected = None,
    events_webhook: Events = None,
    as_json: AsJson = False,
) -> None:
    """Change the given fields. Return origins replace the previous ones."""
    from superimap.db.accounts import partners

    changes: dict[str, Any] = {
        "name": name,
        "success_url": success_url,
        "failure_url": failure_url,
        "append_results": append_results,
        "send_traceparent": send_traceparent,
        "return_origins": () if no_return_origins else return_origin or None,
        "new_mail_webhook": new_mail_webhook,
        "user_connected_webhook": user_connected_webhook,
        "user_disconnected_webhook": user_disconnected_webhook,
        "events_webhook": events_webhook,
    }
    changes = {field: value for field, value in changes.items() if value is not None}
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        found = await partners.update(work.db, found.id, https_only=work.https_only, **changes)
        answer = await partners.describe(work.db, found)
    _answer(answer, as_json=as_json)


@app.command()
@command
async def delete(partner: PartnerName, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a partner with its connections and users. Their messages and pending webhooks are deleted too."""
    from superimap.db.accounts import connections, partners

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        linked = await connections.list_with_counts(work.db, found.id)
    users = sum(connection.users_count for connection in linked)
    question = f"Delete {found.name} with {len(linked)} connection(s) and {users} user(s) permanently?"
    confirm(question, yes=yes)
    async with transaction() as work:
        await partners.delete(work.db, found.id)
    if as_json:
        output.show_json({"id": found.id, "name": found.name, "deleted": True})
    else:
        output.print_line(f"Deleted partner {found.name}.")


def _answer(answer: dict[str, object], *, as_json: bool) -> None:
    (output.show_json if as_json else output.print_record)(answer)


partner_keys.register(app)
partner_quotas.register(app)
