"""A service account signs for each mailbox of an organisation, and nobody consents."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from fixtures.world import World, running
from superimap.db import engine
from superimap.db.accounts import providers
from superimap.db.errors import Invalid
from superimap.launch import services
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_errors import TokenRefused
from superimap.testing import ImapServer, WebhookSink
from superimap.testing.oauth.server import OAuthServer
from tests.support.consent import Consented, process, provider

NAME = "watcher@acme.iam.gserviceaccount.example"
KEY = RSAKey.generate_key(2048)
KEY_FILE = json.dumps(
    {
        "type": "service_account",
        "client_email": NAME,
        "private_key_id": "kid-1",
        "private_key": KEY.as_pem(private=True).decode(),
        "token_uri": "https://elsewhere.example.com/token",
    }
)


MAIL = b"From: a@b.example\r\nSubject: hello\r\nMessage-ID: <1@b>\r\n\r\nhello\r\n"


@pytest.fixture
async def oauth() -> AsyncIterator[OAuthServer]:
    async with provider() as server:
        server.add_service_account(NAME, KEY, domain="example.com")
        for email in ("ann@example.com", "bob@example.com", "eve@elsewhere.example"):
            server.add_person(email)
        yield server


async def delegated(
    world: World,
    token_url: str,
    *,
    imap: tuple[str, int] = ("127.0.0.1", 1),
    hook: str = "https://app.example.com/",
) -> Consented:
    made = await world.partner(new_mail_webhook=hook)
    await world.provider(
        *imap,
        code="OAUTH",
        kind="OAUTH2",
        oauth2_grant_type="jwt_bearer",
        oauth2_client_auth="private_key_jwt",
        oauth2_token_url=token_url,
        oauth2_scope="mail",
    )
    await world.connection(made, code="OAUTH", oauth2_client_id=NAME, oauth2_client_secret=KEY_FILE)
    return Consented(world, None, made, app_only=True)  # type: ignore[arg-type]


async def test_each_mailbox_has_a_token_that_opens_no_other(world, oauth):
    acme = await delegated(world, oauth.url("/token"))
    ann, bob = await acme.user("ann@example.com"), await acme.user("bob@example.com")

    async with process(world) as tokens:
        of_ann, of_bob = await tokens.get(ann), await tokens.get(bob)
        again = await tokens.get(ann)

    assert oauth.count("/token") == 2
    assert again.token == of_ann.token != of_bob.token
    assert oauth.opens(of_ann.token, "ann@example.com") and not oauth.opens(of_ann.token, "bob@example.com")
    assert not of_ann.is_shared
    assert oauth.records.tokens[0].scope == "mail"


async def test_a_mailbox_is_watched_by_its_address_alone(world, oauth):
    async with (
        ImapServer() as imap,
        WebhookSink() as sink,
        running(services.run_idler, world.settings),
        running(services.run_dispatcher, world.settings),
    ):
        imap.opens_for = lambda user, token: oauth.opens_for(token, user)
        imap.add_account("ann@example.com", "unused")
        acme = await delegated(
            world, oauth.url("/token"), imap=(imap.host, imap.port), hook=sink.url("/hook")
        )
        await acme.user("ann@example.com")
        await imap.wait_for(lambda: any(session.idling for session in imap.sessions))
        imap.deliver("ann@example.com", MAIL)

        await sink.wait_for(lambda received: len(received) == 1)

    assert sink.received[0].json["user_tag"] == "ann"


async def test_what_is_sent_is_signed_for_the_token_url_and_names_no_secret(world):
    async with WebhookSink() as sink:
        acme = await delegated(world, sink.url("/token"))
        ann = await acme.user("ann@example.com")
        async with process(world) as tokens:
            with pytest.raises(Exception, match="token"):
                await tokens.get(ann)

    form = dict(pair.split("=", 1) for pair in sink.received[0].body.decode().split("&"))
    signed = jwt.decode(form["assertion"], KEY)
    assert form.keys() == {"grant_type", "assertion"}
    assert signed.header == {"alg": "RS256", "typ": "JWT", "kid": "kid-1"}
    assert {name: signed.claims[name] for name in ("iss", "sub", "scope", "aud")} == {
        "iss": NAME,
        "sub": "ann@example.com",
        "scope": "mail",
        "aud": sink.url("/token"),
    }
    assert 0 < signed.claims["exp"] - signed.claims["iat"] <= 3600


@pytest.mark.parametrize("email", ["eve@elsewhere.example", "nobody@example.com"])
async def test_a_refused_account_concerns_no_other_and_asks_nobody_to_connect_again(world, oauth, email):
    acme = await delegated(world, oauth.url("/token"))
    ann, other = await acme.user("ann@example.com"), await acme.user(email)

    async with process(world) as tokens:
        with pytest.raises(TokenRefused) as refused:
            await tokens.get(other)
        assert (await tokens.get(ann)).token

    assert refused.value.refusal is TokenRefusal.CLIENT
    assert "connect again" not in str(refused.value)


async def test_a_key_that_is_not_valid_any_more_pauses_the_connection(world, oauth):
    oauth.records.clients[NAME].public_key = RSAKey.generate_key(2048)
    acme = await delegated(world, oauth.url("/token"))
    users = [await acme.user(email) for email in ("ann@example.com", "bob@example.com")]

    async with process(world) as tokens:
        for user in users:
            with pytest.raises(TokenRefused):
                await tokens.get(user)

    assert oauth.count("/token") == 1


async def test_a_provider_whose_applications_sign_needs_their_keys(world):
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        with pytest.raises(Invalid, match="private_key_jwt"):
            await providers.create(
                db,
                code="X",
                title="X",
                kind="OAUTH2",
                imap_host="imap.example.com",
                imap_port=993,
                imap_tls="tls",
                oauth2_grant_type="jwt_bearer",
                oauth2_token_url="https://id.example.com/token",
                oauth2_scope="mail",
            )
