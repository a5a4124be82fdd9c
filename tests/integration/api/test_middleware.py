"""Checks of the outermost layer, which apply to every route."""

import time

import httpx
import pytest

from superimap.api.app import create_app
from superimap.oauth import links
from superimap.oauth.links import Purpose
from tests.support.api import KEY, settings_for

USERS = "/api/v1/connections/PLAIN/users"
HTTPS = {"x-forwarded-proto": "https"}


def client_of(world, *, peer="10.1.2.3", **values):
    settings = settings_for(world.settings.database_url, environment="production", **values)
    app = create_app(settings, world.sessionmaker, world.vault)
    transport = httpx.ASGITransport(app, client=(peer, 1234))
    return httpx.AsyncClient(
        transport=transport, base_url="http://inside:8000", headers={"x-api-key": world.acme}
    )


async def test_production_refuses_plain_http_without_a_redirect(world):
    async with client_of(world) as client:
        answer = await client.get("/api/v1/connections")
        claimed = await client.get("/api/v1/connections", headers=HTTPS)
        slash = await client.get("/api/v1/connections/")
        health = [(await client.get(path)).status_code for path in ("/healthz", "/readyz")]

    assert [answer.status_code, claimed.status_code, slash.status_code] == [403, 403, 403]
    assert "https://" in answer.json()["detail"]
    assert "TRUSTED_PROXIES" in answer.json()["detail"]
    assert health == [200, 200]


@pytest.mark.parametrize("peer", ["10.1.2.3", "::ffff:10.1.2.3"])
async def test_forwarded_scheme_and_host_of_a_trusted_proxy_are_used(world, acme, peer):
    await acme.post(USERS, json={"tag": "ADA"})

    async with client_of(world, peer=peer, trusted_proxies="10.0.0.0/8") as client:
        answer = await client.get(f"{USERS}/ADA", headers=HTTPS | {"x-forwarded-host": "mail.example.com"})
        in_clear = await client.get(f"{USERS}/ADA", headers={"x-forwarded-proto": "http"})
        mixed = await client.get(f"{USERS}/ADA", headers={"x-forwarded-proto": "https, http"})

    assert answer.json()["connect_url"].startswith("https://mail.example.com/users/connect/new?")
    assert answer.headers["strict-transport-security"]
    assert (in_clear.status_code, mixed.status_code) == (403, 403)


async def test_a_forwarded_host_of_an_untrusted_peer_is_ignored(world, acme):
    await acme.post(USERS, json={"tag": "ADA"})

    answer = await acme.get(f"{USERS}/ADA", headers={"x-forwarded-host": "evil.example", **HTTPS})

    assert answer.json()["connect_url"].startswith("http://testserver/")


async def test_the_base_url_overrides_the_host(world, acme):
    await acme.post(USERS, json={"tag": "ADA"})
    values = {"trusted_proxies": "10.0.0.0/8", "base_url": "https://superimap.example.com/"}

    async with client_of(world, **values) as client:
        answer = await client.get(f"{USERS}/ADA", headers=HTTPS | {"x-forwarded-host": "other.example"})

    assert answer.json()["disconnect_url"].startswith("https://superimap.example.com/users/disconnect/new?")


@pytest.mark.parametrize("host", ["a b", "evil.example/x?", "a@b", "", "x" * 300])
async def test_an_invalid_host_header_is_refused(acme, host):
    answer = await acme.get("/api/v1/connections", headers={"host": host})

    assert answer.status_code == 400


@pytest.mark.parametrize("path", ["/healthz", "/api/v1/connections", "/nothing", "/docs", "/openapi.json"])
async def test_every_response_has_the_security_headers(acme, path):
    headers = (await acme.get(path)).headers

    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "no-referrer"


@pytest.mark.parametrize("kind", ["new_mail", "user_connected", "user_disconnected", "events"])
async def test_the_test_receivers_accept_any_webhook_and_log_no_content(world, caplog, kind):
    caplog.set_level("INFO")
    async with world.client() as anonymous:
        answer = await anonymous.post(
            f"/webhook_test/{kind}", content=b"confidential" * 100_000, headers={"webhook-id": "msg_1"}
        )

    assert (answer.status_code, answer.text) == (200, "OK")
    logged = "\n".join(str(vars(record)) for record in caplog.records)
    assert "msg_1" in logged
    assert "confidential" not in logged


async def test_a_connect_link_is_valid_for_half_an_hour_and_its_purpose(acme):
    await acme.post(USERS, json={"tag": "ADA"})
    user = (await acme.get(f"{USERS}/ADA")).json()
    key, now = links.derive_keys(KEY)[0], time.time()
    old = links.url("http://testserver", Purpose.CONNECT, 1, key, now=now - 1801)

    async def status(url):
        answer = await acme.get(url)
        assert answer.headers["content-type"].startswith("text/html")
        return answer.status_code

    assert await status(user["connect_url"]) == 200
    assert await status(user["disconnect_url"]) == 200
    assert await status(user["disconnect_url"] + "&success=https://app.example") == 400
    assert await status(user["connect_url"].replace("/connect/", "/disconnect/")) == 404
    assert await status(user["connect_url"] + "0") == 404
    assert await status(old) == 410
    assert await status("/users/connect/new") == 404
    assert await status("/users/connect/new?user_id=①&ts=1e9&sig=ż") == 404


async def test_the_root_redirects_to_the_documentation(world):
    async with world.client() as client:
        answer = await client.get("/")

    assert answer.status_code == 307
    assert answer.headers["location"] == "/docs"
