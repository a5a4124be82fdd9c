"""Two idlers that both believe they own every shard: only the owner writes. Controls switch the guards off."""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from fixtures.world import World, eventually, running
from superimap.db.statements import Statement
from superimap.db.watching import intake
from superimap.idler import mail_rows, main
from superimap.idler.ownership import Ownership
from superimap.launch import services
from superimap.testing import ImapServer
from tests.cluster.conftest import WebhookSink
from tests.support.guards import UNIQUE_ROWS, intake_with
from tests.support.mails import Ledger, mail

USER_COUNT = 12
OFF = {
    "fence": (
        "shard = :shard AND owner = :owner AND epoch = :epoch",
        "shard = :shard AND :owner::bigint > 0 AND :epoch::bigint > 0",
    ),
    "cursor": (
        "(m.uid_validity, m.last_uid) IS NOT DISTINCT FROM (:old_uid_validity",
        "(:old_uid_validity::bigint, :old_last_uid::bigint) IS NOT DISTINCT FROM (:old_uid_validity",
    ),
    "rows": UNIQUE_ROWS,
    "digests": ("e.user_id = :user_id", "e.user_id = 0"),
}


def unguarded(*guards: str) -> Statement:
    """The intake statement without these guards."""
    return intake_with(OFF[guard] for guard in guards)


@pytest.fixture
def owners(monkeypatch) -> list[Ownership]:
    """Every Ownership in the order of creation."""
    made: list[Ownership] = []

    class Known(Ownership):
        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            made.append(self)

    monkeypatch.setattr(main, "Ownership", Known)
    return made


@pytest.fixture
def writes(monkeypatch) -> Counter[int]:
    """The number of mails that each idler has recorded."""
    counted: Counter[int] = Counter()
    original = intake.record

    async def record(pool: Any, box: Any, fence: intake.Fence, *args: Any, **kwargs: Any) -> intake.Recorded:
        recorded = await original(pool, box, fence, *args, **kwargs)
        counted[fence.owner] += len(recorded.outcomes)
        return recorded

    monkeypatch.setattr(intake, "record", record)
    return counted


async def settled(*_: Any, **__: Any) -> Any:
    """Replacement for the rounds of an idler that has not noticed the loss of its shards: it does nothing."""
    return math.inf


@contextlib.asynccontextmanager
async def two(world: World, imap: ImapServer, owners: list[Ownership]) -> AsyncIterator[None]:
    """Run two idlers with a session each for every user; the first has lost all shards and has not noticed."""
    async with contextlib.AsyncExitStack() as stack:
        await stack.enter_async_context(running(services.run_idler, world.settings))
        await imap.wait_for(lambda: sum(each.idling for each in imap.sessions) == USER_COUNT)
        deluded = owners[0]
        for method in (deluded.renew_lease, deluded.reconcile):
            setattr(deluded, method.__name__, settled)
        await world.rows("UPDATE idlers SET heartbeat_at = now() - interval '10 s'")
        await stack.enter_async_context(running(services.run_idler, world.settings))
        await imap.wait_for(lambda: sum(each.idling for each in imap.sessions) == 2 * USER_COUNT, timeout=30)
        assert len(deluded.epochs) == len(owners[1].epochs) == 4096
        yield
        deluded.epochs.clear()


async def burst(
    world: World, imap: ImapServer, sink: WebhookSink, owners: list[Ownership]
) -> tuple[Ledger, int]:
    """Deliver mail to every user while there are two owners; returns the ledger and the count of repeated rows."""
    ledger = Ledger()
    partner = await world.partner(new_mail_webhook=sink.url("/hook"))
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    for number in range(USER_COUNT):
        imap.add_account(f"user{number}", "pw")
        await world.user(partner, f"user{number}", login=f"user{number}", password="pw")
    async with running(services.run_dispatcher, world.settings), two(world, imap, owners):
        for number in range(3):
            for user in range(USER_COUNT):
                raw = mail(f"{number}-{user}", to=f"user{user}")
                ledger.note(raw, path="/hook", tag=f"user{user}")
                imap.deliver(f"user{user}", raw)
        await sink.wait_for(lambda got: not ledger.lost(got), timeout=30)
        pending = "SELECT count(*) = 0 FROM deliveries WHERE state <> 'delivered'"
        await eventually(lambda: world.value(pending))
    return ledger, await world.value("SELECT count(*) - count(DISTINCT (mailbox_id, uid)) FROM messages")


async def test_of_two_idlers_that_believe_they_own_a_shard_only_the_owner_writes(world, sink, owners, writes):
    async with ImapServer() as imap:
        ledger, repeated = await burst(world, imap, sink, owners)

    deluded, owner = (each.idler for each in owners)
    assert writes[owner] == len(ledger.sent)
    assert writes[deluded] == 0
    assert ledger.duplicates(list(sink.received)) == repeated == 0


async def test_without_the_fence_the_former_owner_would_write(world, sink, owners, writes, monkeypatch):
    monkeypatch.setattr(intake, "_RECORD_MAILS", unguarded("fence"))
    async with ImapServer() as imap:
        ledger, _ = await burst(world, imap, sink, owners)

    assert writes[owners[0].idler] > 0, "the first test would have failed"
    assert ledger.duplicates(list(sink.received)) == 0, "the cursor and the key of the row still guard"


async def test_without_any_guard_there_would_be_duplicates(world, sink, owners, writes, monkeypatch):
    monkeypatch.setattr(intake, "_RECORD_MAILS", unguarded("fence", "cursor", "rows", "digests"))
    monkeypatch.setattr(mail_rows, "MAX_AGE_OF_DERIVED_ID", timedelta(days=-1))
    await world.rows("ALTER TABLE messages DROP CONSTRAINT uq_messages_mailbox_id_uid_validity_uid")
    async with ImapServer() as imap:
        ledger, repeated = await burst(world, imap, sink, owners)

    assert repeated > 0
    assert ledger.duplicates(list(sink.received)) > 0, "the first test would have failed"
