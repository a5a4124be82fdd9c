"""Commands that rotate a partner's API keys and signing secrets without downtime."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Overlap, PartnerName
from superimap.cli.running import command, find_partner, transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

DEFAULT_OVERLAP = timedelta(days=1)


def register(app: typer.Typer) -> None:
    """Add the commands to `superimap partners`."""
    app.command("keys")(keys)
    app.command("rotate-key")(rotate_key)
    app.command("retire-key")(retire_key)
    app.command("rotate-secret")(rotate_secret)


@command
async def keys(partner: PartnerName, as_json: AsJson = False) -> None:
    """List API keys and signing secrets; secrets stay hidden."""
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        rows = await _listed(work.db, found.id)
    if as_json:
        output.show_json(rows)
        return
    output.print_table(
        ("ID", "KIND", "PREFIX", "CREATED", "EXPIRES", "STATE"),
        [tuple(row.values()) for row in rows],
        none="This partner has no keys.",
    )


@command
async def rotate_key(
    partner: PartnerName, overlap: Overlap = DEFAULT_OVERLAP, as_json: AsJson = False
) -> None:
    """Create a new API key, shown only once. The previous one stays valid for a while.

    Until it expires or is retired, the previous key still makes `signature` in webhook bodies,
    so that receivers can learn the new key first.
    """
    from superimap.db.accounts import partner_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        api_key = await partner_keys.rotate_api_key(work.db, work.vault, found.id, overlap=overlap)
    if as_json:
        output.show_json({"id": found.id, "name": found.name, "api_key": api_key})
        return
    output.print_secret("API key", api_key)
    output.print_line("Store it now: it is not shown again.")
    if overlap:
        output.print_line(
            f"The previous key is valid for another {output.format_duration(overlap)}, or until "
            "`superimap partners retire-key`. Until then it signs webhook bodies; afterwards the new key does."
        )
    else:
        output.print_line(
            "The previous key is no longer valid; the new key signs webhook bodies from now on."
        )


@command
async def rotate_secret(
    partner: PartnerName, overlap: Overlap = DEFAULT_OVERLAP, as_json: AsJson = False
) -> None:
    """Create a new signing secret, shown only once. The previous one signs as well for a while."""
    from superimap.db.accounts import partner_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        secret = await partner_keys.rotate_signing_secret(work.db, work.vault, found.id, overlap=overlap)
    if as_json:
        output.show_json({"id": found.id, "name": found.name, "signing_secret": secret})
        return
    output.print_secret("Signing secret", secret)
    output.print_line("Store it now: it is not shown again.")
    if overlap:
        output.print_line(
            f"For {output.format_duration(overlap)} webhooks carry a signature by each of the two secrets."
        )
    else:
        output.print_line("The previous secret no longer signs webhooks.")


@command
async def retire_key(
    partner: PartnerName,
    key: Annotated[int, typer.Argument(help="Id of the key, as `partners keys` lists it.")],
    as_json: AsJson = False,
) -> None:
    """Expire an API key now. The last valid key cannot be retired."""
    from superimap.db.accounts import partner_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        retired = await partner_keys.retire_api_key(work.db, found.id, key)
    if as_json:
        output.show_json(output.as_dict(retired, ("id", "hint", "expires_at")))
    else:
        output.print_line(f"Retired API key {retired.id} ({retired.hint}…) of {found.name}.")


async def _listed(db: AsyncSession, partner_id: int) -> list[dict[str, object]]:
    from superimap.db.accounts import partner_keys

    now = datetime.now(UTC)

    def line(kind: str, begins: str | None, row: Any) -> dict[str, object]:
        expires: datetime | None = row.expires_at
        return {
            "id": row.id,
            "kind": kind,
            "begins": begins,
            "created_at": row.created_at,
            "expires_at": expires,
            "state": "expired" if expires is not None and expires <= now else "valid",
        }

    return [
        *(line("api_key", row.hint, row) for row in await partner_keys.list_api_keys(db, partner_id)),
        *(
            line("signing_secret", None, row)
            for row in await partner_keys.list_signing_secrets(db, partner_id)
        ),
    ]
