"""Run a trial on real mail servers. One line of JSON per server; exit code 1 if a guarantee was broken."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fixtures.engines import create_database, open_folder
from fixtures.world import World
from superimap.launch import engines as embedded
from trials.servers.courier import Courier
from trials.servers.cyrus import Cyrus
from trials.servers.dovecot import Dovecot
from trials.servers.hosted import TestedServer
from trials.servers.mailutils import Mailutils
from trials.servers.private_root import CACHE, NotInstallable
from trials.servers.trial import FEW, Amounts, prepared

SERVERS: dict[str, Callable[[Path], TestedServer]] = {
    each.name: each for each in (Dovecot, Cyrus, Courier, Mailutils)
}


async def try_server(
    name: str, world: World, base: Path, amounts: Amounts, *, recordings: Path | None = None
) -> dict[str, Any]:
    """Run the trial; returns the fields of the JSON line. Transcripts of a failed run stay in build/servers."""
    began = time.monotonic()
    try:
        server = await asyncio.to_thread(SERVERS[name], base)
    except NotInstallable as error:
        return {"server": name, "skipped": str(error)}
    async with prepared(server, world) as trial:
        try:
            await trial.run(amounts)
            line = await trial.verdict()
        except Exception as error:
            traceback.print_exc()
            line = {"server": name, "broken": [f"{type(error).__name__}: {error}"]}
        if recordings is not None:
            trial.proxy.write_corpus(recordings, name, user="user0", count=2)
        if line["broken"]:
            folder = CACHE / "transcripts" / name
            trial.proxy.write(folder)
            (folder / "idler.log").write_text(trial.processes[-1].output)
            line["transcripts"] = str(folder)
    return {**line, "took_s": round(time.monotonic() - began, 1)}


async def main(names: list[str], amounts: Amounts, recordings: Path | None) -> int:
    """Run the trial on these servers; returns the exit code."""
    failed = 0
    with open_folder("superimap-servers-") as folder:
        async with (
            embedded.postgres(folder / "engines", fsync=False) as url,
            embedded.valkey(None) as redis_url,
        ):
            for name in names:
                (folder / name).mkdir(mode=0o755)
                world = World(await create_database(url, f"servers_{name}"), redis_url)
                line = await try_server(name, world, folder / name, amounts, recordings=recordings)
                is_failure = bool(line.get("broken")) or ("skipped" in line and "SUPERIMAP_CI" in os.environ)
                failed |= is_failure
                print(json.dumps(line), flush=True)
    return int(failed)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.servers", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="SERVER", help=f"{', '.join(SERVERS)}; default: all of them"
    )
    parser.add_argument("--few", action="store_true", help="only some mails per user")
    parser.add_argument(
        "--record", type=Path, metavar="FOLDER", help="write dialogues for trials/fuzz/corpus into FOLDER"
    )
    given = parser.parse_args()
    if unknown := set(given.names) - SERVERS.keys():
        parser.error(f"there is no server {', '.join(sorted(unknown))}")
    return given


if __name__ == "__main__":
    given = _arguments()
    amounts = FEW if given.few else Amounts()
    sys.exit(asyncio.run(main(given.names or list(SERVERS), amounts, given.record)))
