"""How is the key that encrypts the database made, and changed?"""

from __future__ import annotations

import typer

from superimap.cli import output
from superimap.cli.options import AsJson
from superimap.cli.running import CommandError, command, database


def register(app: typer.Typer) -> None:
    """Add the commands about encryption."""
    app.command("generate-key")(generate_key)
    app.command("rotate-keys")(rotate_keys)


def generate_key(as_json: AsJson = False) -> None:
    """Print a new value for ENCRYPTION_KEY. Without it what it encrypted is lost: back it up."""
    from superimap.core import crypto

    key = crypto.generate_key()
    if as_json:
        output.show_json({"encryption_key": key})
    else:
        typer.echo(key)


@command
async def rotate_keys(as_json: AsJson = False) -> None:
    """Encrypt everything anew with the first key of ENCRYPTION_KEY, while everything runs.

    First give every process both keys, the new one behind (old,new), so that all can read it; then new,old,
    so that all write it; then run this; then take the old key away.
    It may be stopped and run again at any time.
    """
    from superimap.db.rotation import rotate_keys as rotate

    async with database() as (_, vault, sessionmaker):
        rotation = await rotate(sessionmaker, vault)
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
        output.table(("COLUMN", "ENCRYPTED ANEW"), list(rotation.resealed.items()), none="Nothing to do.")
        output.say(f"Everything that opens is now under key {vault.primary.hex()}.")
        for key_id in rotation.unused:
            output.say(f"Key {key_id} is no longer used; take it out of ENCRYPTION_KEY.")
    if rotation.unopened:
        raise CommandError(
            "\n".join(rotation.unopened)
            + f"\n{len(rotation.unopened)} value(s) do not open and stay as they are; "
            "bring their key back into ENCRYPTION_KEY, or set them anew."
        )
