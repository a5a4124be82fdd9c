"""The commands `superimap admins`: operators of the dashboard."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import operator_tokens, output
from superimap.cli.options import AsJson, Yes, confirm
from superimap.cli.running import CommandContext, CommandError, command, transaction

if TYPE_CHECKING:
    from superimap.db.models import Operator

app = typer.Typer(help="Operators: the people who use the dashboard.", no_args_is_help=True)
app.add_typer(operator_tokens.app, name="tokens")

Email = Annotated[str, typer.Argument(help="Address with which the operator signs in.")]
RoleName = Annotated[
    str,
    typer.Option(
        "--role", metavar="ROLE", help="viewer, operator or owner; each may also do what the former may."
    ),
]


@app.command()
@command
async def create(email: Email, role: RoleName = "owner", as_json: AsJson = False) -> None:
    """Add an operator, and print the link with which the operator sets a password."""
    from superimap.db.operators import accounts

    async with transaction() as work:
        operator = await accounts.create(work.db, email, accounts.role_named(role))
        link = await _invite(work, operator)
    _show_link(operator.email, link, as_json=as_json)


@app.command()
@command
async def reset(email: Email, as_json: AsJson = False) -> None:
    """Print a new link with which the operator sets another password. The present one stays valid until then."""
    async with transaction() as work:
        operator = await _find(work, email)
        link = await _invite(work, operator)
    _show_link(operator.email, link, as_json=as_json)


@app.command(name="list")
@command
async def list_(as_json: AsJson = False) -> None:
    """List the operators."""
    from superimap.db.operators import accounts

    async with transaction() as work:
        operators = await accounts.list_all(work.db)
        now = await accounts.now(work.db)
    if as_json:
        names = ("email", "role", "created_at", "signed_in_at", "sign_ins", "locked_until", "disabled_at")
        output.show_json([output.as_dict(each, names) for each in operators])
        return
    output.print_table(
        ("EMAIL", "ROLE", "STATE", "LAST SIGN-IN"),
        [
            (
                each.email,
                each.role,
                "disabled"
                if each.disabled_at
                else "locked"
                if accounts.lock_of(each).is_closed(now)
                else "active",
                each.signed_in_at,
            )
            for each in operators
        ],
        none="There is no operator; `superimap admins create ada@example.com` adds one.",
    )


@app.command()
@command
async def unlock(email: Email) -> None:
    """Let an operator try passwords again before the lock ends."""
    from superimap.db.operators import accounts

    async with transaction() as work:
        await accounts.unlock(work.db, await _find(work, email))
    output.print_line(f"{email} may try passwords again.")


@app.command()
@command
async def change(
    email: Email,
    role: Annotated[
        str | None, typer.Option("--role", metavar="ROLE", help="viewer, operator or owner.")
    ] = None,
    disable: Annotated[
        bool | None, typer.Option("--disable/--enable", help="Whether the operator may not sign in.")
    ] = None,
) -> None:
    """Change the role, or disable or enable an operator. All sessions of the operator end."""
    from superimap.db.operators import accounts

    async with transaction() as work:
        operator = await _find(work, email)
        await accounts.change(
            work.db, operator, role=None if role is None else accounts.role_named(role), disabled=disable
        )
    output.print_line(f"{operator.email} is changed.")


@app.command()
@command
async def delete(email: Email, yes: Yes = False) -> None:
    """Delete an operator. What the operator did stays in the audit log."""
    from superimap.db.operators import accounts

    confirm(f"Delete the operator {email}?", yes=yes)
    async with transaction() as work:
        await accounts.delete(work.db, await _find(work, email))
    output.print_line(f"{email} is deleted.")


async def _find(work: CommandContext, email: str) -> Operator:
    from superimap.db.operators import accounts

    operator = await accounts.by_email(work.db, email, lock=True)
    if operator is None:
        raise CommandError(f"There is no operator {email!r}; `superimap admins list` shows all.")
    return operator


async def _invite(work: CommandContext, operator: Operator) -> str:
    from superimap.db.operators import links

    secret = await links.invite(work.db, operator)
    base = work.settings.base_url or f"http://{work.settings.host}:{work.settings.port}"
    return f"{base}/admin/invitation?link={secret}"


def _show_link(email: str, link: str, *, as_json: bool) -> None:
    if as_json:
        output.show_json({"email": email, "link": link})
        return
    output.print_line(f"With this link, {email} sets a password. It works once, and for three days:")
    output.print_secret("link", link)
