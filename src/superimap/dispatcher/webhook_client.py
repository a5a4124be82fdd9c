"""HTTP client for webhooks, with limits of time, size and addresses.

It is lenient about answers: a final status line is one, however malformed the rest is. It is strict about
requests: they go to the URL exactly as it was registered.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
from yarl import URL

from superimap import __version__
from superimap.core.certificates import verifying_context
from superimap.core.egress import EgressBlocked, Guard
from superimap.dispatcher.answer_reader import AnswerReader
from superimap.dispatcher.connections import KEEPALIVE_SECONDS, ReceiverConnector
from superimap.dispatcher.dns import ThreadedResolver
from superimap.domain import answers
from superimap.webhooks import urls
from superimap.webhooks.urls import Destination, UrlError

DNS_CACHE_SECONDS = 10

REPEATED_STATUSES = frozenset({408, 421})
"""Answers on a reused connection that concern the connection (RFC 9110 sections 15.5.9 and 15.5.20)."""

_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"SuperIMAP/{__version__}",
}


@dataclass(frozen=True, slots=True)
class PostResult:
    """Result of one POST. `status` is None if there was no answer; `error` then says why, in one word.

    With a status, `error` says what was wrong with the rest of the answer: malformed (`protocol`), or cut short by
    the receiver (`closed`) or by the deadline (`timeout`). The status counts nevertheless. `retry_after` is that
    header as received.
    """

    status: int | None
    error: str | None
    body: str
    milliseconds: int
    retry_after: str | None = None

    @property
    def is_success(self) -> bool:
        """Whether this answer delivers the webhook."""
        return answers.is_success(self.status)


class WebhookClient:
    """POSTs bodies to the URLs of partners. Made by `open_client`."""

    def __init__(self, connector: ReceiverConnector, *, deadline: float) -> None:
        self._connector = connector
        self._deadline = deadline
        self._route = lru_cache(maxsize=1024)(_route)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostResult:
        """POST once. The deadline covers everything from connecting to the last byte read. Raises nothing.

        If a reused connection turns out to be closed, the POST is repeated at once on a new connection.
        """
        started = time.perf_counter()
        answer, error = AnswerReader(), None
        try:
            async with asyncio.timeout(self._deadline):
                route, start = self._route(url)
                head = _request_head(start, headers, len(body))
                if not await self._exchange(route, head, body, answer):
                    answer = AnswerReader()
                    await self._exchange(route, head, body, answer, is_repeated=True)
        except Exception as failure:  # any error that a misbehaving server causes is a result too
            error = error_word(failure)
            answer.end(error)
            self._forget_addresses(failure)
        return PostResult(
            status=answer.status,
            error=answer.error or error,
            body=answer.body.decode("utf-8", "replace"),
            milliseconds=round((time.perf_counter() - started) * 1000),
            retry_after=None if answer.head is None else answer.head.retry_after,
        )

    async def _exchange(
        self,
        route: aiohttp.ClientRequest,
        head: bytes,
        body: bytes,
        answer: AnswerReader,
        *,
        is_repeated: bool = False,
    ) -> bool:
        """Send the request on one connection; False if it has to be sent again on a new one."""
        connection, protocol = await self._connector.take(route, is_new=is_repeated)
        was_used = protocol.is_used
        try:
            await protocol.exchange(head, body, answer)
        finally:
            connection.release()
        return not was_used or (answer.has_bytes and answer.status not in REPEATED_STATUSES)

    def _forget_addresses(self, failure: Exception) -> None:
        """Resolve a name again after its addresses could not be connected to: they may have changed."""
        if isinstance(failure, aiohttp.ClientConnectorError) and failure.port is not None:
            self._connector.clear_dns_cache(failure.host, failure.port)


@asynccontextmanager
async def open_client(
    guard: Guard, *, deadline: float, tls: ssl.SSLContext | None = None, max_lookups: int = 8
) -> AsyncIterator[WebhookClient]:
    """Open a client: no redirects, no cookies, no proxy from the environment, no decompression, TLS verified.

    `deadline` is in seconds. At most `max_lookups` names are resolved at once.
    """
    connector = ReceiverConnector(
        ssl=tls or verifying_context(),
        socket_factory=guard.socket,
        limit=0,  # the lanes limit connections; a queue here would use up the deadline of waiting POSTs
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        resolver=(resolver := ThreadedResolver(max_lookups)),
    )
    try:
        async with connector:
            yield WebhookClient(connector, deadline=deadline)
    finally:
        await resolver.close()


def _route(url: str) -> tuple[aiohttp.ClientRequest, str]:
    """What the pool needs to connect for a URL, and the constant start of its requests. Raises UrlError."""
    to: Destination = urls.destination(url)
    address = URL.build(scheme=to.scheme, host=to.host, port=to.port)
    start = f"POST {to.target} HTTP/1.1\r\nHost: {to.authority}\r\n{_lines(_HEADERS)}"
    return aiohttp.ClientRequest("POST", address), start


def _request_head(start: str, headers: Mapping[str, str], length: int) -> bytes:
    return f"{start}{_lines(headers)}Content-Length: {length}\r\n\r\n".encode("ascii")


def _lines(headers: Mapping[str, str]) -> str:
    return "".join(f"{name}: {value}\r\n" for name, value in headers.items())


def error_word(error: BaseException) -> str:
    """One word for an error, from its chain of causes."""
    chain: list[BaseException] = []
    cause: BaseException | None = error
    while cause is not None and len(chain) < 10:
        chain += [
            cause,
            *([os_error] if isinstance(os_error := getattr(cause, "os_error", None), OSError) else []),
        ]
        cause = cause.__cause__ or cause.__context__
    for item in chain:
        code = getattr(item, "verify_code", None)  # aiohttp has an error of that class without this attribute
        if isinstance(item, ssl.SSLCertVerificationError) and code is not None:
            return CERTIFICATE_ERROR_WORDS.get(code, "certificate_untrusted")
    return next(
        (word for kinds, word in ERROR_WORDS if any(isinstance(item, kinds) for item in chain)), "protocol"
    )


CERTIFICATE_ERROR_WORDS = {
    9: "certificate_expired",
    10: "certificate_expired",
    62: "certificate_host",
    64: "certificate_host",
}
"""Words by OpenSSL's verification code: 9 not yet valid, 10 expired, 62 other host name, 64 other IP address."""

ERROR_WORDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], str], ...] = (
    (EgressBlocked, "egress_blocked"),
    ((UrlError, aiohttp.InvalidURL), "url"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    ((ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError), "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    (ConnectionError, "closed"),
    (TimeoutError, "timeout"),
)
