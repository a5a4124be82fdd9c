"""The portal of a partner: opened by a link that works once, and never showing anything of another partner."""

from __future__ import annotations

import json
import re
import time

import pytest
from sqlalchemy import text

from superimap.api.dashboard import routes
from superimap.api.dashboard.signature_check import findings
from superimap.core.crypto import generate_signing_secret
from superimap.db.accounts import jobs
from superimap.domain.jobs import JobKind
from superimap.testing.signatures import signed_webhook
from superimap.webhooks.signing import SigningKeys, webhook_id
from tests.integration.dashboard.test_mailbox import add_mails
from tests.support.api import ApiWorld
from tests.support.dashboard import Browser, browser, signed_in


async def link_of(world: ApiWorld, api_key: str) -> str:
    """A new link, made by the API; returns its secret."""
    async with world.client(api_key) as client:
        answer = await client.post("/api/v1/portal/links")
        assert answer.status_code == 201, answer.text
        assert answer.json()["url"].startswith("http://testserver/portal/open?link=")
        return str(answer.json()["url"].partition("link=")[2])


async def opened(world: ApiWorld, api_key: str) -> Browser:
    """A browser with the partner's portal open."""
    guest = browser(world, "portal")
    answer = await guest.client.post("/portal/open", data={"link": await link_of(world, api_key)})
    assert answer.status_code == 303
    return guest


async def test_a_link_opens_the_portal_once_and_only_by_its_button(world):
    link = await link_of(world, world.acme)
    guest, other = browser(world, "portal"), browser(world, "portal")

    assert "acme" in (await guest.get("/open", link=link)).text
    first = await guest.client.post("/portal/open", data={"link": link})
    second = await other.client.post("/portal/open", data={"link": link})

    assert (first.status_code, second.status_code) == (303, 404)
    assert "acme" in (await guest.get()).text
    assert (await other.get()).headers["location"].startswith("/portal/sign-in")
    assert "works once" in (await other.get("/sign-in")).text
    await guest.post("/sign-out")
    assert (await guest.get()).status_code == 303


async def test_a_portal_session_opens_no_dashboard_and_an_operator_no_portal(world):
    portal, owner = await opened(world, world.acme), await signed_in(world)
    cookie, owner_cookie = (
        portal.client.cookies["superimap-portal"],
        owner.client.cookies["superimap-admin"],
    )

    portal.client.cookies.set("superimap-admin", cookie)
    owner.client.cookies.set("superimap-portal", owner_cookie)

    assert (await portal.client.get("/admin")).status_code == 303
    assert (await owner.client.get("/portal")).status_code == 303


async def test_an_operator_makes_a_link_and_partners_do_not_learn_who_did(world):
    owner = await signed_in(world)

    shown = await owner.post("/partners/1/portal", page="")
    link = re.search(r"/portal/open\?link=([A-Za-z0-9_-]{43})", shown.text)

    assert link
    assert (await browser(world, "portal").get("/open", link=link[1])).status_code == 200
    async with world.client(world.acme) as client:
        entries = (await client.get("/api/v1/audit_log")).json()
    assert "portal.link" in {entry["action"] for entry in entries}
    assert "owner@example.com" not in json.dumps(entries)
    assert not any({"address", "role"} & entry["details"].keys() for entry in entries)


async def test_no_address_of_the_portal_shows_another_partner(world):
    delivery = webhook_id(await add_mails(world))  # of acme
    async with world.sessionmaker.begin() as db:
        await jobs.create(db, JobKind.REPLAY_DELIVERIES, partner_id=1, plan={"state": "failed"}, total=1)
    acme, globex = await opened(world, world.acme), await opened(world, world.globex)
    values = {"webhook": delivery, "delivery_id": delivery}
    seen = 0
    for route in routes():
        path = route.path.removeprefix("/portal")
        if not route.path.startswith("/portal/") or "{" not in path:
            continue
        address = re.sub(r"{(\w+)(:\w+)?}", lambda found: values.get(found[1], "1"), path)
        if "GET" in route.methods:
            assert (await acme.get(address)).status_code == 200, address
            assert (await globex.get(address)).status_code == 404, address
            seen += 1
        else:
            assert (await globex.post(address)).status_code == 404, address
    assert seen >= 2
    for query in ("ann", "ann@example.com", "1", delivery, "acme", "PLAIN"):
        assert "location" not in (await globex.get("/find", q=query)).headers, query
    assert "ann@example.com" not in (await globex.get("/mailboxes")).text
    assert "ann@example.com" in (await acme.get("/mailboxes")).text


async def test_a_mailbox_in_the_portal_shows_no_idler_and_may_be_tried(world):
    await add_mails(world)
    acme = await opened(world, world.acme)
    page = (await acme.get("/mailboxes/1")).text

    assert "Idler" not in page
    assert "Try now" in page
    assert (await acme.post("/mailboxes/1/try", page="/mailboxes/1")).status_code == 303
    async with world.sessionmaker.begin() as db:
        who = (await db.execute(text("SELECT actor_kind FROM audit_log ORDER BY id DESC LIMIT 1"))).scalar()
    assert who == "portal"


def pasted(headers: dict[str, str], body: bytes) -> str:
    return "\r\n".join([*(f"{name}: {value}" for name, value in headers.items()), "", body.decode()])


def tones(request: str, keys: SigningKeys, *, now: float | None = None) -> list[str]:
    return [each.tone for each in findings(request, keys, now=now or time.time())]


@pytest.mark.parametrize("fields", [{"sha1": "a"}, {"sha1": "a", "subject": "Grüße, 𝔊"}])
def test_the_checker_finds_what_does_not_fit(fields):
    secret, key = generate_signing_secret(), "sip_key"
    keys = SigningKeys((key,), (generate_signing_secret(), secret))
    headers, body = signed_webhook(fields, api_key=key, secret=secret)
    whole = pasted(headers, body)

    assert tones(whole, keys) == ["good", "good"]
    assert tones(whole + "\r\n", keys) == ["good", "good"]
    assert tones(whole, SigningKeys(("other",), (generate_signing_secret(),))) == ["bad", "bad"]
    assert tones(whole, keys, now=time.time() + 3600) == ["good", "warn", "good"]
    compact = json.dumps(json.loads(body), separators=(",", ":"), ensure_ascii=False).encode()
    assert tones(pasted(headers, compact), keys) == ["warn", "good"]
    assert tones(body.decode(), keys)[0] == "bad"


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "\n\n",
        "a",
        "webhook-id: x\n\n[]",
        "webhook-id: x\nwebhook-timestamp: 9e9\nwebhook-signature: v1,\n\nnull",
        'webhook-id: x\nwebhook-timestamp: 1\nwebhook-signature: v1,ü\n\n{"signature": "\u202e"}',
        "{" * 10_000,
        "a: b\n\n" + "[" * 200_000,
    ],
)
def test_the_checker_answers_anything(request_text):
    assert tones(request_text, SigningKeys(("k",), (generate_signing_secret(),)))


async def test_a_pasted_request_is_checked_with_the_partners_keys(world):
    acme = await opened(world, world.acme)
    headers, body = signed_webhook({"sha1": "a"}, api_key=world.acme, secret=generate_signing_secret())

    answer = await acme.post("/signature", {"request": pasted(headers, body)}, page="/signature")

    assert "fits none of your signing secrets" in answer.text
    assert "fits one of your API keys that sign" in answer.text


async def test_a_portal_lists_its_own_keys_without_their_values(world):
    portal = await opened(world, world.acme)

    text = (await portal.get("/keys")).text

    assert (world.acme[:8] in text, world.acme in text, world.globex[:8] in text) == (True, False, False)
    assert "<form" not in text.partition("<main")[2]
