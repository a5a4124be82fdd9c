"""PgBouncer before the PostgreSQL of the tests."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
from collections.abc import AsyncIterator
from urllib.parse import parse_qs, urlsplit

from fixtures.engines import open_folder
from fixtures.world import eventually
from tests.support import needs

PROGRAM = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
CONFIGURATION = """
[databases]
* = host={sockets} port=5432
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {users}
pool_mode = {mode}
default_pool_size = {size}
user = nobody
"""


@contextlib.asynccontextmanager
async def pooled(
    database_url: str, port: int, *, mode: str = "session", size: int = 60
) -> AsyncIterator[str]:
    """Run PgBouncer before the server of a database; yields the URL of the database behind it.

    `size` is the number of connections to PostgreSQL.
    """
    if PROGRAM is None:
        needs("PgBouncer: apt-get install pgbouncer")
    (sockets,) = parse_qs(urlsplit(database_url).query)["host"]
    with open_folder("superimap-pgbouncer-") as folder:
        users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
        users.write_text('"superimap" ""\n')
        configuration.write_text(
            CONFIGURATION.format(sockets=sockets, port=port, users=users, mode=mode, size=size)
        )
        pooler = await asyncio.create_subprocess_exec(
            PROGRAM, "-q", str(configuration), stderr=asyncio.subprocess.DEVNULL
        )
        try:
            await eventually(lambda: _is_listening(port))
            yield f"postgresql://superimap@127.0.0.1:{port}{urlsplit(database_url).path}"
        finally:
            pooler.terminate()
            await pooler.wait()


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True
