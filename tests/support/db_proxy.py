"""A proxy socket in front of PostgreSQL, which makes the database unreachable and reachable again."""

from __future__ import annotations

import asyncio
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

SOCKET = ".s.PGSQL.5432"


class DbProxy:
    """Passes bytes between its own socket, which it opens and closes, and the socket of the real database."""

    def __init__(self, database_url: str, folder: Path) -> None:
        parts = urlsplit(database_url)
        query = parse_qs(parts.query)
        self._upstream = Path(query["host"][0]) / f".s.PGSQL.{query.get('port', ['5432'])[0]}"
        self._path = folder / SOCKET
        self._server: asyncio.Server | None = None
        self._pipes: set[asyncio.Task[None]] = set()
        self._flows = asyncio.Event()
        self._flows.set()
        self.connections = 0
        self.folder = folder
        self.url = f"postgresql://{parts.netloc.partition('@')[0]}@{parts.path}?host={folder}"

    async def open(self) -> None:
        """Make the database reachable."""
        self._server = await asyncio.start_unix_server(self.serve, self._path)

    async def close(self) -> None:
        """Make the database unreachable, and cut every connection to it."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for pipe in self._pipes:
            pipe.cancel()
        await asyncio.gather(*self._pipes, return_exceptions=True)

    def hang(self) -> None:
        """Accept connections and answer nothing."""
        self._flows.clear()

    def resume(self) -> None:
        """Answer again."""
        self._flows.set()

    async def serve(self, near: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        """Serve one connection to the proxy."""
        self.connections += 1
        far, far_out = await asyncio.open_unix_connection(self._upstream)
        for reader, writer in ((near, far_out), (far, near_out)):
            pipe = asyncio.create_task(self._pipe(reader, writer))
            self._pipes.add(pipe)
            pipe.add_done_callback(self._pipes.discard)

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                await self._flows.wait()
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.transport.abort()
