"""HTTP client for webhooks: httpx on aiohttp's connection pool, guarded, with limits of time and size."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import lru_cache

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from superimap import __version__
from superimap.core.egress import EgressBlocked, Guard
from superimap.dispatcher.dns import ThreadedResolver
from superimap.domain import answers

MAX_ANSWER_BYTES = 16 * 1024
KEEPALIVE_SECONDS = 4.0
"""Lifetime of an idle connection: many servers close one after 5 s, possibly just as a POST is sent."""

DNS_CACHE_SECONDS = 10

_HEADERS = {
    "content-type": "application/json",
    "accept": "application/json",
    "accept-encoding": "identity",
    "user-agent": f"SuperIMAP/{__version__}",
}


@dataclass(frozen=True, slots=True)
class PostResult:
    """Result of one POST. `status` is None if there was no answer; `error` then says why, in one word.

    With a status, `error` says that the body was cut short; the status counts nevertheless. `retry_after` is that
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

    def __init__(self, transport: httpx.AsyncBaseTransport, *, deadline: float) -> None:
        self._transport = transport
        self._deadline = deadline

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> PostResult:
        """POST once. The deadline covers everything from connecting to the last byte read. Raises nothing."""
        started = time.perf_counter()
        status: int | None = None
        error: str | None = None
        retry_after: str | None = None
        read = bytearray()
        try:
            async with asyncio.timeout(self._deadline):
                request = httpx.Request("POST", _checked(url), headers={**_HEADERS, **headers}, content=body)
                response = await self._transport.handle_async_request(request)
                status, retry_after = response.status_code, response.headers.get("retry-after")
                try:
                    await _read(response, read)
                finally:
                    await response.aclose()
        except Exception as failure:  # any error that a misbehaving server causes is a result too
            error = error_word(failure)
        return PostResult(
            status=status,
            error=error,
            body=bytes(read[:MAX_ANSWER_BYTES]).decode("utf-8", "replace"),
            milliseconds=round((time.perf_counter() - started) * 1000),
            retry_after=retry_after,
        )


@asynccontextmanager
async def open_client(
    guard: Guard, *, deadline: float, tls: ssl.SSLContext | None = None, max_lookups: int = 8
) -> AsyncIterator[WebhookClient]:
    """Open a client: no redirects, no cookies, no proxy from the environment, no decompression, TLS verified.

    `deadline` is in seconds. At most `max_lookups` names are resolved at once.
    """
    context = tls or httpx.create_ssl_context()
    connector = aiohttp.TCPConnector(
        ssl=context,
        socket_factory=guard.socket,
        limit=0,  # the lanes limit connections; a queue here would use up the deadline of waiting POSTs
        keepalive_timeout=KEEPALIVE_SECONDS,
        ttl_dns_cache=DNS_CACHE_SECONDS,
        resolver=(resolver := ThreadedResolver(max_lookups)),
    )
    async with aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
    ) as session:
        # The transport without httpx' client around it: no redirects or cookies to switch off, and less work.
        try:
            yield WebhookClient(AiohttpTransport(client=session, verify=context), deadline=deadline)
        finally:
            await resolver.close()


async def _read(response: httpx.Response, into: bytearray) -> None:
    """Read at most MAX_ANSWER_BYTES, without decoding. Closing an unread rest ends the connection."""
    async for chunk in response.aiter_raw():
        into += chunk
        if len(into) >= MAX_ANSWER_BYTES:
            return


@lru_cache(maxsize=1024)
def _checked(url: str) -> httpx.URL:
    """The URL, parsed once; aiohttp dials exactly what this prints. Raises httpx.InvalidURL."""
    parsed = httpx.URL(url)
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.userinfo:
        raise httpx.InvalidURL("not the URL of a webhook")
    return parsed.copy_with(fragment=None)


def error_word(error: BaseException) -> str:
    """One word for an error, from its chain of causes.

    httpx' own class names mislead here: a connection reset is a ConnectTimeout.
    """
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
    ((httpx.InvalidURL, httpx.UnsupportedProtocol, aiohttp.InvalidURL), "url"),
    (aiohttp.ClientConnectorDNSError, "dns"),
    ((ssl.SSLError, ssl.CertificateError, aiohttp.ClientSSLError), "tls"),
    (aiohttp.ClientConnectorError, "connect"),
    ((aiohttp.ClientPayloadError, aiohttp.ServerDisconnectedError, ConnectionError), "closed"),
    (aiohttp.ClientResponseError, "protocol"),
    (TimeoutError, "timeout"),
)
