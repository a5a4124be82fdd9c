"""Outermost layer of the API: limits, HTTPS, trusted proxies, and security headers."""

import asyncio
import contextlib
import ipaddress
import logging
import time
import traceback
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from superimap.api.errors import PAGES_PATHS, Problem, problem_of, problem_response
from superimap.api.public_path import PREFIX, public_prefix, without_prefix
from superimap.core import metrics
from superimap.core.config import Settings
from superimap.core.setting_types import HOST, Network

log = logging.getLogger(__name__)

MAX_DISCARDED_BYTES = 4 * 1024 * 1024
DISCARD_TIMEOUT_SECONDS = 3.0
MAX_BODY_BYTES = 256 * 1024
BODY_TIMEOUT_SECONDS = 10.0
REQUEST_TIMEOUT_SECONDS = 30.0
HEALTH_PATHS = frozenset({"/healthz", "/readyz"})
ASSETS_PATH = "/docs/assets/"

_CLOSE = {"Connection": "close"}


class EdgeMiddleware:
    """Limits every request, answers every error, and adds security headers to every response."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it with a Problem."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        sender = ResponseSender(send, scope, is_production=self._settings.environment == "production")
        await self._answer(scope, receive, sender)
        record_request(scope, sender)

    async def _answer(self, scope: Scope, receive: Receive, sender: "ResponseSender") -> None:
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_SECONDS):
                check_request(scope, self._settings)
                if scope["path"].startswith(("/api/", *PAGES_PATHS)):
                    receive = await buffer_body(scope, receive)
                await self._app(scope, receive, sender)
        except Exception as error:
            problem = problem_of(error) or _internal_error(error)
            if not sender.is_started:
                await problem_response(problem, scope)(scope, receive, sender)


def _internal_error(error: Exception) -> Problem:
    # Log only the frames: the text of an error may contain personal data or secrets.
    where = "".join(traceback.format_tb(error.__traceback__))
    log.error("request failed", extra={"error": type(error).__name__, "where": where})
    return Problem(500, "An internal error occurred. It has been logged.")


class ResponseSender:
    """ASGI `send` that records whether the response has started, and adds the headers of every response."""

    def __init__(self, send: Send, scope: Scope, *, is_production: bool) -> None:
        self._send = send
        self._scope = scope
        self._is_production = is_production
        self._began = time.monotonic()
        self.is_started = False
        self.status = 0
        self.seconds = 0.0
        """Time until the response started. A client that reads slowly does not make it longer."""

    async def __call__(self, message: Message) -> None:
        """Pass the message on, with the security headers added to its start."""
        if message["type"] == "http.response.start":
            self.is_started = True
            self.status = message["status"]
            self.seconds = time.monotonic() - self._began
            headers = MutableHeaders(scope=message)
            for name, value in self._security_headers():
                headers.setdefault(name, value)
        await self._send(message)

    def _security_headers(self) -> Iterable[tuple[str, str]]:
        yield "Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"
        yield "X-Content-Type-Options", "nosniff"
        yield "X-Frame-Options", "DENY"
        yield "Referrer-Policy", "no-referrer"
        yield "Cross-Origin-Resource-Policy", "same-origin"
        yield (
            "Cache-Control",
            "public, max-age=3600" if self._scope["path"].startswith(ASSETS_PATH) else "no-store",
        )
        if self._is_production:
            yield "Strict-Transport-Security", "max-age=31536000"


def record_request(scope: Scope, sender: ResponseSender) -> None:
    """Record the duration of a request whose response has started.

    The template of the path bounds the number of values; a path that no route has, and a method that a route does
    not have, are `other`.
    """
    if not sender.is_started or scope["path"] in HEALTH_PATHS:
        return
    route, method = scope.get("route"), scope["method"]
    if not isinstance(route, Route) or (route.methods and method not in route.methods):
        template, method = "other", "other"
    else:
        template = route.path
    metrics.REQUEST_SECONDS.labels(method, template, f"{sender.status // 100}xx").observe(sender.seconds)


def check_request(scope: Scope, settings: Settings) -> None:
    """Set scheme, host and prefix to what the client used, and cut the prefix from the path. Raises Problem.

    The problem is a 403 for plain HTTP in production, and a 400 for a host or prefix that is none.

    Plain HTTP is refused and not redirected: a client that follows redirects would keep sending its key
    unencrypted.
    """
    headers = Headers(scope=scope)
    scope["superimap.host"] = headers.get("host", "")
    is_proxied = is_trusted(scope, settings.trusted_proxies)
    if is_proxied:
        said = {part.strip().lower() for part in ",".join(headers.getlist("x-forwarded-proto")).split(",")}
        scope["scheme"] = "https" if said == {"https"} else scope["scheme"]
        scope["superimap.host"] = headers.get("x-forwarded-host", scope["superimap.host"])
    prefix = public_prefix(headers, settings.base_url, is_trusted=is_proxied)
    scope[PREFIX] = prefix or ""
    scope["path"] = path = without_prefix(scope["path"], scope[PREFIX])
    if path in HEALTH_PATHS:
        return
    if settings.environment == "production" and scope["scheme"] != "https":
        raise Problem(
            403,
            "Use https://. If you did, a proxy terminates TLS: its address must be in TRUSTED_PROXIES, and it "
            "must set X-Forwarded-Proto.",
            kind="https-required",
        )
    if HOST.fullmatch(scope["superimap.host"]) is None:
        raise Problem(400, "The Host header is not a valid host name. Send the host name of this API.")
    if prefix is None:
        raise Problem(400, "X-Forwarded-Prefix is not a path. Let the proxy send one such as /superimap.")
    if path.startswith("/api/") and path.endswith("/"):
        scope["path"] = path.rstrip("/")


def is_trusted(scope: Scope, proxies: tuple[Network, ...]) -> bool:
    """Whether the peer of this connection is a proxy whose forwarding headers are trusted."""
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
    """Read the whole body, limited in size and time, before the request takes any resource."""
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
        raise Problem(
            408, f"The body did not arrive within {BODY_TIMEOUT_SECONDS:g} s.", headers=_CLOSE
        ) from None
    whole: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]

    async def replay() -> Message:
        return whole.pop() if whole else await receive()

    return replay


async def _discard_body(receive: Receive) -> None:
    """Read and drop the rest of the body: a client that is still sending would see a reset, not the response.

    Gives up after DISCARD_TIMEOUT_SECONDS or MAX_DISCARDED_BYTES.
    """
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
        413,
        f"The body is too large: at most {MAX_BODY_BYTES} bytes are accepted.",
        kind="too-large",
        headers=_CLOSE,
    )
