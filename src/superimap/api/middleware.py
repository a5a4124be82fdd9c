"""What does every request meet first? Bounds, HTTPS, whom to believe about the address, and safe headers."""

import asyncio
import contextlib
import ipaddress
import logging
import re
import traceback
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superimap.api.errors import PAGES_PATH, Problem, problem_of, problem_response
from superimap.core.config import Settings
from superimap.core.setting_types import Network

log = logging.getLogger(__name__)

MAX_DISCARDED_BYTES = 4 * 1024 * 1024
DISCARD_TIMEOUT_SECONDS = 3.0
MAX_BODY_BYTES = 256 * 1024
BODY_TIMEOUT_SECONDS = 10.0
REQUEST_TIMEOUT_SECONDS = 30.0
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
ASSETS_PATH = "/docs/assets/"

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::\d{1,5})?")
_CLOSE = {"Connection": "close"}


class EdgeMiddleware:
    """The outermost layer: nothing passes but bounded requests, and nothing leaves without safe headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request in, or answer it with a Problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reply = ResponseSender(
            send, path=scope["path"], is_production=self._settings.environment == "production"
        )
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                check_request(scope, self._settings)
                if scope["path"].startswith(("/api/", PAGES_PATH)):
                    receive = await buffer_body(scope, receive)
                await self._app(scope, receive, reply)
        except Exception as error:
            problem = problem_of(error) or _unexpected(error)
            if not reply.is_started:
                await problem_response(problem, scope["path"])(scope, receive, reply)


def _unexpected(error: Exception) -> Problem:
    # The frames alone: the text of an error may hold a person's address, or worse.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("request failed", extra={"error": type(error).__name__, "where": where})
    return Problem(500, "Something went wrong here; it has been logged.")


class ResponseSender:
    """`send` that remembers whether it has begun, and adds the headers that every answer carries."""

    def __init__(self, send: Send, *, path: str, is_production: bool) -> None:
        self._send = send
        self._path = path
        self._is_production = is_production
        self.is_started = False

    async def __call__(self, message: Message) -> None:
        """Pass the message on."""
        if message["type"] == "http.response.start":
            self.is_started = True
            headers = MutableHeaders(scope=message)
            for name, value in self._safe_headers():
                headers.setdefault(name, value)
        await self._send(message)

    def _safe_headers(self) -> Iterable[tuple[str, str]]:
        yield "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
        yield "X-Content-Type-Options", "nosniff"
        yield "X-Frame-Options", "DENY"
        yield "Referrer-Policy", "no-referrer"
        yield "Cross-Origin-Resource-Policy", "same-origin"
        yield "Cache-Control", "public, max-age=3600" if self._path.startswith(ASSETS_PATH) else "no-store"
        if self._is_production:
            yield "Strict-Transport-Security", "max-age=31536000"


def check_request(scope: Scope, settings: Settings) -> None:
    """Set the scheme and host that the client used; refuse plain HTTP in production, and a Host that is none.

    A request in clear is refused, not redirected: a client that follows redirects would go on
    sending its key in clear for ever.
    """
    headers = Headers(scope=scope)
    scope["superimap.host"] = headers.get("host", "")
    if is_trusted(scope, settings.trusted_proxies):
        said = {part.strip().lower() for part in ",".join(headers.getlist("x-forwarded-proto")).split(",")}
        scope["scheme"] = "https" if said == {"https"} else scope["scheme"]
        scope["superimap.host"] = headers.get("x-forwarded-host", scope["superimap.host"])
    path = scope["path"]
    if path in HEALTH_PATHS:
        return
    if settings.environment == "production" and scope["scheme"] != "https":
        raise Problem(
            403,
            "Use https://. If you did: a proxy ends the TLS, and its address must be in TRUSTED_PROXIES and "
            "it must set X-Forwarded-Proto.",
            kind="https-required",
        )
    if _HOST.fullmatch(scope["superimap.host"]) is None:
        raise Problem(400, "The Host header names no host.")
    if path.startswith("/api/") and path.endswith("/"):
        scope["path"] = path.rstrip("/")


def is_trusted(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Whether the peer of this very connection is a proxy whose headers are believed."""
    if not proxies or not scope.get("client"):
        return False
    try:
        peer = ipaddress.ip_address(scope["client"][0])
    except ValueError:
        return False
    if isinstance(peer, ipaddress.IPv6Address) and peer.ipv4_mapped is not None:
        peer = peer.ipv4_mapped
    return any(peer in network for network in proxies)


async def buffer_body(scope: Scope, receive: Receive) -> Receive:
    """Read the whole body, bounded in size and time, before anything is held for the request."""
    declared = Headers(scope=scope).get("content-length", "0")
    if not declared.isdecimal() or int(declared[:20]) > MAX_BODY_BYTES:
        await _discard_body(receive)
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > MAX_BODY_BYTES:
                    await _discard_body(receive)
                    raise _too_large()
                if not message.get("more_body", False):
                    break
    except TimeoutError:
        raise Problem(408, "The body did not arrive in time.", headers=_CLOSE) from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


async def _discard_body(receive: Receive) -> None:
    """Read on for a while without keeping it: a client that is still sending would see a reset, not the answer."""
    left = MAX_DISCARDED_BYTES
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(DISCARD_TIMEOUT_SECONDS):
            while left > 0:
                message = await receive()
                left -= len(message.get("body", b""))
                if not message.get("more_body", False):
                    return


def _too_large() -> Problem:
    return Problem(
        413, f"The body may hold {MAX_BODY_BYTES} bytes at most.", kind="too-large", headers=_CLOSE
    )
