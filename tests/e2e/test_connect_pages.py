"""Connecting by consent in Chromium: from the link to the first webhook, and disconnecting."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from aiohttp import web

from fixtures.world import eventually, running
from superimap.launch import services
from superimap.testing.oauth.server import OAuthServer
from tests.e2e.people import (
    ANN,
    PHONE,
    api,
    chrome,
    first,
    link,
    new_link,
    oauth_connection,
    origin,
    partner_of,
    trust,
)
from tests.support import accessibility, dovecot_oauth
from tests.support.mails import mail


@pytest.mark.parametrize("mechanism", ["XOAUTH2", "OAUTHBEARER"])
async def test_a_person_connects_by_consent_gets_webhooks_and_disconnects(
    world, sink, chromium, monkeypatch, mechanism
):
    partner = await partner_of(world, sink)
    async with OAuthServer() as server:
        with dovecot_oauth.trusting(server, mechanisms=mechanism.lower()) as dovecot:
            trust(monkeypatch, dovecot)
            dovecot.add_user(ANN)
            server.add_person(ANN)
            await oauth_connection(world, partner, server, dovecot.tls_port)
            async with (
                api(world) as url,
                running(services.run_idler, world.settings),
                running(services.run_dispatcher, world.settings),
                chrome(chromium) as person,
            ):
                server.add_client(f"{url}/users/connect/callback", client_secret="s3cret")
                connect_url = await new_link(url, partner.api_key, "OAUTH")

                await person.opens(connect_url)
                assert await accessibility.faults(person.page) == []
                await person.page.get_by_role("button", name="Continue to Test provider").click()
                await person.page.get_by_role("button", name="Allow").click()
                await person.page.wait_for_url(f"{sink.url('/ok')}?superimap_result=success**")
                connected = await first(sink, "/connected")
                assert (connected.json["user_tag"], connected.json["email"]) == ("ann", ANN)

                watching = "SELECT status = 'watching' FROM users"
                await eventually(lambda: world.value(watching))
                await asyncio.to_thread(dovecot.deliver, ANN, mail("first"))
                received = await first(sink, "/new_mail")
                assert received.json["user_tag"] == "ann"
                assert received.json["envelope"]["subject"] == "Mail first"
                assert set(dovecot.flags(ANN).values()) == {""}

                await person.opens(await link(url, partner.api_key, "OAUTH", "disconnect_url"))
                assert await accessibility.faults(person.page) == []
                await person.page.get_by_role("button", name="Disconnect").click()
                await person.page.wait_for_url(f"{sink.url('/ok')}?superimap_result=success**")
                assert (await first(sink, "/disconnected")).json["user_tag"] == "ann"
                await eventually(lambda: asyncio.to_thread(lambda: ANN not in dovecot.doveadm("who")))

    assert server.records.tokens[0].refresh_revoked
    assert server.count("/introspect") == 1


async def test_no_secret_of_a_link_or_consent_leaks_to_other_sites(world, sink, chromium):
    """No secret goes to the provider, to the page that the person returns to, or to any other host."""
    partner = await partner_of(world, sink)
    async with OAuthServer() as server, api(world) as url, chrome(chromium) as person:
        server.add_person(ANN)
        server.add_client(f"{url}/users/connect/callback", client_secret="s3cret")
        await oauth_connection(world, partner, server, 1)
        connect_url = await new_link(url, partner.api_key, "OAUTH")

        await person.opens(connect_url)
        await person.page.get_by_role("button", name="Continue").click()
        await person.page.get_by_role("button", name="Allow").click()
        await person.page.wait_for_url(f"{sink.url('/ok')}?**")
        back = await person.page.go_back()
        await person.opens(connect_url)
        await person.page.get_by_role("heading", name="This link has been used").wait_for()
        referers = await person.referers()

    callback = next(address for address in person.asked if "/users/connect/callback" in address)
    code = httpx.URL(callback).params["code"]
    secrets = [httpx.URL(connect_url).params["sig"], httpx.URL(callback).params["state"], code, "s3cret"]
    assert {origin(address) for address in person.asked} == {url, server.url(), origin(sink.url())}
    # The provider's own page sends its own URL as Referer to itself with its form.
    assert [each for each in referers if not each.startswith(server.url())] == []
    (page,) = sink.to("/ok")
    seen = f"{page.path} {dict(page.headers)}"
    assert page.headers.get("referer") is None
    assert [each for each in secrets if each in seen] == []
    assert back is None or "/callback" not in back.url, "the back button does not lead to the code"


async def test_the_button_leads_on_to_the_sign_in_page_of_an_organisation(world, sink, chromium):
    """Chrome applies the policy of the page to each redirect: here to another site, over HTTPS."""
    sign_in = "https://sign-in.organisation.example/"
    sink.on("/authorize", lambda _: web.Response(status=302, headers={"Location": sign_in}))
    partner = await world.partner("Acme Mail")
    async with OAuthServer() as server, api(world) as url, chrome(chromium) as person:
        await oauth_connection(world, partner, server, 1, oauth2_authorize_url=sink.url("/authorize"))
        await person.opens(await new_link(url, partner.api_key, "OAUTH"))
        async with person.page.expect_event("requestfailed"):  # its name does not resolve here
            await person.page.get_by_role("button", name="Continue").click(no_wait_after=True)

    assert person.asked[-1] == sign_in


async def test_our_page_explains_a_failure_if_the_partner_has_no_page(world, chromium):
    partner = await world.partner("Acme Mail")
    async with (
        OAuthServer(consents=ANN) as server,
        api(world) as url,
        chrome(chromium, viewport=PHONE) as person,
    ):
        server.add_person(ANN)
        server.add_client(f"{url}/users/connect/callback", client_secret="s3cret")
        await oauth_connection(world, partner, server, 1)
        connect_url = await new_link(url, partner.api_key, "OAUTH", email=ANN)
        for reason in ("denied", "no_refresh_token", "no_mail_scope", "wrong_account"):
            server.faults.arm(reason)

            await person.opens(connect_url)
            await person.page.get_by_role("button", name="Continue").click()

            await person.page.wait_for_url(f"**superimap_reason={reason}**")
            await person.page.get_by_role("heading", name="Your mailbox was not connected").wait_for()
            assert await accessibility.faults(person.page) == []
            assert await world.value("SELECT connected_at IS NULL FROM users")

        await person.opens(connect_url)
        await person.page.get_by_role("button", name="Continue").click()
        await person.page.get_by_role("heading", name="You are connected").wait_for()
        assert await accessibility.faults(person.page) == []
