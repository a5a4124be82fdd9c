"""Two installations behind nginx with the example configuration: calls reach the cell that their API key names."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import asyncpg
import httpx
import pytest
import pytest_asyncio
from sqlalchemy import text

from fixtures.engines import database, open_folder
from fixtures.world import eventually
from superimap.testing import WebhookSink
from superimap.testing.signatures import verify_body_signature
from tests.support import needs
from tests.support.api import ApiWorld, served, world
from tests.support.pages import ROOT

PROGRAM = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")
EXAMPLE = ROOT / "deploy" / "nginx" / "cells.conf"
SHARED, OWN = "superimap.example.com", "eu1.superimap.example.com"
USERS = "/api/v1/connections/GMAIL_OAUTH2/users"
MAIN = """
daemon off;
pid {folder}/pid;
error_log {folder}/errors info;
worker_processes 1;
events {{}}
http {{
    client_body_temp_path {folder}/bodies;
    proxy_temp_path {folder}/proxied;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    include {folder}/cells.conf;
    server {{
        listen unix:{folder}/shown;
        location / {{ return 200 "$http_host $http_x_forwarded_for"; }}
    }}
    server {{
        listen unix:{folder}/other;
        location / {{ proxy_pass http://unix:{folder}/shown; }}
    }}
}}
"""


@dataclass
class Cells:
    """The first installation, and the cell eu1; each has a partner, whose key in eu1 names the cell."""

    address: str
    log: Path
    eu1: ApiWorld
    first_key: str
    eu1_key: str
    eu1_old_key: str

    def client(self, host: str = SHARED, key: str | None = None) -> httpx.AsyncClient:
        """A client that calls nginx under this name."""
        headers = {"host": host, **({"x-api-key": key} if key else {})}
        return httpx.AsyncClient(base_url=self.address, headers=headers)


@contextlib.asynccontextmanager
async def ingress(addresses: dict[str, str], port: int) -> AsyncIterator[tuple[str, Path]]:
    """Run nginx with the example, without TLS, with these addresses; yields its own, and its log of requests."""
    if PROGRAM is None:
        needs("nginx: apt-get install nginx-light")
    text = re.sub(r"^ *ssl_certificate.*\n", "", EXAMPLE.read_text(), flags=re.M)
    with open_folder("superimap-nginx-") as folder:
        changes = {
            **addresses,
            "443 ssl": f"127.0.0.1:{port}",
            "/var/log/nginx/superimap.log": f"{folder}/log",
            "/var/log/nginx/superimap-errors.log": f"{folder}/errors",
        }
        for old, new in changes.items():
            assert old in text, old
            text = text.replace(old, new)
        (folder / "cells.conf").write_text(text)
        (folder / "nginx.conf").write_text(MAIN.format(folder=folder))
        nginx = await asyncio.create_subprocess_exec(
            PROGRAM, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")
        )
        try:
            await eventually(lambda: _is_listening(port))
            yield f"http://127.0.0.1:{port}", folder / "log"
        finally:
            nginx.terminate()
            await nginx.wait()


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


@pytest.fixture(autouse=True)
def no_access_log(monkeypatch: pytest.MonkeyPatch) -> None:
    """The API has none, but pytest adds its handler to the logger of a server that a fixture has started."""
    monkeypatch.setattr(logging.getLogger("uvicorn.access"), "disabled", True)


@pytest_asyncio.fixture
async def cells(
    database_url: str,
    postgres_url: str,
    maintenance: asyncpg.Connection,
    template: str,
    unused_tcp_port: int,
) -> AsyncIterator[Cells]:
    name = f"cell_{unused_tcp_port}"
    await maintenance.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
    trusted = "127.0.0.0/8"
    try:
        async with (
            world(database_url, base_url=f"http://{SHARED}", trusted_proxies=trusted) as first,
            world(
                database(postgres_url, name), base_url=f"http://{OWN}", trusted_proxies=trusted, cell="eu1"
            ) as eu1,
            served(first.settings) as first_url,
            served(eu1.settings) as eu1_url,
            ingress(
                {"10.0.0.1:8000": urlsplit(first_url).netloc, "10.0.1.1:8000": urlsplit(eu1_url).netloc},
                unused_tcp_port,
            ) as (address, log),
        ):
            async with eu1.client(eu1.globex) as client:
                made = await client.post("/api/v1/api_keys", json={"name": "new"})
            yield Cells(address, log, eu1, first.acme, made.json()["api_key"], eu1.globex)
    finally:
        await maintenance.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def connect(cells: Cells, host: str, key: str) -> httpx.Response:
    """Create a connection to a provider, to which users belong."""
    async with cells.client(host, key) as client:
        return await client.post(
            "/api/v1/connections",
            json={
                "imap_provider_code": "GMAIL_OAUTH2",
                "oauth2_client_id": "c",
                "oauth2_client_secret": "s3cret",
            },
        )


async def status(cells: Cells, host: str = SHARED, key: str | None = None, **request: object) -> int:
    async with cells.client(host, key) as client:
        return (await client.get("/api/v1/connections", **request)).status_code  # type: ignore[arg-type]


async def requests(log: Path, count: int) -> list[str]:
    """The lines of nginx's log, once there are so many."""
    found: list[str] = []

    async def are_there() -> bool:
        found[:] = log.read_text().splitlines()
        return len(found) >= count

    await eventually(are_there)
    return found


async def test_a_call_reaches_the_cell_of_its_key_and_another_one_answers_401(cells):
    assert re.fullmatch(r"sip_eu1_[A-Za-z0-9_-]{43}", cells.eu1_key)

    assert await status(cells, key=cells.eu1_key) == 200
    assert await status(cells, key=cells.first_key) == 200
    assert await status(cells, params={"api_key": cells.eu1_key}) == 200
    assert (
        await status(cells, key=cells.first_key, params={"api_key": cells.eu1_key}) == 200
    )  # the header counts
    for unknown in (None, "", "sip_mars_" + "x" * 43, cells.eu1_key[:-1], cells.eu1_key + "x"):
        assert await status(cells, key=unknown) == 401
    assert await status(cells, OWN, cells.first_key) == 401
    assert (
        await status(cells, OWN, cells.eu1_old_key) == 200
    )  # from before CELL was set: by the cell's own name only
    assert await status(cells, key=cells.eu1_old_key) == 401
    asked = await requests(cells.log, 12)
    assert [line.rpartition('"')[2].split()[1] for line in asked] == ["eu1", "first", "eu1", *["first"] * 9]


async def test_a_key_in_the_body_reaches_its_cell_by_the_own_name_of_the_cell(cells):
    for key in (cells.first_key, cells.eu1_key):
        assert (await connect(cells, SHARED, key)).status_code == 201

    async def create(host: str, key: str, tag: str) -> int:
        async with cells.client(host) as client:
            return (await client.post(USERS, data={"api_key": key, "tag": tag})).status_code

    assert await create(SHARED, cells.first_key, "ann") == 201
    assert await create(SHARED, cells.eu1_key, "bob") == 401
    assert await create(OWN, cells.eu1_key, "bob") == 201


async def test_links_and_consents_stay_in_the_cell_that_made_them(cells):
    assert (await connect(cells, SHARED, cells.eu1_key)).status_code == 201
    async with cells.client(key=cells.eu1_key) as client:
        link = (await client.post(USERS, json={"tag": "ann"})).json()["connect_url"]
    path = link.removeprefix(f"http://{OWN}")
    assert path != link

    async with cells.client(OWN) as browser, cells.client(SHARED) as elsewhere:
        page = await browser.get(path)
        fields = dict(re.findall(r'name="(\w+)" value="([^"]*)"', page.text))
        started = await browser.post(
            "/users/connect/consent", data=fields, headers={"origin": f"http://{OWN}"}
        )
        back = parse_qs(urlsplit(started.headers["location"]).query)
        answer = {"state": back["state"][0], "error": "access_denied"}
        elsewhere.cookies = browser.cookies

        assert (await elsewhere.get(path)).status_code in {403, 404}
        assert back["redirect_uri"] == [f"http://{OWN}/users/connect/callback"]
        assert (await elsewhere.get("/users/connect/callback", params=answer)).status_code == 400
        assert (await browser.get("/users/connect/callback", params=answer)).status_code == 303


async def test_a_webhook_goes_from_its_cell_to_the_partner_signed_with_the_key_of_the_cell(cells):
    async with WebhookSink() as sink, cells.client(OWN, cells.eu1_key) as client:
        async with cells.eu1.sessionmaker.begin() as db:
            await db.execute(
                text("UPDATE endpoints SET url = :url WHERE kind = 'new_mail'"),
                {"url": sink.url("/mail")},
            )
        keys = (await client.get("/api/v1/api_keys")).json()
        (new,) = [each["id"] for each in keys if each["hint"] == cells.eu1_key[:12]]
        signs = await client.post(f"/api/v1/api_keys/{new}/sign")
        tested = await client.post("/api/v1/webhooks/test", json={"kind": "new_mail"})
        (received,) = await sink.wait_for(1)

    assert (signs.status_code, tested.status_code) == (200, 200)
    assert verify_body_signature(json.loads(received.body), cells.eu1_key)


async def test_neither_a_key_nor_a_link_is_in_the_log_of_requests(cells):
    await status(cells, params={"api_key": cells.eu1_key})

    (line,) = await requests(cells.log, 1)
    assert re.search(r'"GET /api/v1/connections" 200 eu1 127\.0\.0\.1:\d+ 200$', line)


async def test_other_sites_of_the_same_nginx_are_proxied_as_before(cells):
    transport = httpx.AsyncHTTPTransport(uds=str(cells.log.parent / "other"))
    async with httpx.AsyncClient(transport=transport, base_url="http://other.example.com") as client:
        seen = await client.get("/")

    assert seen.text == "localhost "


async def test_no_key_is_in_a_log_of_nginx_while_a_cell_cannot_be_reached(cells, unused_tcp_port_factory):
    nobody = f"127.0.0.1:{unused_tcp_port_factory()}"
    cell_addresses = dict.fromkeys(("10.0.0.1:8000", "10.0.1.1:8000"), nobody)
    async with (
        ingress(cell_addresses, unused_tcp_port_factory()) as (address, log),
        httpx.AsyncClient(base_url=address, headers={"host": SHARED}) as client,
    ):
        answer = await client.get("/api/v1/connections", params={"api_key": cells.eu1_key})
        (line,) = await requests(log, 1)
        errors = (log.parent / "errors").read_text()

    assert (answer.status_code, cells.eu1_key in errors) == (502, False)
    assert line.endswith(f'"GET /api/v1/connections" 502 eu1 {nobody} 502')
