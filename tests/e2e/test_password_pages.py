"""Connecting by password in Chromium against Dovecot: the errors shown, and the values stored."""

from __future__ import annotations

import asyncio
import socket

import pytest

from fixtures.world import eventually, running
from superimap.db import engine
from superimap.db.accounts import providers
from superimap.domain.presets import OTHER
from superimap.launch import services
from tests.e2e.people import ANN, DESKTOP, PHONE, Person, api, chrome, first, new_link, partner_of, trust
from tests.support import accessibility
from tests.support.mails import mail

pytestmark = pytest.mark.usefixtures("dovecot")


async def fill_and_submit(person: Person, **values: str) -> None:
    """Type into the fields of these names, and send the form by the keyboard."""
    for name, value in values.items():
        await person.page.locator(f"#{name}").fill(value)
    async with person.page.expect_navigation():
        await person.page.keyboard.press("Enter")


async def count_passwords(world) -> int:
    return int(await world.value("SELECT count(*) FROM users WHERE login_password IS NOT NULL"))


async def check_appearance(person: Person, path) -> None:
    """Take screenshots at both sizes and in dark mode, and assert that the page is accessible."""
    for name, size in (("desktop", DESKTOP), ("phone", PHONE)):
        await person.page.set_viewport_size(size)
        await person.page.screenshot(path=f"{path}-{name}.png", full_page=True)
    await person.page.emulate_media(color_scheme="dark")
    await person.page.screenshot(path=f"{path}-dark.png", full_page=True)
    await person.page.emulate_media(color_scheme="light")
    assert await accessibility.faults(person.page) == []


async def test_a_wrong_password_shows_the_providers_hint_and_the_right_one_leads_to_a_webhook(
    world, sink, dovecot, chromium, tmp_path, monkeypatch
):
    trust(monkeypatch, dovecot)
    user = dovecot.add_user(password="right horse")
    partner = await partner_of(world, sink)
    await world.provider("localhost", dovecot.tls_port, code="YAHOO", tls="tls")
    await world.connection(partner, code="YAHOO")
    async with (
        api(world) as url,
        running(services.run_idler, world.settings),
        running(services.run_dispatcher, world.settings),
        chrome(chromium, viewport=PHONE) as person,
    ):
        connect_url = await new_link(url, partner.api_key, "YAHOO")
        await person.opens(connect_url)
        await check_appearance(person, tmp_path / "new")
        assert await person.focus() == "username"
        assert "Generate app password" in await person.described("password")
        assert await person.page.get_by_label("App password").get_attribute("type") == "password"

        await fill_and_submit(person, username=user, password="battery staple")
        assert "does not accept this user name and password" in await person.alert()
        assert "an app password, not your usual one" in await person.alert()
        assert (await person.page.title()).startswith("Error: ")
        assert await person.focus() == "password"
        assert "does not accept" in await person.described("password")
        assert await person.page.locator("#username").input_value() == user
        assert await person.page.locator("#password").input_value() == ""
        await check_appearance(person, tmp_path / "wrong")
        assert await count_passwords(world) == 0

        await fill_and_submit(person, password="right horse")
        await person.page.wait_for_url(f"{sink.url('/ok')}?superimap_result=success&user_tag=ann")
        assert (await first(sink, "/connected")).json["email"] == user
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))
        await asyncio.to_thread(dovecot.deliver, user, mail("first"))
        assert (await first(sink, "/new_mail")).json["user_tag"] == "ann"

        await person.opens(connect_url)
        await person.page.get_by_role("heading", name="This link has been used").wait_for()
        await check_appearance(person, tmp_path / "used")

    assert await count_passwords(world) == 1
    assert all("battery" not in address and "horse" not in address for address in person.asked)


@pytest.mark.slow
async def test_the_person_enters_a_mail_server_and_each_fault_is_explained(
    world, sink, dovecot, chromium, tmp_path, monkeypatch
):
    trust(monkeypatch, dovecot)
    monkeypatch.setattr("superimap.api.routes.password.SERVER_TIMEOUT_SECONDS", 1.0)
    user = dovecot.add_user(password="right horse")
    partner = await partner_of(world, sink)
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        await providers.install_presets(db, [OTHER])
    await world.connection(partner, code="OTHER")
    async with (
        api(world) as url,
        running(services.run_idler, world.settings),
        running(services.run_dispatcher, world.settings),
        chrome(chromium, viewport=PHONE) as person,
    ):
        await person.opens(await new_link(url, partner.api_key, "OTHER"))
        assert await person.page.get_by_label("Port").input_value() == "993"
        await check_appearance(person, tmp_path / "server")

        await fill_and_submit(person, username=user, password="right horse", host="localhost:993")
        assert "must be a host name without port" in await person.alert()
        assert await person.focus() == "host"

        await fill_and_submit(person, password="right horse", host="127.0.0.1", port=str(unused()))
        assert "no mail server there" in await person.alert()
        assert await person.focus() == "host"
        assert "no mail server there" in await person.described("port")
        await check_appearance(person, tmp_path / "no-server")
        assert await count_passwords(world) == 0

        await fill_and_submit(person, password="right horse", host="localhost", port=str(dovecot.tls_port))
        await person.page.wait_for_url(f"{sink.url('/ok')}?**")
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))
        await asyncio.to_thread(dovecot.deliver, user, mail("first"))
        assert (await first(sink, "/new_mail")).json["user_tag"] == "ann"


def unused() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.slow
async def test_an_unusable_mail_server_is_reported_and_no_password_is_stored(
    world, sink, dovecot, chromium, tmp_path
):
    partner = await partner_of(world, sink)
    broken = {
        "AWAY": (unused(), "The mail server of AWAY is not responding. Try again in a few minutes."),
        # Its certificate authority is not trusted here.
        "FORGED": (dovecot.tls_port, "(its certificate is not valid), so your password was not sent."),
    }
    async with api(world) as url, chrome(chromium, viewport=PHONE) as person:
        for code, (port, sentence) in broken.items():
            await world.provider("localhost", port, code=code, tls="tls")
            await world.connection(partner, code=code)
            await person.opens(await new_link(url, partner.api_key, code))
            await fill_and_submit(person, username=ANN, password="right horse")

            assert sentence in await person.alert()
            assert await person.focus() == "error"
            await check_appearance(person, tmp_path / code)
    assert await count_passwords(world) == 0


async def test_pasted_line_breaks_are_reported_and_reach_no_server(
    world, sink, dovecot, chromium, monkeypatch
):
    """A browser removes them from an input, so the test replaces the input with a text area."""
    trust(monkeypatch, dovecot)
    user = dovecot.add_user(password="right horse")
    partner = await partner_of(world, sink)
    await world.provider("localhost", dovecot.tls_port, code="TEST", tls="tls")
    await world.connection(partner, code="TEST")
    as_text = (
        "each => { const area = document.createElement('textarea'); area.name = each.name;"
        " area.id = each.id; each.replaceWith(area); }"
    )
    async with api(world) as url, chrome(chromium) as person:
        await person.opens(await new_link(url, partner.api_key, "TEST"))
        for name, value, said in (
            ("username", f"{user}\r\nA1 LOGOUT", "The user name must not contain control characters."),
            ("password", "right horse\r\nA1 LOGOUT", "The password must not contain control characters."),
        ):
            await person.page.locator("#username").fill(user)
            await person.page.locator("#password").fill("right horse")
            await person.page.locator(f"#{name}").evaluate(as_text)
            await person.page.locator(f"#{name}").fill(value)
            async with person.page.expect_navigation():
                await person.page.get_by_role("button", name="Connect").click()
            assert await person.alert() == said
            assert await person.focus() == name
    assert await count_passwords(world) == 0
