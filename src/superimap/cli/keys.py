"""Commands for the key that encrypts the database: generate and rotate."""

from __future__ import annotations

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import CommandError, command, database


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    app.command("generate-key")(generate_key)
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
