"""Large contents in an object store, on a real server: what is written where, and what an outage does to mails."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.core import metrics
from superimap.core.config import Settings
from superimap.core.content_store import ContentStore, ContentStoreError, is_reference
from superimap.core.crypto import Place, Vault, VaultError, generate_key
from superimap.db import engine
from superimap.db.delivery import backlogs
from superimap.db.rotation import rotate_keys
from superimap.launch import services
from superimap.testing import WebhookSink
from superimap.testing.chaos.proxy import ChaosProxy
from superimap.testing.imap.server import ImapServer
from tests.integration.idler.test_watching import idling, mail, set_up
from tests.support.object_store import RunningStore, object_store

LIMIT = 20_000
BIG = mail("big").replace(b"\r\n\r\n", b"\r\n\r\n" + b"".join(b"%d\r\n" % n for n in range(20_000)))
PLACE = Place("deliveries", "content", 1, "0196-big")


@pytest_asyncio.fixture(scope="module")
async def server(tmp_path_factory) -> AsyncIterator[RunningStore]:
    async with object_store(tmp_path_factory.mktemp("weed")) as running_store:
        yield running_store


@pytest_asyncio.fixture
async def imap() -> AsyncIterator[ImapServer]:
    async with ImapServer() as mail_server:
        yield mail_server


@pytest.fixture
def store(server: RunningStore, monkeypatch: pytest.MonkeyPatch) -> RunningStore:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def with_store(world: World, store: RunningStore) -> Settings:
    more = {"content_store_url": store.url, "content_store_min_bytes": LIMIT, "webhook_timeout": 5.0}
    return replace(world, overrides=world.overrides | more).settings


async def test_a_big_mail_goes_through_the_store_and_a_small_one_through_postgresql(world, imap, store):
    settings = with_store(world, store)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(WebhookSink())
        partner = await set_up(world, imap, url=sink.url("/"))
        await world.user(partner, "joe-tag", login="joe", password="pw")
        await stack.enter_async_context(running(services.run_idler, settings))
        await idling(imap)
        imap.deliver("joe", BIG)
        imap.deliver("joe", mail("small"))
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries"))
        kept = [row["content"] for row in await world.rows("SELECT content FROM deliveries ORDER BY id")]
        assert sorted(map(is_reference, kept)) == [False, True]
        (name,) = await store.objects()
        assert name.startswith(
            str(await world.value("SELECT id FROM deliveries WHERE octet_length(content) = 25"))
        )

        await stack.enter_async_context(running(services.run_dispatcher, settings))
        await sink.wait_for(2)
        await eventually(lambda: _is_empty(store))

    bodies = [json.loads(each.body) for each in sink.received]
    assert sorted(len(body["rfc822"]) for body in bodies) == [len(mail("small")), len(BIG)]
    assert (
        await world.value("SELECT count(*) FROM deliveries WHERE state = 'delivered' AND content IS NULL")
        == 2
    )


async def _is_empty(store: RunningStore) -> bool:
    return not await store.objects()


async def test_mails_are_recorded_in_postgresql_while_the_store_stands_still(world, imap, store, monkeypatch):
    monkeypatch.setattr("superimap.core.content_store.WRITE_TIMEOUT_SECONDS", 0.5)
    async with AsyncExitStack() as stack:
        partner = await set_up(world, imap)
        await world.user(partner, "joe-tag", login="joe", password="pw")
        await stack.enter_async_context(running(services.run_idler, with_store(world, store)))
        await idling(imap)
        store.stand_still()
        stack.callback(store.go_on)
        imap.deliver("joe", BIG)
        imap.deliver("joe", BIG.replace(b"big", b"two"))
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries"))

    rows = await world.rows("SELECT id, partner_id, content FROM deliveries")
    places = [Place("deliveries", "content", row["partner_id"], str(row["id"])) for row in rows]
    opened = [world.vault.open(row["content"], place) for row, place in zip(rows, places, strict=True)]
    assert {len(json.loads(content)["rfc822"]) for content in opened} == {len(BIG)}


async def test_a_webhook_waits_for_a_store_that_stands_still_and_is_not_held_against_its_endpoint(
    world, imap, store, monkeypatch
):
    monkeypatch.setattr("superimap.core.content_store.READ_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("superimap.core.content_store.READ_PAUSE_SECONDS", 0.0)
    settings = with_store(world, store)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(WebhookSink())
        partner = await set_up(world, imap, url=sink.url("/"))
        await world.user(partner, "joe-tag", login="joe", password="pw")
        async with running(services.run_idler, settings):
            await idling(imap)
            imap.deliver("joe", BIG)
            await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
        store.stand_still()
        stack.callback(store.go_on)
        await stack.enter_async_context(running(services.run_dispatcher, settings))
        await eventually(lambda: world.value("SELECT last_error = 'content_unavailable' FROM deliveries"))
        assert await world.value(
            "SELECT failures = 0 AND breaker = 'closed' FROM endpoints WHERE url IS NOT NULL"
        )
        store.go_on()
        await world.rows("UPDATE deliveries SET due_at = now() RETURNING 1")
        await sink.wait_for(1)

    assert len(json.loads(sink.received[0].body)["rfc822"]) == len(BIG)


async def test_a_dispatcher_without_the_setting_leaves_the_webhook_to_others(world, imap, store):
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(WebhookSink())
        partner = await set_up(world, imap, url=sink.url("/"))
        await world.user(partner, "joe-tag", login="joe", password="pw")
        async with running(services.run_idler, with_store(world, store)):
            await idling(imap)
            imap.deliver("joe", BIG)
            await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
        await stack.enter_async_context(running(services.run_dispatcher, world.settings))
        await eventually(lambda: world.value("SELECT last_error = 'content_unavailable' FROM deliveries"))

    assert await world.value("SELECT state FROM deliveries") == "pending"
    assert sink.count == 0


async def test_an_object_that_is_gone_or_was_replaced_is_no_content(store):
    vault, contents = Vault.from_setting(generate_key()), ContentStore(store.url)
    sealed = vault.seal(b"content", PLACE)
    reference = await contents.put(sealed, PLACE)
    assert await contents.get(reference, PLACE) == sealed

    await store.replace(reference, PLACE, sealed + b"more")
    with pytest.raises(ContentStoreError, match="another size"):
        await contents.get(reference, PLACE)
    await contents.delete(reference, PLACE)
    with pytest.raises(ContentStoreError, match="failed to read"):
        await contents.get(reference, PLACE)
    assert is_reference(await contents.put(sealed, PLACE))  # the store works: nothing is paused
    await contents.delete(reference, PLACE)


@pytest.mark.parametrize("written", [b"x" * 300, Vault([bytes(32)]).seal(b"x" * 267, PLACE)])
async def test_an_object_of_another_row_or_in_clear_is_no_content(store, written):
    """Whoever writes to the store has an object's name and size, and makes a webhook of nothing."""
    vault, contents = Vault([bytes(32)]), ContentStore(store.url)
    mine = replace(PLACE, row="0196-mine")
    reference = await contents.put(vault.seal(b"y" * 267, mine), mine)
    await store.replace(reference, mine, written)

    with pytest.raises(VaultError):
        vault.open(await contents.get(reference, mine), mine)
    await contents.delete(reference, mine)


async def test_wrong_credentials_keep_contents_in_postgresql_and_appear_in_no_log(store, monkeypatch, caplog):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-store")
    contents = ContentStore(store.url)

    assert await contents.put(b"x" * 100, PLACE) == b"x" * 100
    assert "content stays in PostgreSQL" in caplog.text
    assert "wrong-secret-of-the-store" not in caplog.text


async def test_the_backlog_counts_the_size_of_objects(world, imap, store):
    partner = await set_up(world, imap)
    await world.user(partner, "joe-tag", login="joe", password="pw")
    async with running(services.run_idler, with_store(world, store)):
        await idling(imap)
        imap.deliver("joe", BIG)
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))

    db = await asyncpg.connect(world.database_url)
    await backlogs.measure(db, partner.partner.id, max_rows=1000, max_bytes=LIMIT)
    await db.close()

    assert await world.value("SELECT room FROM partner_usage WHERE quota = 'backlog_bytes'") == 0


async def test_a_rotation_leaves_the_key_of_objects_in_use(world, imap, store):
    partner = await set_up(world, imap)
    await world.user(partner, "joe-tag", login="joe", password="pw")
    async with running(services.run_idler, with_store(world, store)):
        await idling(imap)
        imap.deliver("joe", BIG)
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
    old = world.settings.encryption_key.get_secret_value()

    async with engine.sessions(world.database_url) as sessionmaker:
        rotation = await rotate_keys(sessionmaker, Vault.from_setting(f"{generate_key()},{old}"))

    assert (rotation.unopened, rotation.unused) == ([], [])


async def test_a_mail_that_is_read_again_leaves_the_recorded_content_as_it_is(store):
    """The second content is not recorded. Another version of the program may have made it, with another size."""
    vault, contents = Vault.from_setting(generate_key()), ContentStore(store.url)
    recorded = vault.seal(b"content", PLACE)
    reference = await contents.put(recorded, PLACE)

    again = await contents.put(vault.seal(b"content, and a field more", PLACE), PLACE)

    assert await contents.get(reference, PLACE) == recorded
    for each in (reference, again):
        await contents.delete(each, PLACE)
    assert not [name for name in await store.objects() if name.startswith(PLACE.row)]


async def test_a_webhook_waits_for_an_object_that_was_changed_to_be_restored(world, imap, store):
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(WebhookSink())
        partner = await set_up(world, imap, url=sink.url("/"))
        await world.user(partner, "joe-tag", login="joe", password="pw")
        async with running(services.run_idler, with_store(world, store)):
            await idling(imap)
            imap.deliver("joe", BIG)
            await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
        [(row, reference)] = await world.rows("SELECT id::text, content FROM deliveries")
        place = Place("deliveries", "content", partner.partner.id, row)
        content = await ContentStore(store.url).get(reference, place)
        await store.replace(reference, place, bytes(len(content)))
        await stack.enter_async_context(running(services.run_dispatcher, with_store(world, store)))
        await eventually(lambda: world.value("SELECT last_error = 'content_unavailable' FROM deliveries"))
        await store.replace(reference, place, content)
        await world.rows("UPDATE deliveries SET due_at = now() RETURNING 1")
        await sink.wait_for(1)

    assert len(json.loads(sink.received[0].body)["rfc822"]) == len(BIG)


async def test_a_large_object_has_time_to_be_read_over_a_slow_network(server, store, monkeypatch):
    monkeypatch.setattr("superimap.core.content_store.READ_TIMEOUT_SECONDS", 0.5)
    sealed = Vault.from_setting(generate_key()).seal(bytes(3_000_000), PLACE)
    reference = await ContentStore(store.url).put(sealed, PLACE)
    address = urlsplit(server.environment["AWS_ENDPOINT_URL"])
    async with ChaosProxy(address.hostname or "", address.port or 0) as proxy:
        proxy.set(bandwidth=3_000_000)
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{proxy.host}:{proxy.port}")
        contents = ContentStore(store.url)

        assert await contents.get(reference, PLACE) == sealed
    await contents.delete(reference, PLACE)


async def test_while_the_store_is_down_one_mail_at_a_time_waits_for_it(store, monkeypatch):
    monkeypatch.setattr("superimap.core.content_store.WRITE_TIMEOUT_SECONDS", 0.5)
    monkeypatch.setattr("superimap.core.content_store.PAUSE_SECONDS", 0.0)
    contents, failed = ContentStore(store.url), metrics.CONTENT_STORE_ERRORS.labels("write")._value.get
    store.stand_still()
    try:
        assert await contents.put(b"x" * 100, PLACE) == b"x" * 100
        before = failed()
        kept = await asyncio.gather(*(contents.put(b"x" * 100, PLACE) for _ in range(5)))
        assert (set(kept), failed() - before) == ({b"x" * 100}, 1)
    finally:
        store.go_on()

    await eventually(lambda: _is_written(contents))
    references = await asyncio.gather(*(contents.put(b"x" * 100, PLACE) for _ in range(5)))
    assert all(map(is_reference, references))


async def _is_written(contents: ContentStore) -> bool:
    return is_reference(await contents.put(b"x" * 100, PLACE))


async def test_a_password_in_the_address_of_the_store_appears_in_no_log(store, monkeypatch, caplog):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://proxy:secret-of-the-proxy@127.0.0.1:9")
    contents = ContentStore(store.url)

    assert await contents.put(b"x" * 100, PLACE) == b"x" * 100
    assert "content stays in PostgreSQL" in caplog.text
    assert "secret-of-the-proxy" not in caplog.text


async def test_a_store_that_stands_still_holds_up_no_small_webhooks(world, imap, store, monkeypatch):
    """Twenty large ones are due before the small one, and an endpoint that has not answered yet has two POSTs."""
    monkeypatch.setattr("superimap.core.content_store.READ_TIMEOUT_SECONDS", 1.0)
    settings = with_store(world, store)
    async with AsyncExitStack() as stack:
        sink = await stack.enter_async_context(WebhookSink())
        partner = await set_up(world, imap, url=sink.url("/"))
        await world.user(partner, "joe-tag", login="joe", password="pw")
        async with running(services.run_idler, settings):
            await idling(imap)
            for number in range(20):
                imap.deliver("joe", BIG.replace(b"big", b"big %d" % number))
            await eventually(lambda: world.value("SELECT count(*) = 20 FROM deliveries"))
            imap.deliver("joe", mail("small"))
            await eventually(lambda: world.value("SELECT count(*) = 21 FROM deliveries"))
        store.stand_still()
        stack.callback(store.go_on)
        await stack.enter_async_context(running(services.run_dispatcher, settings))
        await sink.wait_for(1, timeout=5)

    assert len(json.loads(sink.received[0].body)["rfc822"]) == len(mail("small"))


async def test_a_read_that_is_refused_holds_up_no_others(store, monkeypatch):
    """Amazon refuses to read an object that is missing if the client may not list the bucket."""
    reference = await ContentStore(store.url).put(
        Vault.from_setting(generate_key()).seal(b"content", PLACE), PLACE
    )
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-of-the-store")
    contents = ContentStore(store.url)

    for _ in range(2):
        with pytest.raises(ContentStoreError, match="lacked the necessary privileges"):
            await contents.get(reference, PLACE)
