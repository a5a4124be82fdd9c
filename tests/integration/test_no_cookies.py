"""Cookies of providers and receivers: none is kept, so that none goes with another user's request."""

from __future__ import annotations

import ast
from ipaddress import ip_network
from pathlib import Path

from aiohttp import web

from superimap.core.egress import Guard
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.http_client import guarded_client
from superimap.oauth.token_endpoint import refresh
from superimap.testing import Received, WebhookSink

SOURCE = Path(__file__).parents[2] / "src"


async def test_a_cookie_of_one_users_refresh_does_not_go_with_the_next():
    cookies: list[str | None] = []

    def answer(received: Received) -> web.Response:
        cookies.append(received.headers.get("cookie"))
        answer = web.json_response({"access_token": "at", "expires_in": 60})
        answer.set_cookie("session", "of-ann" * 500)
        return answer

    async with WebhookSink() as sink, guarded_client(Guard((ip_network("127.0.0.0/8"),))) as http:
        sink.on("/token", answer)
        client = OAuthClient(f"http://localhost:{sink.port}/token", "client", "s3cret")
        for token in ("rt-ann", "rt-bob", "rt-cem"):
            await refresh(http, client, refresh_token=token)

        assert cookies == [None, None, None]
        assert not list(http.cookies.jar)


def test_every_http_client_in_the_source_is_built_without_a_cookie_jar():
    clients = {"ClientSession": "cookie_jar", "AsyncClient": "cookies", "Client": "cookies"}
    found = 0
    users = [
        path for path in SOURCE.rglob("*.py") if "aiohttp" in path.read_text() or "httpx" in path.read_text()
    ]
    for path in users:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            module = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
            assert not (module == "httpx" and node.func.attr in {"get", "post", "request", "stream"}), path
            if module in {"aiohttp", "httpx"} and node.func.attr in clients:
                found += 1
                jars = [each for each in node.keywords if each.arg == clients[node.func.attr]]
                text = ast.unparse(jars[0].value) if jars else ""
                assert "DummyCookieJar" in text or "allowed_domains=()" in text, f"{path}:{node.lineno}"
    assert found >= 2
