"""The clock of the simulation: time jumps when nothing runs, and PostgreSQL sees the same time."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from trials.simulation.batch import run_batch
from trials.simulation.clock import BEGIN, SimulatedLoop, Stuck
from trials.simulation.database import Database
from trials.simulation.faults import HOUR, covers
from trials.simulation.plan import draw

SHORT_SEEDS = [seed for seed in range(100) if draw(seed).settles_at < 4 * HOUR][:4]


def test_a_day_of_sleep_takes_no_time_and_postgresql_sees_it_pass(database_url):
    loop, began = SimulatedLoop(), time.monotonic()

    async def sleep_for_a_day():
        database = await Database.open(database_url, loop)
        await database.prepare()
        await asyncio.sleep(86_400)
        now = await database.ask("fetchval", "SELECT now()")
        await database.close()
        return now

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        assert runner.run(sleep_for_a_day()) == BEGIN + timedelta(days=1)
    assert time.monotonic() - began < 10


def test_waiting_for_what_never_happens_is_an_error():
    with pytest.raises(Stuck):
        SimulatedLoop().run_until_complete(asyncio.Event().wait())


def test_each_mail_that_becomes_readable_within_two_days_has_one_webhook(database_url):
    """Under outages, mails that cannot be read for a while, renumberings and kills."""
    reports = list(run_batch(database_url, SHORT_SEEDS))

    assert [f"seed {report.seed}: {wrong}" for report in reports for wrong in report.wrong] == []


@pytest.mark.parametrize(
    ("uid_set", "found"), [(b"7", True), (b"1:3,7", True), (b"9:*", True), (b"6:2", False), (b"8", False)]
)
def test_a_fault_of_a_mail_applies_to_sets_that_contain_its_uid(uid_set, found):
    assert covers(uid_set, 7, largest=7) == found
