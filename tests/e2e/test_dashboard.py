"""The dashboard in Chromium: a mail arrives while its page is open, an endpoint fails, and the path says why."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pyotp
import pytest
from playwright.async_api import Page, async_playwright, expect

from fixtures.world import World, running
from superimap.db import engine
from superimap.db.operators import accounts, links
from superimap.domain.operators import OperatorRole
from superimap.launch import services
from superimap.testing import WebhookSink
from superimap.testing.oauth.server import OAuthServer
from tests.e2e.people import api, trust
from tests.e2e.test_swagger_ui import QUIET
from tests.support import axe
from tests.support.dovecot import Dovecot
from tests.support.mails import mail

PASSWORD = "four quiet ponies"
REFUSED = re.compile(r"responded with a status of (422|423|429)")


async def invited(world: World) -> str:
    """Create an owner; returns the path of the invitation."""
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        owner = await accounts.create(db, "ada@example.com", OperatorRole.OWNER)
        return f"/admin/invitation?link={await links.invite(db, owner)}"


@contextlib.asynccontextmanager
async def browser(chromium: str, **options: Any) -> AsyncIterator[Page]:
    """A page with JavaScript; any message on its console fails the test, but for forms that are refused."""
    said: list[str] = []
    async with async_playwright() as playwright:
        opened = await playwright.chromium.launch(executable_path=chromium, args=QUIET)
        context = await opened.new_context(**options)
        page = await context.new_page()
        page.on("console", lambda message: REFUSED.search(message.text) or said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        yield page
        await opened.close()
    assert said == []


async def test_a_mailbox_is_added_and_its_mail_is_watched_from_its_arrival_to_a_replayed_webhook(
    world: World,
    dovecot: Dovecot,
    sink: WebhookSink,
    chromium: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    trust(monkeypatch, dovecot)
    user = dovecot.add_user(password="right horse")
    partner = await world.partner("acme", new_mail_webhook=sink.url("/new_mail"))
    await world.provider("localhost", dovecot.tls_port, tls="tls")
    await world.connection(partner)
    # Dovecot 2.3 announces a mail that comes as it hibernates a session only with the next one, or to a new IDLE.
    often = world.settings.model_copy(update={"idle_renew": 3})
    async with (
        api(world) as url,
        running(services.run_idler, often),
        running(services.run_dispatcher, world.settings),
        browser(chromium, viewport={"width": 1280, "height": 900}) as page,
    ):
        await page.goto(url + await invited(world))
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_label("The same again").fill(PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
        await expect(page.get_by_role("heading", name="Now", exact=True)).to_be_visible()

        await page.goto(f"{url}/admin/partners/{partner.partner.id}/connections/1")
        await page.get_by_role("link", name="Add a mailbox").click()
        for label, text in (
            ("Tag", "ann"),
            ("Email address", user),
            ("User name", user),
            ("Password", "right horse"),
        ):
            await page.get_by_label(label, exact=True).fill(text)
        await page.get_by_role("button", name="Add the mailbox").click()
        await expect(page.get_by_role("heading", name=user)).to_be_visible()
        await expect(page.locator("h1").get_by_text("watched")).to_be_visible(timeout=15_000)
        assert await axe.faults(page) == []
        mailbox = page.url

        await asyncio.to_thread(dovecot.deliver, user, mail("first"))
        await expect(page.locator("tbody tr", has_text="delivered")).to_be_visible(timeout=15_000)
        sink.on("/new_mail", 410)
        await asyncio.to_thread(dovecot.deliver, user, mail("second"))
        row = page.locator("tbody tr", has_text="its endpoint is disabled because it answered 410")
        await expect(row).to_be_visible(timeout=15_000)  # without a reload: the page fetched itself
        await page.screenshot(path=str(tmp_path / "mailbox.png"), full_page=True)
        await row.get_by_role("link").click()
        await expect(page.get_by_text("Attempt 1")).to_be_visible()
        assert await axe.faults(page) == []
        await page.screenshot(path=str(tmp_path / "mail.png"), full_page=True)
        path_of_mail = page.url

        await page.get_by_role("link", name="Webhook and its attempts").click()
        await page.locator("summary", has_text="Cancel").click()
        await page.get_by_role("button", name="Cancel").click()
        await expect(page.get_by_text("The webhook is cancelled.")).to_be_visible()
        webhook = page.url
        await page.get_by_role("link", name="Now", exact=True).click()
        await expect(page.get_by_text("endpoint of acme is disabled: it answered 410")).to_be_visible()
        await page.get_by_role("link", name="Look at the endpoint").click()
        sink.on("/new_mail", 200)
        await page.get_by_role("button", name="Enable").click()
        await expect(page.get_by_text("The endpoint is enabled again.")).to_be_visible()
        await page.goto(webhook)
        await page.get_by_role("button", name="Replay").click()
        await page.goto(path_of_mail)
        await expect(page.locator("h1").get_by_text("delivered")).to_be_visible(timeout=15_000)
        await expect(page.get_by_text("Attempt 2")).to_be_visible()
        await page.goto(mailbox)
        await expect(page.locator("tbody tr", has_text="delivered")).to_have_count(2)
    assert len(sink.to("/new_mail")) == 3
    assert set(dovecot.flags(user).values()) == {""}


async def test_a_passkey_signs_in_although_the_password_is_locked(world: World, chromium: str) -> None:
    async with api(world) as address, browser(chromium) as page:
        url = address.replace("127.0.0.1", "localhost")  # passkeys belong to a name
        devtools = await page.context.new_cdp_session(page)
        await devtools.send("WebAuthn.enable")
        authenticator = {
            "protocol": "ctap2", "transport": "internal", "hasResidentKey": True, "hasUserVerification": True,
            "isUserVerified": True, "automaticPresenceSimulation": True,
        }  # fmt: skip
        made = await devtools.send("WebAuthn.addVirtualAuthenticator", {"options": authenticator})
        await page.goto(url + await invited(world))
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_label("The same again").fill(PASSWORD)
        await page.get_by_role("button", name="Set the password").click()

        await page.goto(f"{url}/admin/account")
        assert await axe.faults(page) == []
        await page.get_by_role("link", name="Add a passkey").click()
        await page.get_by_label("Name of the device").fill("laptop")
        await page.get_by_role("button", name="Add a passkey").click()
        await expect(page.get_by_role("cell", name="laptop")).to_be_visible()
        await page.get_by_role("button", name="Sign out").click()

        await world.rows("UPDATE operators SET refusals = 3, locked_until = now() + interval '1 hour'")
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_role("heading", name="Now", exact=True)).to_be_visible()
        assert (
            await world.value("SELECT method FROM dashboard_sessions ORDER BY created_at DESC") == "passkey"
        )

        await page.get_by_role("button", name="Sign out").click()
        unverified = {"authenticatorId": made["authenticatorId"], "isUserVerified": False}
        await devtools.send("WebAuthn.setUserVerified", unverified)
        await page.get_by_role("button", name="Sign in with a passkey").click()
        await expect(page.get_by_text("The device did not confirm.")).to_be_visible()


async def test_single_sign_on_opens_the_page_that_was_asked_for(world: World, chromium: str) -> None:
    async with OAuthServer() as provider:
        provider.add_person("ann@example.com")
        provider.terms.extra_claims = {"groups": ["ops"]}
        world.overrides |= {
            "oidc_issuer": provider.url(),
            "oidc_client_id": "client",
            "oidc_client_secret": "hush",
            "oidc_operator_groups": "ops",
        }
        async with api(world) as address, browser(chromium) as page:
            url = address.replace("127.0.0.1", "localhost")  # another site than the provider
            provider.add_client(f"{url}/admin/oidc/callback", client_secret="hush")
            await page.goto(f"{url}/admin/cluster")
            await page.get_by_role("link", name="Single sign-on").click()
            await page.get_by_role("button", name="Allow").click()
            await expect(page.get_by_role("heading", name="Cluster")).to_be_visible()

            await page.goto(f"{url}/admin/account")
            assert await axe.faults(page) == []
            await world.rows("UPDATE dashboard_sessions SET stepped_up_at = NULL")
            await page.goto(f"{url}/admin/confirm?next=/account")
            await page.get_by_role("link", name="Single sign-on").click()
            await page.get_by_role("button", name="Allow").click()
            await expect(page.get_by_role("heading", name="ann@example.com")).to_be_visible()
            assert await world.value("SELECT stepped_up_at IS NOT NULL FROM dashboard_sessions")


async def test_a_password_needs_the_app_and_locks_and_a_session_ends_at_once(
    world: World, chromium: str
) -> None:
    async with api(world) as url, browser(chromium) as page:
        await page.goto(url + await invited(world))
        await page.get_by_label("Password").fill(PASSWORD)
        await page.get_by_label("The same again").fill(PASSWORD)
        await page.get_by_role("button", name="Set the password").click()
        await page.goto(f"{url}/admin/account")
        await page.get_by_role("link", name="Set up an app").click()
        seed = await page.locator("p code").inner_text()
        await page.get_by_label("Code").fill(pyotp.TOTP(seed).now())
        await page.get_by_role("button", name="Turn on").click()
        recovery = (await page.locator("pre").inner_text()).split()
        assert await axe.faults(page) == []
        await page.get_by_role("link", name="I have kept them").click()

        async def sign_in(password: str) -> None:
            await page.get_by_label("Email").fill("ada@example.com")
            await page.get_by_label("Password").fill(password)
            await page.get_by_role("button", name="Sign in", exact=True).click()

        await page.get_by_role("button", name="Sign out").click()
        await sign_in(PASSWORD)
        await page.get_by_label("Code").fill(recovery[0])
        await page.get_by_role("button", name="Continue").click()
        await expect(page.get_by_role("heading", name="Now", exact=True)).to_be_visible()

        await world.rows("DELETE FROM dashboard_sessions")  # as another session does on the page Account
        await page.get_by_role("link", name="Cluster").click()
        await expect(page.get_by_role("heading", name="Sign in to SuperIMAP")).to_be_visible()
        for said in ("is not right", "One more wrong try locks", "is locked"):
            await sign_in("wrong wrong wrong")
            await expect(page.get_by_role("alert")).to_contain_text(said)
        await sign_in(PASSWORD)
        await expect(page.get_by_role("alert")).to_contain_text("is locked")
