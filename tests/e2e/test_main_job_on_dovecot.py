"""The main job with real parts: Dovecot over TLS, PostgreSQL, Valkey, HTTP, and a process per service."""

import asyncio
import base64
import hashlib
import hmac
import json

import pytest

from fixtures.world import World, eventually
from superimap.testing import Received, WebhookSink
from tests.support.dovecot import Dovecot
from tests.support.mails import Ledger, mail, ruby_recipe
from tests.support.processes import environment, started

USER_COUNT = 50
MAILS_PER_USER = 20


def standard_signature(secret: str, received: Received) -> str:
    """Compute the Standard Webhooks v1 signature by hand."""
    signed = (
        f"{received.headers['webhook-id']}.{received.headers['webhook-timestamp']}.".encode() + received.body
    )
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def numbered(user: int, number: int) -> bytes:
    """Return mails of every kind: plain, 8-bit UTF-8, not UTF-8 at all, unusual subjects."""
    raw = mail(f"{user}-{number}", to=f"user{user}@example.org")
    match number % 4:
        case 1:
            return raw + "Grüße, 🙂\r\n".encode()
        case 2:
            return raw.replace(b"Subject: Mail", b'Subject: :( * {42} "quoted" Mail') + b"caf\xe9\r\n"
        case _:
            return raw


@pytest.mark.timeout(300)
async def test_1000_mails_of_50_users_of_2_partners_give_exactly_1000_webhooks(
    world: World, dovecot: Dovecot, sink: WebhookSink
):
    partners = [
        await world.partner(f"partner{number}", new_mail_webhook=sink.url(f"/{number}"))
        for number in range(2)
    ]
    await world.provider("localhost", dovecot.tls_port, tls="tls")
    logins = []
    for partner in partners:
        await world.connection(partner)
    for number in range(USER_COUNT):
        login = dovecot.add_user()
        logins.append(login)
        await world.user(partners[number % 2], f"tag{number}", login=login, password="secret")

    # Dovecot reports mail of the half second before it hibernates a session only with the next mail. Without a
    # next mail, the mail is found at the end of a round.
    env = environment(world, SSL_CERT_FILE=str(dovecot.authority), IDLE_RENEW="20")
    ledger = Ledger()
    async with started("idler", env=env), started("dispatcher", env=env):
        await eventually(
            lambda: world.value(f"SELECT count(*) = {USER_COUNT} FROM users WHERE status = 'watching'"),
            within=90,
        )
        for number in range(MAILS_PER_USER):
            for user, login in enumerate(logins):
                raw = numbered(user, number)
                ledger.note(raw, path=f"/{user % 2}", tag=f"tag{user}")
                await asyncio.to_thread(dovecot.deliver, login, raw)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=150)
        await eventually(
            lambda: world.value("SELECT count(*) = 0 FROM deliveries WHERE state <> 'delivered'")
        )
        received = list(sink.received)

    assert len(received) == USER_COUNT * MAILS_PER_USER
    assert ledger.lost(received) == set()
    assert ledger.astray(received) == []
    assert len({each.headers["webhook-id"] for each in received}) == USER_COUNT * MAILS_PER_USER
    for each in received:
        partner = partners[int(each.path[1:])]
        body = json.loads(each.body)
        assert body["signature"] == ruby_recipe(partner.api_key, each.body)
        assert each.headers["webhook-signature"] == standard_signature(partner.signing_secret, each)
        raw = numbered_from(body)
        assert body["rfc822"] == raw.decode("utf-8", "replace")
        assert body["sha1"] == hashlib.sha1(raw).hexdigest()
        assert ("rfc822_base64" in body) == (body["rfc822"].encode() != raw)
    flags = [flags for login in logins for flags in dovecot.flags(login).values()]
    assert flags == [""] * (USER_COUNT * MAILS_PER_USER)


def numbered_from(body: dict) -> bytes:
    """Return the mail as it was delivered, found by the Message-ID of its envelope."""
    user, _, number = body["envelope"]["message_id"].strip("<>").partition(".")[0].partition("-")
    raw = numbered(int(user), int(number))
    assert "rfc822_base64" not in body or base64.b64decode(body["rfc822_base64"]) == raw
    return raw
