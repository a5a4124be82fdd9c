"""Downloads of mails: who may, what is recorded first, and what the browser does with the file."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest_asyncio
from sqlalchemy import select, text, update

from superimap.core.content_store import ContentStore, is_reference
from superimap.core.crypto import Place
from superimap.db.models import AuditEntry, DashboardSession
from superimap.domain.operators import OperatorRole
from tests.integration.dashboard.test_mailbox import add_mails
from tests.support.api import ApiWorld
from tests.support.api import world as make_world
from tests.support.dashboard import Browser, signed_in

PATH = "/mails/1/download"
RAW = b"Subject: <script>alert(1)</script>\r\n\r\ncaf\xe9\r\n"
REASON = {"reason": "ticket 4711", "back": PATH}


@pytest_asyncio.fixture
async def open_world(database_url: str) -> AsyncIterator[ApiWorld]:
    async with make_world(database_url, content_download=True) as made:
        yield made


async def keep_content(world: ApiWorld, *, is_exact: bool = True, store: ContentStore | None = None) -> None:
    """Add the mails of `add_mails`, and give the webhook of the first one its content."""
    delivery = await add_mails(world)
    place = Place("deliveries", "content", 1, str(delivery))
    fields = {"rfc822": RAW.decode("utf-8", "replace")}
    if not is_exact:
        fields |= {"rfc822_base64": base64.b64encode(RAW).decode()}
    content = world.vault.seal(json.dumps(fields).encode(), place)
    if store is not None:
        content = await store.put(content, place)
        assert is_reference(content)
    async with world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE deliveries SET content = :content"), {"content": content})


async def recorded(world: ApiWorld) -> list[tuple[str, str, str]]:
    statement = select(AuditEntry.actor, AuditEntry.object_id, AuditEntry.details["reason"].astext)
    async with world.sessionmaker.begin() as db:
        found = await db.execute(statement.where(AuditEntry.action == "message.download"))
        return [tuple(row) for row in found]


async def forget_confirmation(world: ApiWorld) -> None:
    async with world.sessionmaker.begin() as db:
        await db.execute(update(DashboardSession).values(stepped_up_at=None))


async def test_an_owner_downloads_the_exact_mail_and_the_reason_is_recorded(open_world):
    await keep_content(open_world, is_exact=False)
    owner = await signed_in(open_world)
    assert PATH in (await owner.get("/mails/1")).text

    answer = await owner.post(PATH, REASON, page=PATH)

    assert (answer.status_code, answer.content) == (200, RAW)
    assert answer.headers["content-type"] == "message/rfc822"
    assert answer.headers["content-disposition"] == 'attachment; filename="mail-1.eml"'
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-security-policy"].startswith("sandbox;")
    assert answer.headers["cache-control"] == "no-store"
    assert await recorded(open_world) == [("owner@example.com", "1", "ticket 4711")]


async def test_each_condition_of_a_download_is_required(open_world):
    await keep_content(open_world)
    owner, operator = await signed_in(open_world), await signed_in(open_world, OperatorRole.OPERATOR)

    by_role = await operator.post(PATH, REASON, page="/account")
    form_by_role = await operator.get(PATH)
    reasons = [
        await owner.post(PATH, REASON | {"reason": each}, page=PATH) for each in ("", " a ", "x" * 501)
    ]
    portal = await Browser(owner.client, "portal").get(PATH)
    token = await owner.token(PATH)
    await forget_confirmation(open_world)
    stale = await owner.client.post(f"/admin{PATH}", data=REASON | {"form": token})
    form = await owner.get(PATH)

    assert (by_role.status_code, form_by_role.status_code, portal.status_code) == (403, 403, 404)
    assert [each.status_code for each in reasons] == [422] * 3
    assert (
        stale.headers["location"] == form.headers["location"] == "/admin/confirm?next=%2Fmails%2F1%2Fdownload"
    )
    assert "Download" not in (await operator.get("/mails/1")).text
    assert await recorded(open_world) == []


async def test_without_the_setting_nothing_is_downloaded(world):
    await keep_content(world)
    owner = await signed_in(world)

    answers = [await owner.get(PATH), await owner.post(PATH, REASON, page="/account")]

    assert [each.status_code for each in answers] == [404, 404]
    assert "Download" not in (await owner.get("/mails/1")).text
    assert await recorded(world) == []


async def test_a_content_in_the_object_store_is_downloaded_and_its_loss_is_said_after_the_record(open_world):
    store = ContentStore("memory:///", min_bytes=1)
    await keep_content(open_world, is_exact=False, store=store)
    owner = await signed_in(open_world)
    resources = open_world.app.state.resources

    open_world.app.state.resources = replace(resources, contents=store)
    kept = await owner.post(PATH, REASON, page=PATH)
    open_world.app.state.resources = replace(resources, contents=ContentStore("memory:///", min_bytes=1))
    lost = await owner.post(PATH, REASON, page=PATH)

    assert kept.content == RAW
    assert (lost.status_code, "object store" in lost.text) == (503, True)
    assert len(await recorded(open_world)) == 2  # committed before the content is read


async def test_erased_content_and_a_mail_without_a_webhook_are_said(open_world):
    await keep_content(open_world)
    async with open_world.sessionmaker.begin() as db:
        await db.execute(text("UPDATE deliveries SET content = NULL"))
    owner = await signed_in(open_world)

    shown, answer = await owner.get(PATH), await owner.post(PATH, REASON, page="/account")
    other = await owner.post("/mails/2/download", REASON, page="/account")

    assert "is erased" in shown.text
    assert (answer.status_code, "is erased" in answer.text) == (409, True)
    assert (other.status_code, "Nothing was sent" in other.text) == (409, True)
    assert await recorded(open_world) == []
