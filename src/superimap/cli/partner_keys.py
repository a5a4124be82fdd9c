"""Commands for the API keys and signing secrets of a partner."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from superimap.cli import output
from superimap.cli.options import AsJson, Overlap, PartnerName, span
from superimap.cli.running import command, find_partner, transaction

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession

DEFAULT_OVERLAP = timedelta(days=1)
KEY_FIELDS = ("id", "name", "hint", "scopes", "networks", "created_at", "expires_at", "last_used_at")


Name = Annotated[str | None, typer.Option("--name", metavar="NAME", help="Name of the key.")]
Scopes = Annotated[
    list[str] | None,
    typer.Option("--scope", metavar="SCOPE", help="read, write, replay or keys; repeatable. [default: all]"),
]
Networks = Annotated[
    list[str] | None,
    typer.Option(
        "--network",
        metavar="NETWORK",
        help="Network from which it may be used; repeatable. [default: every one]",
    ),
]
Expires = Annotated[
    timedelta | None,
    typer.Option(
        "--expires-in", parser=span, metavar="TIME", help="Time for which it is valid, such as 90d."
    ),
]
KeyId = Annotated[int, typer.Argument(metavar="KEY", help="Id of the key, as `partners keys` lists it.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `superimap partners`."""
    app.command("keys")(keys)
    app.command("add-key")(add_key)
    app.command("update-key")(update_key)
    app.command("sign-with")(sign_with)
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
        (
            "ID",
            "KIND",
            "PREFIX",
            "CREATED",
            "EXPIRES",
            "STATE",
            "NAME",
            "SCOPES",
            "NETWORKS",
            "LAST USED",
            "SIGNS",
        ),
        [tuple(row.values()) for row in rows],
        none="This partner has no keys.",
    )


@command
async def add_key(
    partner: PartnerName,
    name: Annotated[str, typer.Argument(help="Name of the key, such as billing-reader.")],
    scope: Scopes = None,
    network: Networks = None,
    expires_in: Expires = None,
    as_json: AsJson = False,
) -> None:
    """Create a further API key, shown only once. It does not sign webhook bodies."""
    from superimap.db.accounts import api_keys
    from superimap.db.accounts.validation.api_keys import validate_key

    fields = _given(name, scope, network)
    if expires_in is not None:
        fields["expires_at"] = datetime.now(UTC) + expires_in
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        created = await api_keys.create(work.db, work.vault, found.id, validate_key(fields))
    if as_json:
        output.show_json(output.as_dict(created.key, KEY_FIELDS) | {"api_key": created.secret})
        return
    output.print_secret("API key", created.secret)
    output.print_line("Store it now: it is not shown again.")


@command
async def update_key(
    partner: PartnerName,
    key: KeyId,
    name: Name = None,
    scope: Scopes = None,
    network: Networks = None,
    every_network: Annotated[
        bool, typer.Option("--every-network", help="Allow every source address.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Change name, scopes or networks of an API key. Given scopes and networks replace the previous ones."""
    from superimap.db.accounts import api_keys
    from superimap.db.accounts.validation.api_keys import validate_key

    fields = _given(name, scope, [] if every_network else network)
    async with transaction() as work:
        found = await find_partner(work.db, partner)
        changed = await api_keys.update(work.db, found.id, key, validate_key(fields))
        answer = output.as_dict(changed, KEY_FIELDS)
    (output.show_json if as_json else output.print_record)(answer)


@command
async def sign_with(partner: PartnerName, key: KeyId, as_json: AsJson = False) -> None:
    """Have an API key make `signature` in webhook bodies from now on."""
    from superimap.db.accounts import api_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        marked = await api_keys.mark_for_signing(work.db, found.id, key)
        answer = output.as_dict(marked, KEY_FIELDS)
    if as_json:
        output.show_json(answer)
    else:
        output.print_line(
            f"API key {marked.id} ({marked.hint}…) signs the webhook bodies of {found.name} now."
        )


@command
async def rotate_key(
    partner: PartnerName, overlap: Overlap = DEFAULT_OVERLAP, as_json: AsJson = False
) -> None:
    """Replace the API key that signs webhook bodies by a new one, shown only once.

    The previous key stays valid for a while. Until it expires or is retired it still makes `signature` in webhook
    bodies, so that receivers can learn the new key first. Keys that do not sign stay as they are.
    """
    from superimap.db.accounts import api_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        api_key = (await api_keys.rotate(work.db, work.vault, found.id, overlap=overlap)).secret
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
    key: KeyId,
    as_json: AsJson = False,
) -> None:
    """Expire an API key now. The last valid key cannot be retired, nor the only one that signs."""
    from superimap.db.accounts import api_keys

    async with transaction() as work:
        found = await find_partner(work.db, partner)
        retired = await api_keys.retire(work.db, found.id, key)
    if as_json:
        output.show_json(output.as_dict(retired, ("id", "hint", "expires_at")))
    else:
        output.print_line(f"Retired API key {retired.id} ({retired.hint}…) of {found.name}.")


def _given(name: str | None, scope: list[str] | None, network: list[str] | None) -> dict[str, Any]:
    """The fields that were given."""
    given = {"name": name, "scopes": scope, "networks": network}
    return {field: value for field, value in given.items() if value is not None}


async def _listed(db: AsyncSession, partner_id: int) -> list[dict[str, object]]:
    from superimap.db.accounts import api_keys, partner_keys

    signing = await api_keys.signing_key_id(db, partner_id)

    def line(kind: str, row: Any) -> dict[str, object]:
        expires: datetime | None = row.expires_at
        is_key = kind == "api_key"
        is_valid = partner_keys.is_valid(row)
        return {
            "id": row.id,
            "kind": kind,
            "begins": row.hint if is_key else None,
            "created_at": row.created_at,
            "expires_at": expires,
            "state": "valid" if is_valid else "expired",
            "name": row.name if is_key else None,
            "scopes": row.scopes if is_key else None,
            "networks": row.networks if is_key else None,
            "last_used_at": row.last_used_at if is_key else None,
            "is_signing": row.id == signing if is_key else is_valid,
        }

    return [
        *(line("api_key", row) for row in await api_keys.list_keys(db, partner_id)),
        *(line("signing_secret", row) for row in await partner_keys.list_signing_secrets(db, partner_id)),
    ]
