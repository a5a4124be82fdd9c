"""Signing in with an OpenID provider: whose tokens count, which role they give, and which account they open."""

from __future__ import annotations

import asyncio
import html
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest
import pytest_asyncio
from sqlalchemy import select, update

from superimap.api import main
from superimap.api.dashboard import passkeys
from superimap.api.dashboard.page import Page
from superimap.core.crypto import generate_key
from superimap.core.environment import SettingsError, load_settings
from superimap.db.models import AuditEntry, DashboardSession, Operator, OperatorToken
from superimap.db.operators import accounts, tokens
from superimap.domain.operators import OperatorRole
from superimap.oauth.discovery import provider_metadata
from superimap.oauth.identity import IdentityError
from superimap.testing.oauth import rules
from superimap.testing.oauth.server import OAuthServer
from tests.support.api import ApiWorld
from tests.support.api import world as make_world
from tests.support.dashboard import PASSWORD, Browser, browser, invitation, operator, signed_in

ANN = "ann@example.com"
SECRET = "oidc-hush-hush-hush"
CALLBACK = "http://testserver/admin/oidc/callback"
GROUPS = {"oidc_owner_groups": "admins, Chefs", "oidc_operator_groups": "ops", "oidc_viewer_groups": "staff"}


@dataclass(frozen=True, slots=True)
class Office:
    """An API whose operators sign in at a provider, where Ann consents without a page."""

    world: ApiWorld
    provider: OAuthServer

    def claims(self, **values: Any) -> None:
        """Set claims of every ID token from now on."""
        self.provider.terms.extra_claims = {"groups": ["staff"], **values}

    async def start(self, guest: Browser, **query: str) -> str:
        """Go to the provider, and return the address to which it sends the browser."""
        away = await guest.get("/oidc/start", **query)
        assert away.status_code == 303, away.text
        async with httpx.AsyncClient() as http:
            back = await http.get(away.headers["location"])
        return back.headers["location"]

    async def sign_in(self, guest: Browser, **query: str) -> httpx.Response:
        """Sign in at the provider, and return the answer to what the browser brings back."""
        return await guest.client.get(await self.start(guest, **query))

    async def rows(self, *columns: Any) -> list[tuple[Any, ...]]:
        async with self.world.sessionmaker.begin() as db:
            return [tuple(row) for row in await db.execute(select(*columns).order_by(columns[0]))]


@pytest_asyncio.fixture
async def office(database_url: str) -> AsyncIterator[Office]:
    async with OAuthServer(consents=ANN) as provider:
        provider.add_person(ANN)
        provider.add_client(CALLBACK, client_secret=SECRET)
        values = {"oidc_issuer": provider.url(), "oidc_client_id": "client", "oidc_client_secret": SECRET}
        async with make_world(database_url, **values, **GROUPS, oidc_label="Acme <login>") as world:
            made = Office(world, provider)
            made.claims()
            yield made


def target(shown: httpx.Response) -> str:
    """Where the page goes on by itself."""
    found = re.search(r'http-equiv="refresh" content="0; url=([^"]*)"', shown.text)
    return html.unescape(found[1]) if found else shown.text


async def test_the_first_person_of_an_owner_group_becomes_an_owner_without_a_password(office):
    guest = browser(office.world)
    office.claims(groups=[*map(str, range(2000)), "Chefs", "staff"])
    assert "Acme &lt;login&gt;" in (await guest.get("/sign-in", next="/cluster")).text

    back = await office.start(guest, next="/cluster")
    cookie = next(iter(guest.client.cookies.jar))
    answer = await guest.client.get(back)

    assert (answer.status_code, target(answer)) == (200, "/admin/cluster")
    assert (await guest.get("/cluster")).status_code == 200
    assert await office.rows(Operator.email, Operator.role, Operator.password) == [(ANN, "owner", None)]
    assert await office.rows(DashboardSession.method) == [("single sign-on",)]
    asked = dict(parse_qsl(urlsplit(back).query))
    assert cookie.has_nonstandard_attr("HttpOnly")
    assert cookie.get_nonstandard_attr("SameSite") == "lax"
    assert asked["state"] not in cookie.value
    assert cookie.name not in guest.client.cookies
    replayed = await guest.client.get(back)
    guest.client.cookies.set(cookie.name, cookie.value, domain="testserver.local")
    again = await guest.client.get(back)
    foreign = await browser(office.world).client.get(back)
    assert [each.status_code for each in (replayed, again, foreign)] == [403, 403, 403]
    assert office.provider.count("/token") == 1


async def test_a_token_that_is_not_meant_for_this_sign_in_opens_nothing(office):
    refused: list[tuple[dict[str, Any], str]] = [
        ({"iss": "https://evil.example"}, "another provider"),
        ({"iss": f"https://{office.provider.url()}"}, "another provider"),  # a spelling that consents accept
        ({"aud": "another"}, "another application"),
        ({"aud": ["client", "another"]}, "another application"),
        ({"azp": "another"}, "another application"),
        ({"nonce": "another"}, "another consent"),
        ({"exp": 1}, "expired"),
        ({"iat": time.time() + 3600}, "in the future"),
        ({"sub": ""}, "names nobody"),
        ({"email_verified": False}, "vouch"),
        ({"groups": ["else"]}, "None of your groups"),
        ({"groups": None}, "None of your groups"),
    ]
    for claims, fault in refused:
        office.claims(**claims)
        guest = browser(office.world)

        answer = await office.sign_in(guest)

        assert (answer.status_code, fault in answer.text) == (422, True), claims
        assert (await guest.get()).status_code == 303
    assert await office.rows(Operator.email) == []
    audited = await office.rows(AuditEntry.id, AuditEntry.action)
    assert [action for _, action in audited].count("operator.refuse") == len(refused)


async def test_an_unsigned_token_or_one_of_another_key_opens_nothing(office, monkeypatch):
    guest = browser(office.world)
    office.provider.faults.arm("forged_id_token")
    forged = await office.sign_in(guest)
    for algorithm in ("none", "HS256"):
        monkeypatch.setattr(rules._IdToken, "get_encode_header", lambda *_, a=algorithm: {"alg": a})
        unsigned = await guest.client.get(await office.start(guest))
        assert unsigned.status_code == 422

    assert (forged.status_code, "cannot be trusted" in forged.text) == (422, True)
    assert await office.rows(Operator.email) == []


async def test_errors_of_the_provider_are_shown_as_text_and_only_in_a_sign_in_that_was_started(office):
    guest = browser(office.world)
    state = dict(parse_qsl(urlsplit(await office.start(guest)).query))["state"]
    hostile = {"error": "access_denied", "error_description": "<script>alert(1)</script>\u202e" + "x" * 9000}

    foreign = await browser(office.world).get("/oidc/callback", state=state, **hostile)
    shown = await guest.get("/oidc/callback", state=state, **hostile)
    office.provider.faults.arm("wrong_state")
    other = await office.sign_in(guest)
    began = dict(parse_qsl(urlsplit(await office.start(guest)).query))
    elsewhere = await guest.get("/oidc/callback", **began, iss="https://evil.example")

    assert "access_denied" not in foreign.text
    assert (shown.status_code, "access_denied: &lt;script&gt;" in shown.text) == (422, True)
    assert "<script>alert" not in shown.text
    assert "\u202e" not in shown.text
    assert "x" * 400 not in shown.text
    assert (other.status_code, elsewhere.status_code) == (403, 422)
    assert "another provider" in elsewhere.text
    assert office.provider.count("/token") == 0


async def test_each_sign_in_gives_the_role_of_the_groups_and_ends_the_sessions_of_a_higher_one(office):
    await operator(office.world)
    first, second = browser(office.world), browser(office.world)
    office.claims(groups="ops")
    await office.sign_in(first)
    assert (await first.get()).status_code == 200

    office.claims(groups=["staff"])
    await office.sign_in(second)

    assert (await first.get()).status_code == 303
    assert (await second.post("/providers/new", {}, page="/account")).status_code == 403
    assert (ANN, "viewer") in await office.rows(Operator.email, Operator.role)
    async with office.world.sessionmaker.begin() as db:
        ann = await accounts.by_email(db, ANN)
        assert ann is not None
        await tokens.create(db, ann, name="cron", role="viewer", days=1, is_confirmed=False)
    office.claims(groups=[])
    refused = await office.sign_in(browser(office.world))
    assert "None of your groups" in refused.text
    assert await office.rows(OperatorToken.id) == []
    assert (await second.get()).status_code == 303


async def test_the_last_owner_who_has_left_the_group_is_signed_out_and_keeps_the_installation(office):
    first = browser(office.world)
    office.claims(groups=["admins"])
    await office.sign_in(first)

    office.claims(groups=["staff"])
    refused = await office.sign_in(browser(office.world))

    assert (refused.status_code, "last owner" in refused.text) == (422, True)
    assert (await first.get()).status_code == 303
    assert await office.rows(Operator.role) == [("owner",)]


async def test_an_account_with_a_password_is_linked_only_by_its_operator(office):
    await operator(office.world, OperatorRole.OWNER, "root@example.com")
    await operator(office.world, OperatorRole.OWNER, ANN)
    taken = await office.sign_in(browser(office.world))
    assert (taken.status_code, "signs in without the provider" in taken.text) == (422, True)

    ann = browser(office.world)
    await ann.client.post("/admin/sign-in", data={"email": ANN, "password": PASSWORD})
    linked = await office.sign_in(ann, purpose="link")

    assert target(linked) == "/admin/account"
    assert "Your groups there decide your role, which is viewer" in (await ann.get("/account")).text
    by_password = await browser(office.world).client.post(
        "/admin/sign-in", data={"email": ANN, "password": PASSWORD}
    )
    assert by_password.status_code == 422
    eve = await signed_in(office.world, OperatorRole.VIEWER, "eve@example.com")
    assert "linked to another account" in (await office.sign_in(eve, purpose="link")).text


async def test_an_address_that_an_owner_has_invited_is_linked_and_its_invitation_ends(office):
    await operator(office.world, OperatorRole.OPERATOR, ANN, password=None)
    link = await invitation(office.world, ANN)
    guest = browser(office.world)

    await office.sign_in(guest)

    assert (await guest.get()).status_code == 200
    assert (await browser(office.world).get("/invitation", link=link)).status_code == 404
    # A link that an owner makes later gives a password instead of the provider.
    later = {"link": await invitation(office.world, ANN), "password": PASSWORD, "again": PASSWORD}
    assert (await browser(office.world).client.post("/admin/invitation", data=later)).status_code == 303
    assert (await office.sign_in(browser(office.world))).status_code == 422


async def test_a_disabled_operator_is_refused(office):
    await office.sign_in(browser(office.world))
    async with office.world.sessionmaker.begin() as db:
        await accounts.change(db, await accounts.by_email(db, ANN), disabled=True)

    refused = await office.sign_in(browser(office.world))

    assert (refused.status_code, "is disabled" in refused.text) == (422, True)


async def test_the_identity_is_confirmed_by_a_new_proof_at_the_provider(office):
    guest = browser(office.world)
    office.claims(auth_time=time.time() - 3600)
    await office.sign_in(guest)
    form = {"back": "/account"}
    late = await guest.post("/account/recovery-codes", form, page="/account")
    assert late.headers["location"] == "/admin/confirm?next=%2Faccount"
    assert 'name="password"' not in (await guest.get("/confirm")).text

    away = dict(
        parse_qsl(urlsplit((await guest.get("/oidc/start", purpose="confirm")).headers["location"]).query)
    )
    old = await office.sign_in(guest, purpose="confirm", next="/account")
    office.claims(auth_time=time.time(), sub="eve")
    eve = await office.sign_in(guest, purpose="confirm", next="/account")
    still = await guest.post("/account/recovery-codes", form, page="/account")
    office.claims(auth_time=time.time())
    proven = await office.sign_in(guest, purpose="confirm", next="/account")

    assert (away["prompt"], away["max_age"]) == ("login", "0")
    assert (old.status_code, "did not ask for your identity again" in old.text) == (422, True)
    assert (eve.status_code, "somebody else" in eve.text) == (422, True)
    assert still.headers["location"] == "/admin/confirm?next=%2Faccount"
    assert target(proven) == "/admin/account"
    assert (await guest.post("/account/recovery-codes", form, page="/account")).status_code == 409
    assert len(await office.rows(Operator.email)) == 1


async def test_without_a_provider_there_is_no_button_and_no_page(world):
    guest = browser(world)
    await operator(world)

    assert "oidc" not in (await guest.get("/sign-in")).text
    assert (await guest.get("/oidc/start")).status_code == 404


async def test_tries_of_an_address_are_limited(office):
    guest = browser(office.world)
    codes = [(await guest.get("/oidc/callback", state="x")).status_code for _ in range(31)]

    assert codes == [403] * 30 + [429]


async def test_a_passkey_of_an_operator_of_the_provider_only_confirms(office, monkeypatch):
    guest = browser(office.world)
    await office.sign_in(guest)

    async def verified(page: Page) -> Operator:
        found = await accounts.by_email(page.db, ANN, lock=True)
        assert found is not None
        return found

    monkeypatch.setattr(passkeys, "verify", verified)
    confirmed = await guest.post("/confirm/passkey", {"next": "/account"}, page="/confirm")
    signed = await browser(office.world).client.post("/admin/passkey")

    assert confirmed.headers["location"] == "/admin/account"
    assert (signed.status_code, "sign in with the provider" in signed.text) == (422, True)


async def test_an_account_is_linked_only_with_a_confirmed_identity(office):
    owner = await signed_in(office.world)
    async with office.world.sessionmaker.begin() as db:
        await db.execute(update(DashboardSession).values(stepped_up_at=None))

    assert (await owner.get("/oidc/start", purpose="link")).headers["location"] == (
        "/admin/confirm?next=%2Faccount"
    )
    guest = await browser(office.world).get("/oidc/start", purpose="link")
    assert guest.headers["location"] == "/admin/sign-in"


async def test_odd_answers_of_the_provider_are_refused_with_a_sentence(office):
    guest = browser(office.world)
    state = dict(parse_qsl(urlsplit(await office.start(guest)).query))["state"]

    told = await guest.get("/oidc/callback", state=state, error="a\0b")
    office.claims(email="no address@example.com", auth_time=10**400)
    refused = await office.sign_in(guest)
    office.claims(auth_time=10**400)
    admitted = await office.sign_in(guest)

    assert (told.status_code, "The provider answered: a" in told.text) == (422, True)
    assert (refused.status_code, "does not vouch" in refused.text) == (422, True)
    assert target(admitted) == "/admin"
    audited = await office.rows(AuditEntry.id, AuditEntry.action)
    assert [action for _, action in audited].count("operator.refuse") == 2


@pytest.mark.parametrize("url", ["https://[", "https://i:x/", "https://", "https://xn--/", "https://a..b/"])
def test_metadata_with_a_url_that_cannot_be_dialled_is_refused(url):
    fields = {"issuer": "https://i", "authorization_endpoint": "https://i/a", "token_endpoint": "https://i/t"}
    with pytest.raises(IdentityError, match="jwks_uri"):
        provider_metadata({**fields, "jwks_uri": url}, "https://i")


async def test_a_link_that_is_refused_changes_nothing(office):
    eve = await signed_in(office.world, OperatorRole.OWNER, "eve@example.com")
    async with office.world.sessionmaker.begin() as db:
        found = await accounts.by_email(db, "eve@example.com", lock=True)
        await tokens.create(db, found, name="cron", role="viewer", days=1, is_confirmed=False)

    answers = []
    for groups in ([], ["staff"]):  # eve is the last owner
        office.claims(groups=groups)
        answers.append(await office.sign_in(eve, purpose="link"))

    assert [each.status_code for each in answers] == [422, 422]
    assert (await eve.get()).status_code == 200
    assert len(await office.rows(OperatorToken.id)) == 1
    assert await office.rows(Operator.role, Operator.oidc_subject) == [("owner", None)]


async def test_only_the_api_needs_the_client_secret(monkeypatch):
    """Idlers and dispatchers read the same settings, and do not get the secret."""
    for name, value in {
        "ISSUER": "https://login.example.com",
        "CLIENT_ID": "a",
        "OWNER_GROUPS": "staff",
    }.items():
        monkeypatch.setenv(f"OIDC_{name}", value)
    monkeypatch.setenv("OIDC_CLIENT_SECRET", "")
    given = {"database_url": "postgresql://localhost/none", "encryption_key": generate_key()}
    settings = load_settings({"environment": "development", "port": 0, **given})

    with pytest.raises(SettingsError, match="OIDC_CLIENT_SECRET is not set: OIDC_ISSUER needs it"):
        await main.serve(settings, asyncio.Event())
