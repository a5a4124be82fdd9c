"""The commands `superimap admins tokens`: tokens with which programs act for an operator."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, span
from superimap.cli.running import CommandContext, CommandError, command, transaction

if TYPE_CHECKING:
    from superimap.db.models import Operator

app = typer.Typer(help="Tokens with which programs use the operator API.", no_args_is_help=True)

FIELDS = ("id", "name", "hint", "role", "is_confirmed", "created_at", "expires_at", "last_used_at")
DEFAULT_TIME = timedelta(days=90)


@app.command()
@command
async def create(
    email: Annotated[str, typer.Argument(help="Address of the operator for whom the program acts.")],
    name: Annotated[str, typer.Argument(help="Name of the token, such as the program that uses it.")],
    role: Annotated[
        str,
        typer.Option("--role", metavar="ROLE", help="viewer, operator or owner; not above the operator's."),
    ] = "viewer",
    expires_in: Annotated[
        timedelta,
        typer.Option(
            parser=span,
            metavar="TIME",
            help="Time for which it is valid, in whole days, 365d at most. [default: 90d]",
            show_default=False,
        ),
    ] = DEFAULT_TIME,
    confirmed: Annotated[
        bool,
        typer.Option(
            "--confirmed", help="Also allow what needs a confirmed identity: deletions, keys, providers …"
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Create a token, shown only once."""
    from superimap.db.operators import tokens

    async with transaction() as work:
        operator = await _find(work, email)
        made = await tokens.create(
            work.db, operator, name=name, role=role, days=expires_in.days, is_confirmed=confirmed
        )
        answer = output.as_dict(made.token, FIELDS)
    if as_json:
        output.show_json(answer | {"token": made.secret})
        return
    output.print_secret("token", made.secret)
    output.print_line("Store it now: it is not shown again.")


@app.command(name="list")
@command
async def list_(as_json: AsJson = False) -> None:
    """List the tokens of all operators, without their secrets."""
    from superimap.db.operators import tokens

    async with transaction() as work:
        rows = [
            {"operator": row.operator.email} | output.as_dict(row.token, FIELDS)
            for row in await tokens.list_all(work.db)
        ]
    if as_json:
        output.show_json(rows)
        return
    output.print_table(
        (
            "OPERATOR",
            "ID",
            "NAME",
            "BEGINS",
            "ROLE",
            "CONFIRMED",
            "CREATED",
            "EXPIRES",
            "LAST USED",
        ),
        [tuple(row.values()) for row in rows],
        none="There is no token; `superimap admins tokens create ada@example.com NAME` makes one.",
    )


@app.command()
@command
async def revoke(
    token: Annotated[
        int, typer.Argument(metavar="TOKEN", min=1, help="Id of the token, as `list` shows it.")
    ],
) -> None:
    """End the validity of a token now."""
    from superimap.db.operators import tokens

    async with transaction() as work:
        await tokens.revoke(work.db, token)
    output.print_line(f"Token {token} is revoked.")


async def _find(work: CommandContext, email: str) -> Operator:
    from superimap.db.operators import accounts

    operator = await accounts.by_email(work.db, email, lock=True)
    if operator is None:
        raise CommandError(f"There is no operator {email!r}; `superimap admins list` shows all.")
    return operator
