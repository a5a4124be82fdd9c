"""Errors of the token endpoint name their cause."""

from __future__ import annotations

import socket
from ipaddress import ip_network

import pytest
import trustme

from superimap.core.egress import Guard
from superimap.oauth.client_auth import OAuthClient
from superimap.oauth.http_client import guarded_client
from superimap.oauth.token_endpoint import request_token
from superimap.oauth.token_errors import TokenUnavailable
from superimap.testing.oauth.server import OAuthServer
from tests.support import tls

LOOPBACK = Guard((ip_network("127.0.0.0/8"),))


async def error_text(url: str, guard: Guard = LOOPBACK) -> str:
    async with guarded_client(guard) as http:
        with pytest.raises(TokenUnavailable) as caught:
            await request_token(http, OAuthClient(url, "client", "s3cret"), {"grant_type": "refresh_token"})
    return str(caught.value)


async def test_a_closed_port_and_a_bad_certificate_are_named_in_the_error():
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        refused = await error_text(f"http://127.0.0.1:{closed.getsockname()[1]}/token")
    async with OAuthServer(tls=tls.server_context(trustme.CA())) as server:
        untrusted = await error_text(server.url("/token"))

    assert refused.endswith(": ClientConnectorError")
    assert "Certificate" in untrusted
