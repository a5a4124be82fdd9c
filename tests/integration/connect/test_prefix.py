"""The API behind a reverse proxy that publishes it under a path."""

from __future__ import annotations

import html
import re
from urllib.parse import parse_qs, urljoin, urlsplit

import httpx
import pytest

from superimap.api import dashboard
from superimap.api.app import enabled_modules
from superimap.api.public_path import OWN_SEGMENTS, without_prefix
from tests.integration.connect.conftest import ANN, hidden_fields
from tests.support.api import served, settings_for
from tests.support.prefix_proxy import prefix_proxy

API = "/api/v1/connections"
CASES = {
    "BASE_URL, stripped": ("/mail/superimap", True, True),
    "BASE_URL like a path of ours, passed on": ("/api", False, True),
    "X-Forwarded-Prefix, stripped": ("/mail/superimap", True, False),
}


def addresses_in(page: httpx.Response) -> set[str]:
    """Every address that a page names, as a browser resolves it."""
    found = re.findall(r'(?:href|src|action)="([^"]*)"', page.text)
    return {urljoin(str(page.url), html.unescape(each)) for each in found}


@pytest.mark.parametrize("case", CASES)
async def test_a_person_and_a_program_stay_under_the_prefix(scene, case):
    prefix, strips, has_base_url = CASES[case]
    await scene.rows("UPDATE partners SET success_url = NULL, failure_url = NULL, append_results = false")
    sent = {} if has_base_url else {"X-Forwarded-Prefix": prefix}
    async with prefix_proxy(prefix, strips=strips, headers=sent) as (origin, upstream):
        base = origin + prefix
        settings = settings_for(
            scene.database_url, base_url=base if has_base_url else "", trusted_proxies="127.0.0.0/8"
        )
        scene.provider.add_client(f"{base}/users/connect/callback", client_secret="cl13nt-s3cret")
        async with served(settings) as url, httpx.AsyncClient(timeout=20) as http:
            upstream.append(url)
            key = {"x-api-key": scene.api_key}

            # A program.
            for tag in ("ann", "bob"):
                made = await http.post(f"{base}{API}/GMAIL/users", json={"tag": tag}, headers=key)
                assert made.status_code == 201, made.text
            listed = await http.get(f"{base}{API}/GMAIL/users?limit=1", headers=key)
            following = await http.get(listed.links["next"]["url"], headers=key)
            assert [each["tag"] for each in listed.json() + following.json()] == ["ann", "bob"]
            described = (await http.get(f"{base}/openapi.json")).json()
            server = urljoin(f"{base}/openapi.json", described["servers"][0]["url"])
            assert (await http.get(f"{server}{API}", headers=key)).status_code == 200
            docs = await http.get(f"{base}/", follow_redirects=True)
            assert str(docs.url) == f"{base}/docs"
            script = urljoin(str(docs.url), "docs/assets/docs.js")
            assert 'url: "openapi.json"' in (await http.get(script)).text

            # A person with a password.
            shown = (await http.get(f"{base}{API}/GMAIL/users/ann", headers=key)).json()
            form = await http.get(shown["connect_url"])
            typed = {**hidden_fields(form.text), "username": ANN}
            lacking = await http.post(f"{base}/users/connect/password", data=typed)
            done = await http.post(
                f"{base}/users/connect/password", data={**typed, "password": "right horse"}
            )
            finished = await http.get(done.headers["location"])
            assert "You are connected" in finished.text
            used = await http.get(shown["connect_url"])
            assert (lacking.status_code, used.status_code) == (422, 410)
            disconnecting = await http.get(shown["disconnect_url"])

            # A person who consents.
            ann = await http.post(f"{base}{API}/OAUTH/users", json={"tag": "ann"}, headers=key)
            consent = await http.get(ann.json()["connect_url"])
            opened = await http.post(f"{base}/users/connect/consent", data=hidden_fields(consent.text))
            asked = parse_qs(urlsplit(opened.headers["location"]).query)
            assert asked["redirect_uri"] == [f"{base}/users/connect/callback"]
            after = await http.get(opened.headers["location"], follow_redirects=True)
            assert str(after.url).startswith(f"{base}/users/connect/finished?")

            for page in (docs, form, lacking, finished, used, disconnecting, consent, after):
                for address in addresses_in(page):
                    assert address.startswith(f"{base}/"), f"{page.url} leads to {address}"
                    assert (await http.get(address)).status_code in (200, 405), address
            path = re.search(r"[Pp]ath=([^;]*)", form.headers["set-cookie"])
            assert path is not None
            assert path[1] == prefix
            assert (await http.get(f"{url}/healthz")).status_code == 200, "without the proxy"


@pytest.mark.parametrize(
    ("path", "prefix", "route"),
    [
        ("/docs", "", "/docs"),
        ("/mail/docs", "/mail", "/docs"),
        ("/docs", "/mail", "/docs"),
        ("/mail", "/mail", "/"),
        ("/mail/", "/mail", "/"),
        ("/mailbox/docs", "/mail", "/mailbox/docs"),
        ("/mail/mail/docs", "/mail", "/mail/mail/docs"),
        ("/api/api/v1/connections", "/api", "/api/v1/connections"),
        ("/api/v1/connections", "/api", "/api/v1/connections"),
        ("/api/v1/connections", "/api/v1", "/api/v1/connections"),
        ("/users/users/connect/new", "/users", "/users/connect/new"),
        ("/users/connect/new", "/users", "/users/connect/new"),
        ("/mail/admin/oidc/callback", "/mail", "/admin/oidc/callback"),
        ("/admin/sign-in", "/admin", "/admin/sign-in"),
        ("/mail/portal", "/mail", "/portal"),
    ],
)
def test_the_prefix_is_cut_only_where_a_path_of_ours_remains(path, prefix, route):
    assert without_prefix(path, prefix) == route


def test_every_route_begins_with_a_segment_that_the_prefix_rule_knows():
    paths = {route.path for module in enabled_modules(None) for route in module.router.routes}
    paths |= {route.path for route in dashboard.routes()}

    assert {path.split("/")[1] for path in paths} == OWN_SEGMENTS


@pytest.mark.parametrize(
    "sent", ["/superimap/../x", "//evil.example", "superimap", "/a b", "/a?b", "https://evil.example"]
)
async def test_a_forwarded_prefix_that_is_no_path_is_refused(scene, sent):
    settings = settings_for(scene.database_url, trusted_proxies="127.0.0.0/8")
    async with served(settings) as url, httpx.AsyncClient() as http:
        answer = await http.get(f"{url}/docs", headers={"X-Forwarded-Prefix": sent})

    assert answer.status_code == 400
    assert "X-Forwarded-Prefix is not a path" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("lines", "prefix"),
    [(["/outer, /inner/"], "/outer/inner"), (["/outer", "/inner"], "/outer/inner"), (["/"], ""), ([""], "")],
)
async def test_the_prefixes_of_several_proxies_are_joined(scene, lines, prefix):
    settings = settings_for(scene.database_url, trusted_proxies="127.0.0.0/8")
    async with served(settings) as url, httpx.AsyncClient() as http:
        answer = await http.get(url, headers=[("X-Forwarded-Prefix", line) for line in lines])
        untrusted = await scene.browser().get("/", headers={"X-Forwarded-Prefix": "/superimap"})

    assert answer.headers["location"] == f"{prefix}/docs"
    assert untrusted.headers["location"] == "/docs"
