"""The command that shows and sets the quotas of a partner."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, PartnerName
from superimap.cli.running import CommandError, command, find_partner, transaction

if TYPE_CHECKING:
    from superimap.domain.quotas import Quota

Sets = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="QUOTA=NUMBER", help="Set a quota, such as users=500000; repeatable."),
]
Resets = Annotated[
    list[str] | None,
    typer.Option(
        "--reset", metavar="QUOTA", help="Return a quota to the default of the settings; repeatable."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the command to `superimap partners`."""
    app.command("quota")(quota)


@command
async def quota(
    partner: PartnerName, sets: Sets = None, resets: Resets = None, as_json: AsJson = False
) -> None:
    """Show a partner's quotas and what is used of them; set or reset some of them first."""
    from superimap.db.accounts import quotas

    changes = {_known(name): None for name in resets or ()} | dict(_parsed(each) for each in sets or ())
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        await quotas.set_maximums(work.db, found.id, changes)
        rows = await quotas.list_quotas(work.db, found.id)
    if as_json:
        output.show_json([row._asdict() for row in rows])
        return
    output.print_table(
        ("QUOTA", "MAXIMUM", "USED", "DEFAULT", "HELD"),
        [(row.quota, row.maximum, row.used, row.is_default, row.is_held) for row in rows],
        none="There are no quotas.",
    )


def _parsed(given: str) -> tuple[Quota, int | None]:
    name, _, number = given.partition("=")
    if not number.isascii() or not number.isdecimal():
        raise CommandError(f"--set must be QUOTA=NUMBER, such as users=500000; got {given!r}.")
    return _known(name), int(number)


def _known(name: str) -> Quota:
    from superimap.domain.quotas import Quota

    if name not in set(Quota):
        raise CommandError(f"There is no quota {name!r}; the quotas are {', '.join(Quota)}.")
    return Quota(name)
