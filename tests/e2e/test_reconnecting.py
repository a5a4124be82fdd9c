"""Reconnecting: a user whose watching ended returns by a link and continues from its cursor; webhooks report it.

Everything is real: pages over HTTP, an idler, a dispatcher, a mail server and a receiver.
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.launch import services
from superimap.testing import ImapServer
from tests.integration.connect.conftest import hidden_fields
from tests.support.api import served
from tests.support.mails import mail

ANN, BEA = "ann@example.com", "bea@example.com"
API = "/api/v1/connections/TEST/users"


class Scene:
    """Ann, connected by a password, and the other participants."""

    def __init__(self, world: World, imap: ImapServer, sink: Any, http: httpx.AsyncClient) -> None:
        self.world, self.imap, self.sink, self.http = world, imap, sink, http

    async def read_user(self) -> dict[str, Any]:
        return dict((await self.http.get(f"{API}/ann")).json())

    async def wait_until_watched(self, name: str = ANN) -> None:
        await self.imap.wait_for(lambda: any(each.idling for each in self.imap.sessions_of(name)))

    async def first(self, path: str, subject: str) -> Any:
        """Wait for the first mail of this subject, or event of this name, at this path."""

        def found() -> list[Any]:
            return [
                each
                for each in self.sink.to(path)
                if subject in (each.json.get("event"), (each.json.get("envelope") or {}).get("subject"))
            ]

        await self.sink.wait_for(lambda _: found(), timeout=15)
        return found()[0]

    async def sign_in(self, link: str, *, name: str = ANN, password: str) -> None:
        """The person opens the link and sends the form."""
        async with httpx.AsyncClient() as browser:
            page = await browser.get(link)
            assert page.status_code == 200, page.text
            form = {**hidden_fields(page.text), "username": name, "password": password}
            answer = await browser.post(f"{self.http.base_url}/users/connect/password", data=form)
            assert answer.status_code == 303 or "connected" in answer.text, answer.text

    def subjects(self) -> list[str]:
        return [each.json["envelope"]["subject"] for each in self.sink.to("/new_mail")]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest_asyncio.fixture
async def scene(world, imap, sink) -> AsyncIterator[Scene]:
    port = free_port()
    world.overrides |= {"port": port, "base_url": f"http://127.0.0.1:{port}"}
    for name in (ANN, BEA):
        imap.add_account(name, "right horse")
    partner = await world.partner(
        new_mail_webhook=sink.url("/new_mail"),
        user_connected_webhook=sink.url("/connected"),
        user_disconnected_webhook=sink.url("/disconnected"),
        events_webhook=sink.url("/events"),
    )
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    async with contextlib.AsyncExitStack() as stack:
        url = await stack.enter_async_context(served(world.settings))
        await stack.enter_async_context(running(services.run_idler, world.settings))
        await stack.enter_async_context(running(services.run_dispatcher, world.settings))
        http = await stack.enter_async_context(
            httpx.AsyncClient(base_url=url, headers={"x-api-key": partner.api_key})
        )
        made = Scene(world, imap, sink, http)
        fields = {"tag": "ann", "login_username": ANN, "login_password": "right horse"}
        assert (await http.post(API, json=fields)).status_code == 201
        await made.wait_until_watched()
        yield made


async def test_a_user_archived_by_403_reconnects_by_link_and_continues_from_its_cursor(scene):
    imap, sink = scene.imap, scene.sink
    imap.deliver(ANN, mail("one"))
    await scene.first("/new_mail", "Mail one")
    sink.on("/new_mail", 403)
    imap.deliver(ANN, mail("two"))

    archived = await scene.first("/events", "user_archived")
    assert (archived.json["user_tag"], archived.json["reason_code"]) == ("ann", "application_refused")
    assert (await scene.read_user())["status"] == "archived"
    await imap.wait_for(lambda: not imap.sessions)
    sink.on("/new_mail", 200)
    imap.deliver(ANN, mail("meanwhile"))

    await scene.sign_in((await scene.read_user())["connect_url"], password="right horse")
    await scene.first("/new_mail", "Mail meanwhile")
    await scene.wait_until_watched()

    assert scene.subjects() == ["Mail one", "Mail two", "Mail meanwhile"]
    assert len(sink.to("/connected")) == 1
    shown = await scene.read_user()
    assert (shown["archived"], shown["status"]) == (False, "watching")
    assert [each["kind"] for each in (await scene.http.get(f"{API}/ann/events")).json()] == ["archived"]


async def test_a_changed_password_is_reported_with_a_link_to_reconnect(scene):
    imap, sink = scene.imap, scene.sink
    imap.deliver(ANN, mail("one"))
    await scene.first("/new_mail", "Mail one")
    imap.accounts[ANN].password = "new horse"
    imap.drop_all()

    required = await scene.first("/events", "user_reauth_required")
    assert required.json["reason_code"] == "login_refused"
    assert (await scene.read_user())["status"] == "authentication_failed"
    imap.deliver(ANN, mail("meanwhile"))

    await scene.sign_in(required.json["connect_url"], password="new horse")
    await scene.first("/events", "user_restored")
    await scene.first("/new_mail", "Mail meanwhile")
    await eventually(lambda: scene.world.value("SELECT status = 'watching' FROM users"))

    assert scene.subjects() == ["Mail one", "Mail meanwhile"]
    await sink.wait_for(lambda _: sink.to("/connected"))
    events = (await scene.http.get(f"{API}/ann/events")).json()
    assert [(each["kind"], each["code"]) for each in events] == [
        ("restored", None),
        ("reauth_required", "login_refused"),
    ]
    assert len(sink.to("/events")) == 2


async def test_another_account_starts_afresh_and_the_first_one_continues_from_its_cursor(scene):
    imap = scene.imap
    long_ago = datetime.now(UTC) - timedelta(hours=2)
    imap.deliver(BEA, mail("of bea, long before", to=BEA), internal_date=long_ago)
    imap.deliver(ANN, mail("one"))
    await scene.first("/new_mail", "Mail one")

    await scene.sign_in((await scene.read_user())["connect_url"], name=BEA, password="right horse")
    await scene.wait_until_watched(BEA)
    imap.deliver(ANN, mail("for ann meanwhile"))
    imap.deliver(BEA, mail("of bea", to=BEA))
    await scene.first("/new_mail", "Mail of bea")
    # By the API: two links made within one second are identical, and the first one has been used.
    await scene.http.put(f"{API}/ann", json={"login_username": ANN, "login_password": "right horse"})
    await scene.first("/new_mail", "Mail for ann meanwhile")

    assert scene.subjects() == ["Mail one", "Mail of bea", "Mail for ann meanwhile"]
