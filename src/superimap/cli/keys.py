"""Commands for the keys that encrypt the database: generate, list and rotate."""

from __future__ import annotations

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import CommandError, command, database


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("generate-key")(generate_key)
    app.command("keys")(keys)
    app.command("rotate-keys")(rotate_keys)


def generate_key(as_json: AsJson = False) -> None:
    """Print a new value for ENCRYPTION_KEY. Back it up: data encrypted with it is lost without it."""
    from superimap.core import crypto

    key = crypto.generate_key()
    if as_json:
        output.show_json({"encryption_key": key})
    else:
        typer.echo(key)


@command
async def keys(as_json: AsJson = False) -> None:
    """List encryption keys by id, with the number of values that each has encrypted."""
    from superimap.core.crypto import MAX_SEALS_PER_KEY
    from superimap.db import key_usage, postgres

    async with database() as (settings, vault, _), postgres.transaction(settings.database_url) as db:
        usages = await key_usage.read_key_usage(db)
    rows = [
        {
            "key_id": usage.key_id,
            "state": vault.role_of(usage.key_id),
            "encrypted": usage.seals,
            "share_of_limit": round(usage.seals / MAX_SEALS_PER_KEY, 4),
            "since": usage.since,
            "needs_successor": usage.needs_successor,
        }
        for usage in usages
    ]
    if as_json:
        output.show_json(rows)
        return
    columns = [(*list(row.values())[:3], f"{row['share_of_limit']:.2%}", row["since"]) for row in rows]
    output.print_table(("KEY", "STATE", "ENCRYPTED", "OF LIMIT", "SINCE"), columns, none="No key is in use.")
    for usage in usages:
        if usage.needs_successor and vault.role_of(usage.key_id) == "encrypts":
            output.print_line(
                f"Key {usage.key_id} has encrypted half of what one key may encrypt: replace it soon "
                "(docs/operations.md, Key rotation)."
            )


@command
async def rotate_keys(as_json: AsJson = False) -> None:
    """Re-encrypt all secrets with the first key of ENCRYPTION_KEY.

    This needs no downtime. First give every process both keys, the new one last (old,new), so that all can
    decrypt with it. Then give them new,old, so that all encrypt with it. Then run this command, and remove the
    old key. The command may be stopped and run again at any time.
    """
    from superimap.db import audit
    from superimap.db.rotation import rotate_keys as rotate
    from superimap.domain.audit import AuditAction

    async with database() as (_, vault, sessionmaker):
        rotation = await rotate(sessionmaker, vault)
        async with sessionmaker.begin() as db:
            details = {"key_id": vault.primary.hex(), "count": sum(rotation.resealed.values())}
            await audit.record(db, AuditAction.INSTALLATION_REENCRYPT, partner_id=None, details=details)
    if as_json:
        output.show_json(
            {
                "key_id": vault.primary.hex(),
                "resealed": rotation.resealed,
                "unopened": rotation.unopened,
                "unused": rotation.unused,
            }
        )
    else:
        output.print_table(("COLUMN", "RE-ENCRYPTED"), list(rotation.resealed.items()), none="Nothing to do.")
        output.print_line(
            f"All values that can be decrypted are now encrypted with key {vault.primary.hex()}."
        )
        for key_id in rotation.unused:
            output.print_line(f"Key {key_id} is no longer used; remove it from ENCRYPTION_KEY.")
    if rotation.unopened:
        raise CommandError(
            "\n".join(rotation.unopened)
            + f"\n{len(rotation.unopened)} value(s) cannot be decrypted and stay as they are; "
            "add their key to ENCRYPTION_KEY, or set the values again."
        )
