"""HTTP towards providers: a client behind the egress guard, and reading of small JSON answers."""

import contextlib
from collections.abc import AsyncIterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any

import aiohttp
import httpx
from httpx_aiohttp import AiohttpTransport

from superimap.core.certificates import verifying_context
from superimap.core.egress import Guard

MAX_ANSWER_BYTES = 64 * 1024


@contextlib.asynccontextmanager
async def guarded_client(guard: Guard) -> AsyncIterator[httpx.AsyncClient]:
    """Open a client whose every socket passes the egress guard; no redirects, no cookies,
    and no settings from the environment (proxies, netrc)."""
    # Both layers have a jar. A cookie would go with the next user's request.
    async with (
        aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(socket_factory=guard.socket),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
        ) as session,
        httpx.AsyncClient(
            transport=AiohttpTransport(client=session, verify=verifying_context()),
            cookies=CookieJar(policy=DefaultCookiePolicy(allowed_domains=())),
            timeout=15.0,
            follow_redirects=False,
            trust_env=False,
        ) as client,
    ):
        yield client


async def post_form(
    http: httpx.AsyncClient, url: str, form: Mapping[str, str], headers: Mapping[str, str]
) -> tuple[int, httpx.Headers, dict[str, Any]]:
    """POST `form`; return status, headers and the answer as `read_json` reads it. Raises httpx.HTTPError."""
    sent = {"Accept": "application/json", **headers}
    async with http.stream("POST", url, data=dict(form), headers=sent, follow_redirects=False) as answer:
        return answer.status_code, answer.headers, await read_json(answer)


async def read_json(answer: httpx.Response) -> dict[str, Any]:
    """Return the JSON object in an answer; empty if it is not a JSON object, or larger than 64 KiB."""
    body = bytearray()
    async for piece in answer.aiter_bytes():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            return {}
    try:
        # A wrong charset raises ValueError, and deep nesting RecursionError.
        fields = httpx.Response(200, content=bytes(body)).json()
    except (ValueError, RecursionError):
        return {}
    return fields if isinstance(fields, dict) else {}


def error_name(error: httpx.HTTPError) -> str:
    """Return the class name of the transport's own error.

    httpx-aiohttp reports a refused connection, an unknown host and a bad certificate all as ConnectTimeout.
    """
    return type(error.__cause__ or error).__name__
