"""Malformed and big mails: each is recorded, causes a webhook, and delays no other session."""

import hashlib
import json
import re
import threading
from collections import Counter
from typing import Any

import pytest

from fixtures.world import World, eventually, running
from superimap.core.crypto import Place
from superimap.idler import big_mails
from superimap.launch import services
from superimap.testing import ImapServer, WebhookSink
from superimap.testing.chaos.hostile_mails import hostile_mails, small_mail
from tests.support.malformed import MALFORMED


async def set_up(world: World, imap: ImapServer, url: str) -> None:
    imap.add_account("joe", "pw")
    partner = await world.partner(new_mail_webhook=url)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    await world.user(partner, "joe", login="joe", password="pw")


async def idling(imap: ImapServer) -> None:
    await imap.wait_for(lambda: any(session.idling for session in imap.sessions))


async def contents(world: World) -> list[dict[str, Any]]:
    rows = await world.rows("SELECT id, partner_id, content FROM deliveries WHERE content IS NOT NULL")
    places = [Place("deliveries", "content", row["partner_id"], str(row["id"])) for row in rows]
    return [
        json.loads(world.vault.open(row["content"], place)) for row, place in zip(rows, places, strict=True)
    ]


async def test_each_malformed_mail_is_recorded_and_causes_its_webhook(world, imap):
    """On one established session, with a well-formed mail after them."""
    world.overrides = {"max_email_size": 16 * 1024 * 1024}
    mails = [*MALFORMED.values(), *hostile_mails(header=300_000).values(), small_mail("the last")]
    mails = list({hashlib.sha1(raw).hexdigest(): raw for raw in mails}.values())
    async with WebhookSink() as sink:
        await set_up(world, imap, sink.url())
        async with (
            running(services.run_idler, world.settings),
            running(services.run_dispatcher, world.settings),
        ):
            await idling(imap)
            for raw in mails:
                imap.deliver("joe", raw)

            await sink.wait_for(lambda received: len(received) >= len(mails), timeout=30)

        received = {each.json["sha1"]: each.json for each in sink.received}
        assert received.keys() == {hashlib.sha1(raw).hexdigest() for raw in mails}
        for raw in mails:
            body = received[hashlib.sha1(raw).hexdigest()]
            assert body["rfc822"] == raw.decode("utf-8", "replace")
    rows = await world.rows("SELECT outcome, sha1 FROM messages")
    assert len(mails) >= 40
    assert Counter(row["outcome"] for row in rows) == {"delivered": len(mails)}
    assert {row["sha1"].hex() for row in rows} == received.keys()


@pytest.mark.parametrize("is_big", [True, False])
async def test_a_big_mail_is_processed_outside_the_event_loop(world, imap, monkeypatch, is_big):
    """It arrives between two small mails, and their order does not change."""
    threads = []
    work = big_mails.mail.parse

    def parse(raw: bytes) -> Any:
        threads.append((threading.current_thread() is threading.main_thread(), len(raw)))
        return work(raw)

    monkeypatch.setattr(big_mails.mail, "parse", parse)
    world.overrides = {"max_email_size": 16 * 1024 * 1024}
    middle = small_mail("middle", body=b"caf\xe9\r\n" * (700_000 if is_big else 10))
    mails = [small_mail("first"), middle, small_mail("last")]
    await set_up(world, imap, "https://app.example.com/hook")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for raw in mails:
            imap.deliver("joe", raw)
        await eventually(lambda: _count(world, len(mails)))

    assert [on_loop for on_loop, _ in threads] == [True, not is_big, True]
    uids = await world.rows("SELECT uid, sha1 FROM messages ORDER BY id")
    assert [row["sha1"] for row in uids] == [hashlib.sha1(raw).digest() for raw in mails]
    assert {each["sha1"] for each in await contents(world)} == {
        hashlib.sha1(raw).hexdigest() for raw in mails
    }


@pytest.mark.parametrize(
    ("usual", "said", "outcome"),
    [
        (rb"RFC822.SIZE \d+", b"RFC822.SIZE 99999999999999999999", "too_big"),
        (rb'INTERNALDATE "[^"]+"', b'INTERNALDATE "31-Dec-9999 23:00:00 -1200"', "delivered"),
    ],
)
async def test_implausible_metadata_of_a_mail_does_not_stop_the_mailbox(world, imap, usual, said, outcome):
    async def odd(session: Any, command: Any) -> bytes:
        return re.sub(usual, said, session.usual_answer(command))

    imap.on("UID FETCH", odd)
    await set_up(world, imap, "https://app.example.com/hook")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", small_mail("odd"))
        await eventually(lambda: _count(world, 1))

    assert [row["outcome"] for row in await world.rows("SELECT outcome FROM messages")] == [outcome]
    assert imap.logins == 1


async def test_an_unexpected_fault_is_reported_without_a_login_storm(world, imap):
    """The database rejects a row that it should accept; later it accepts the row."""
    await set_up(world, imap, "https://app.example.com/hook")
    await world.rows("ALTER TABLE messages ADD CONSTRAINT nobody_foresaw CHECK (uid <> 2)")
    world.overrides = {"reconcile_interval": 0.1}
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for subject in ("one", "two", "three"):
            imap.deliver("joe", small_mail(subject))
        is_reported = (
            "SELECT count(*) FROM users WHERE status = 'backing_off' AND status_reason LIKE 'Check%'"
        )
        await eventually(lambda: world.value(is_reported))
        assert imap.logins < 5
        await world.rows("ALTER TABLE messages DROP CONSTRAINT nobody_foresaw")
        await eventually(lambda: _count(world, 3), within=30)

    assert await world.value("SELECT count(*) FROM deliveries") == 3


async def _count(world: World, wanted: int) -> bool:
    return bool(await world.value("SELECT count(*) FROM messages") >= wanted)
