"""The API's logs and pages contain no code, state, signature, password or token of a person's visit."""

from __future__ import annotations

import httpx

from fixtures.world import World, eventually
from superimap.testing.oauth.server import OAuthServer
from tests.e2e.people import ANN, oauth_connection, partner_of
from tests.e2e.test_password_pages import unused
from tests.integration.connect.conftest import hidden_fields
from tests.support.processes import environment, started

WRONG, RIGHT = "planted-wrong-word-Zk3", "planted-right-word-8Vq"


async def test_no_secret_of_a_visit_is_logged_at_any_level_or_shown_on_a_page(world: World, sink, imap):
    imap.add_account(ANN, RIGHT)
    partner = await partner_of(world, sink)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    secrets = {WRONG, RIGHT, partner.api_key}
    pages = ""
    port = unused()
    url = f"http://127.0.0.1:{port}"
    env = environment(world, PORT=str(port), LOG_LEVEL="debug")
    async with OAuthServer(consents=ANN) as server, started("api", env=env) as process:
        server.add_person(ANN)
        server.add_client(f"{url}/users/connect/callback", client_secret="planted-client-5Rt")
        await oauth_connection(world, partner, server, imap.port)
        async with httpx.AsyncClient(base_url=url, timeout=20) as http:
            await eventually(lambda: answers(http))
            # A secret that is long enough to be searched for.
            await http.patch(
                "/api/v1/connections/OAUTH",
                json={"oauth2_client_secret": "planted-client-5Rt"},
                headers={"x-api-key": partner.api_key},
            )
            for fault in ("server_error", "invalid_grant", None):
                if fault:
                    server.faults.arm(fault)
                asked = await http.get(await link(http, partner, "OAUTH"))
                opened = await http.post("/users/connect/consent", data=hidden_fields(asked.text))
                back = (await http.get(opened.headers["location"])).headers["location"]
                done, late = await http.get(back), await http.get(back)
                pages += done.text + late.text + done.headers["location"]
                secrets |= {value for value in httpx.URL(back).params.values() if len(value) > 15}
            form = hidden_fields((await http.get(await link(http, partner, "TEST"))).text)
            for password in (WRONG, RIGHT):
                typed = {**form, "username": ANN, "password": password}
                answer = await http.post("/users/connect/password", data=typed)
                pages += answer.text + answer.headers.get("location", "")
            secrets |= {form["sig"]}
        logs = process.output

    tokens = server.records.tokens
    secrets |= {tokens[0].access_token, tokens[0].refresh_token or "", "planted-client-5Rt"}
    assert await world.value("SELECT count(*) FROM users WHERE connected_at IS NOT NULL") == 2
    assert "connected" in logs
    assert [secret for secret in secrets if secret in logs] == []
    assert [secret for secret in secrets - {form["sig"]} if secret in pages] == []


async def answers(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/readyz")).status_code == 200
    except httpx.HTTPError:
        return False


async def link(http: httpx.AsyncClient, partner, code: str) -> str:
    """Return the connect link of the user ann, who is created if necessary."""
    key = {"x-api-key": partner.api_key}
    path = f"/api/v1/connections/{code}/users"
    shown = await http.post(path, json={"tag": "ann"}, headers=key)
    if shown.status_code == 409:
        shown = await http.get(f"{path}/ann", headers=key)
    return str(shown.json()["connect_url"])
