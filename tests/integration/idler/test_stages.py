"""Stages of mails: when and how each was found, how long that and its record took, and clocks that are ahead."""

from __future__ import annotations

import asyncio
import functools
from datetime import UTC, datetime, timedelta

from prometheus_client import REGISTRY

from fixtures.world import World, running
from superimap.domain.mail_stages import FOUND_BY_NUMBERS, FoundBy
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap import hooks
from tests.integration.idler.test_watching import contents, idling, mail, recorded, set_up

STAGES = """
    SELECT uid, created_at, internal_date, found_by, recording_milliseconds AS recording,
        extract(epoch FROM created_at - internal_date)::float8 - recording_milliseconds / 1000.0::float8 AS delay
    FROM messages ORDER BY uid
"""


def sample(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"superimap_{name}", labels) or 0.0


class Observed:
    """What the histograms of a provider have counted since this object was made."""

    def __init__(self, provider: str = "TEST") -> None:
        self._provider = provider
        self._before = self._now()

    def _now(self) -> list[float]:
        counts = [
            sample("mail_seconds_count", stage=stage, provider=self._provider)
            for stage in ("provider", "recording")
        ]
        return [*counts, sample("mails_ahead_total", provider=self._provider)]

    @property
    def counts(self) -> list[float]:
        """Mails with a delay, mails with a time until recorded, and mails that came before their INTERNALDATE."""
        return [now - before for now, before in zip(self._now(), self._before, strict=True)]


async def add_joe(world: World, imap: ImapServer, **provider: object) -> None:
    partner = await set_up(world, imap)
    for column, value in provider.items():
        await world.rows(f"UPDATE providers SET {column} = $1", value)
    await world.user(partner, "joe", login="joe", password="pw")


async def test_each_mail_of_a_batch_was_found_when_it_was_announced(world, imap):
    await add_joe(world, imap)
    held, release = asyncio.Event(), asyncio.Event()

    async def hold(_session: object, _command: object) -> None:
        held.set()
        await release.wait()

    observed = Observed()
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.on("UID FETCH", hooks.only(hold, times=1))
        imap.deliver("joe", mail("first"))
        await held.wait()
        asyncio.get_running_loop().call_later(0.5, release.set)
        imap.deliver("joe", mail("second"))
        await recorded(world, 2)

    first, second = await world.rows(STAGES)
    assert first["created_at"] == second["created_at"]  # one statement
    assert first["recording"] >= 500 > second["recording"] >= 0
    assert (first["found_by"], second["found_by"]) == (1, 1) == (FOUND_BY_NUMBERS[FoundBy.ANNOUNCED],) * 2
    assert -0.1 < first["delay"] < 1.5  # INTERNALDATE is a whole second
    assert observed.counts == [2, 2, 0]
    assert sample("mail_seconds_bucket", stage="recording", provider="TEST", le="0.3") >= 1


async def test_mails_of_an_outage_are_found_by_a_catch_up_and_count_in_no_histogram(world, imap):
    await add_joe(world, imap)
    async with running(services.run_idler, world.settings):
        await idling(imap)
    imap.deliver("joe", mail("missed"), internal_date=datetime.now(UTC) - timedelta(minutes=10))
    observed = Observed()

    async with running(services.run_idler, world.settings):
        await recorded(world, 1)

    (row,), (content,) = await world.rows(STAGES), await contents(world)
    assert row["found_by"] == FOUND_BY_NUMBERS[FoundBy.CATCH_UP]
    assert datetime.fromisoformat(content["received_at"]) == row["internal_date"]
    assert row["recording"] < 5_000
    assert 590 < row["delay"] < 620
    assert observed.counts == [0, 0, 0]


async def test_a_mail_of_a_polled_mailbox_is_polled(world, imap):
    await add_joe(world, imap, poll_by="noop")
    observed = Observed()
    timing = SessionTiming(poll=1.0)
    async with running(functools.partial(main.serve, timing=timing), world.settings):
        await imap.wait_for(lambda: any(entry.name == "NOOP" for entry in imap.log))
        imap.deliver("joe", mail("asked for"))
        await recorded(world, 1)

    (row,) = await world.rows(STAGES)
    assert row["found_by"] == FOUND_BY_NUMBERS[FoundBy.POLLED]
    assert row["recording"] < 900  # since the answer, not since the mail came
    assert observed.counts == [1, 1, 0]


async def test_a_mail_before_its_internaldate_counts_apart_and_not_as_no_delay(world, imap):
    await add_joe(world, imap)
    observed = Observed()
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("tomorrow"), internal_date=datetime.now(UTC) + timedelta(hours=3))
        await recorded(world, 1)

    (row,) = await world.rows(STAGES)
    assert -10_801 < row["delay"] < -10_700
    assert observed.counts == [0, 1, 1]


async def test_a_mail_that_is_imported_tells_nothing_of_the_provider(world, imap):
    await add_joe(world, imap)
    observed = Observed()
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("of last year"), internal_date=datetime.now(UTC) - timedelta(days=365))
        await recorded(world, 1)

    assert await world.value("SELECT found_by FROM messages") == FOUND_BY_NUMBERS[FoundBy.ANNOUNCED]
    assert observed.counts == [0, 1, 0]


async def test_a_deferred_mail_keeps_the_moment_at_which_it_was_found(world, imap):
    await add_joe(world, imap)
    imap.deliver("joe", mail("readable"))
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await world.rows("UPDATE messages SET outcome = 'deferred', recording_milliseconds = 7, found_by = 1")
        await world.rows(
            "INSERT INTO deferred_mails (message_id, partner_id, user_id, mailbox_id, uid_validity, uid,"
            " found_by_date, next_attempt_at) SELECT id, partner_id, user_id, mailbox_id, uid_validity, uid,"
            " false, now() FROM messages"
        )

    async with running(services.run_idler, world.settings):
        await recorded(world, 1)

    (row,) = await world.rows(STAGES)
    assert (row["recording"], row["found_by"]) == (7, 1)
