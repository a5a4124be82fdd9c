"""Controls of the oracle: it reports a broken promise if one guard is switched off, and none if it is on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest

from fixtures.world import World, eventually, running
from superimap.core.egress import Guard
from superimap.db.watching import intake
from superimap.dispatcher.sweeper import Sweeper
from superimap.doorbells.postgres import IdlerDoorbell
from superimap.idler import mail_rows
from superimap.launch import services
from superimap.testing import WebhookSink
from tests.support.guards import UNIQUE_ROWS, intake_with
from trials.faults.fault_run import FaultRun, Scale, create_users
from trials.faults.mail_servers import FakeMailServer
from trials.faults.oracle import FaultReport

CONTROL_SCALE = Scale(mails=20, users=4, away=1.0, rounds=1, judges_time=False)
FORBIDDEN = "127.0.0.2"

SLOW_PULSE = {"heartbeat_interval": 30.0, "heartbeat_expiry": 60.0, "reconcile_interval": 600.0}
FENCE = (
    "SELECT 1 FROM shards WHERE shard = :shard AND owner = :owner AND epoch = :epoch FOR KEY SHARE",
    "SELECT 1 WHERE (:shard::int, :owner::bigint, :epoch::bigint) IS NOT NULL",
)
OTHER_GUARDS = (  # the cursor, the search for copies, the unique UIDs
    (
        "(m.uid_validity, m.last_uid) IS NOT DISTINCT FROM (:old_uid_validity::bigint, :old_last_uid::bigint)",
        "((m.uid_validity, m.last_uid) IS NOT DISTINCT FROM (:old_uid_validity::bigint, :old_last_uid::bigint)"
        " OR true)",
    ),
    ("e.user_id = :user_id AND e.outcome IN", "false AND e.user_id = :user_id AND e.outcome IN"),
    UNIQUE_ROWS,
)
DROP_UNIQUE_UIDS = "ALTER TABLE messages DROP CONSTRAINT uq_messages_mailbox_id_uid_validity_uid"


@contextlib.asynccontextmanager
async def run(database_url: str, redis_url: str, **settings: object) -> AsyncIterator[FaultRun]:
    """A fault run whose services run in this process, so that a guard can be switched off."""
    world = World(database_url, redis_url, overrides={"webhook_timeout": 2.0, **settings})
    async with (
        FakeMailServer() as imap,
        WebhookSink(record=False) as sink,
        contextlib.AsyncExitStack() as stack,
    ):
        made = FaultRun("control", CONTROL_SCALE, None, world, imap, sink, stack, 1)
        sink.answer = made.answer
        await create_users(made)
        yield made


async def nothing(*_: object, **__: object) -> None:
    await asyncio.Event().wait()


# The sweeper.


@pytest.mark.parametrize("is_on", [True, False])
async def test_without_the_sweeper_a_lost_doorbell_loses_the_mail(
    is_on, database_url, redis_url, tmp_path, monkeypatch
):
    async with run(database_url, redis_url) as made:
        async with running(services.run_idler, deaf(made.world, tmp_path)):
            await made.wait_until_watched()
            made.send(8)
            await eventually(lambda: made.world.value("SELECT count(*) = 8 FROM deliveries"))
        if not is_on:
            monkeypatch.setattr(Sweeper, "run", lambda _self, stop: stop.wait())
        async with running(services.run_dispatcher, made.world.settings):
            await made.wait_until_settled(within=10 if is_on else 2.5)
            verdict = await made.report()

    assert (verdict.broken == ()) is is_on
    assert verdict.lost == (0 if is_on else 8)


def deaf(world: World, tmp_path):
    """Settings of an idler whose doorbells reach no queue."""
    return world.settings.model_copy(update={"redis_url": f"unix://{tmp_path}/nobody.sock"})


# The fence.


async def split_brain(made: FaultRun, monkeypatch: pytest.MonkeyPatch) -> FaultReport:
    """Two idlers watch the same mailboxes, because one has not noticed that its lease has expired."""
    monkeypatch.setattr(IdlerDoorbell, "listen_on", nothing)
    unaware = made.world.settings.model_copy(update=SLOW_PULSE)
    async with running(services.run_idler, unaware), running(services.run_dispatcher, made.world.settings):
        await made.wait_until_watched()
        async with running(services.run_idler, made.world.settings):
            await made.imap.wait_for(
                lambda: sum(each.idling for each in made.imap.sessions) == 2 * CONTROL_SCALE.users, timeout=30
            )
            made.send(CONTROL_SCALE.mails)
            await made.wait_until_settled(within=15)
            return await made.report()


@pytest.mark.parametrize("is_on", [True, False])
async def test_without_the_fence_two_owners_send_twice(is_on, database_url, redis_url, monkeypatch):
    """The guards behind the fence (cursor, copies, UIDs, ids) are off both times; only the fence is left."""
    replacements = OTHER_GUARDS if is_on else (*OTHER_GUARDS, FENCE)
    monkeypatch.setattr(intake, "_RECORD_MAILS", intake_with(replacements))
    monkeypatch.setattr(mail_rows, "MAX_AGE_OF_DERIVED_ID", timedelta(days=-1))
    async with run(database_url, redis_url) as made:
        await made.world.rows(DROP_UNIQUE_UIDS)
        verdict = await split_brain(made, monkeypatch)

    assert (verdict.broken == ()) is is_on
    assert (verdict.duplicates == 0) is is_on
    assert verdict.lost == 0


# The egress guard.


@pytest.mark.parametrize("is_on", [True, False])
async def test_without_the_egress_guard_a_private_address_gets_webhooks(
    is_on, database_url, redis_url, monkeypatch
):
    if not is_on:
        monkeypatch.setattr(Guard, "check", lambda _self, _sockaddr: None)
    open_to = {"environment": "production", "egress_allow": "127.0.0.1/32"}
    async with run(database_url, redis_url, **open_to) as made, WebhookSink(FORBIDDEN) as forbidden:
        await made.set_endpoint_url(0, forbidden.url("/p0"))
        async with (
            running(services.run_idler, made.world.settings),
            running(services.run_dispatcher, made.world.settings),
        ):
            await made.wait_until_watched()
            made.send(4)
            await eventually(lambda: made.world.value("SELECT count(*) >= 4 FROM attempts"))
            made.broken += [f"I3: a POST to {FORBIDDEN}" for _ in forbidden.received]
            await made.set_endpoint_url(0, made.sink.url("/p0"))
            await made.world.rows("UPDATE deliveries SET due_at = now()")
            await made.wait_until_settled(within=20 if is_on else 1)
            verdict = await made.report()

    assert (verdict.broken == ()) is is_on
    assert any(FORBIDDEN in each for each in verdict.broken) is not is_on
