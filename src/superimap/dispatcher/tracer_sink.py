"""The internal receiver of long tracers: a listener on loopback that only this dispatcher's webhooks reach.

The webhooks of a canary partner pass the real queue, lanes, HTTP client and recording, and end here. The listener
has a client of its own, whose guard admits nothing but its address: the guard of partners' URLs stays as it is.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Self

import asyncpg

from superimap.core.egress import Guard
from superimap.db.failures import UNAVAILABLE
from superimap.dispatcher.webhook_client import PostResult, WebhookClient, open_client
from superimap.webhooks.signing import SigningKeySource

MAX_HEAD_BYTES = 16 * 1024
MAX_BODY_BYTES = 256 * 1024 * 1024
"""An ordinary mail in a canary's mailbox is received as well, whatever its size."""
PIECE_BYTES = 64 * 1024
MAX_CONNECTIONS = 64
REQUEST_SECONDS = 60.0
MAX_AGE_SECONDS = 300.0
"""Age of a signature that is still accepted."""

_HOST = "127.0.0.1"
_MALFORMED = (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError)
_ANSWERS = {204: "No Content", 400: "Bad Request", 401: "Unauthorized"}


class TracerSink:
    """Receiver that verifies the signature of each webhook and answers 204. It listens once it is needed."""

    def __init__(
        self, signing_keys: SigningKeySource, *, deadline: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._signing_keys = signing_keys
        self._deadline = deadline
        self._clock = clock
        self._stack = contextlib.AsyncExitStack()
        self._starting = asyncio.Lock()
        self._client: WebhookClient | None = None
        self._port = 0
        self._connections = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    async def post(self, partner_id: int, body: bytes, headers: Mapping[str, str]) -> PostResult:
        """POST a webhook of this partner to the sink, as to any receiver."""
        async with self._starting:
            client = self._client or await self._start()
        return await client.post(f"http://{_HOST}:{self._port}/{partner_id}", body, headers)

    async def _start(self) -> WebhookClient:
        server = await asyncio.start_server(self._serve, _HOST, 0, limit=MAX_HEAD_BYTES)
        self._stack.callback(server.close)
        self._port = server.sockets[0].getsockname()[1]
        guard = Guard([ipaddress.ip_network(f"{_HOST}/32")])
        self._client = await self._stack.enter_async_context(open_client(guard, deadline=self._deadline))
        return self._client

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection until it ends, or one of them is malformed or too slow."""
        self._connections += 1
        try:
            while self._connections <= MAX_CONNECTIONS:
                async with asyncio.timeout(REQUEST_SECONDS):
                    status = await self._answer(reader)
                ending = "" if status == 204 else "Connection: close\r\nContent-Length: 0\r\n"
                writer.write(f"HTTP/1.1 {status} {_ANSWERS[status]}\r\n{ending}\r\n".encode())
                await writer.drain()
                if status != 204:
                    return
        except (*_MALFORMED, asyncpg.PostgresError, *UNAVAILABLE):
            return  # OSError and TimeoutError are among the last
        finally:
            self._connections -= 1
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> int:
        """Read one request; return the status of its answer."""
        request, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, target, _ = request.split(" ", 2)
        length, partner = int(fields.get("content-length", "-1")), target.removeprefix("/")
        if method != "POST" or not partner.isdecimal() or not 0 <= length <= MAX_BODY_BYTES:
            return 400
        keys = await self._signing_keys.get_keys(int(partner))
        macs = _macs(fields, keys.secrets)
        while length:
            piece = await reader.readexactly(min(length, PIECE_BYTES))
            length -= len(piece)
            for mac in macs:
                mac.update(piece)
        return 204 if self._is_signed(fields, macs) else 401

    def _is_signed(self, fields: Mapping[str, str], macs: Sequence[hmac.HMAC]) -> bool:
        """Whether one of the signatures is right, and made just now."""
        stamp = fields.get("webhook-timestamp", "")
        if not stamp.isdecimal() or abs(self._clock() - int(stamp)) > MAX_AGE_SECONDS:
            return False
        given = fields.get("webhook-signature", "").split()
        expected = [f"v1,{base64.b64encode(mac.digest()).decode()}" for mac in macs]
        return any(hmac.compare_digest(one, other) for one in given for other in expected)


def _macs(fields: Mapping[str, str], secrets: Sequence[str]) -> list[hmac.HMAC]:
    """Begin the signatures of Standard Webhooks by these secrets; the body is to be added."""
    start = f"{fields.get('webhook-id', '')}.{fields.get('webhook-timestamp', '')}.".encode()
    keys = [base64.b64decode(secret.removeprefix("whsec_")) for secret in secrets]
    return [hmac.new(key, start, hashlib.sha256) for key in keys]
