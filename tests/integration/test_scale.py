"""A small cluster in simulated time: logins keep their pace, and each mailbox has one owner again in time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import asyncpg
import pytest
import pytest_asyncio

from fixtures.engines import database
from trials.scale import run as scale
from trials.scale.run import ScaleReport, Size

pytestmark = pytest.mark.slow
SIZE = Size(
    mailboxes=36_000, idlers=9, max_sessions=8_000, weight=100, outage_seconds=30.0, quiet_seconds=5.0
)
LIVING = {"start": 9, "quiet": 9, "join": 10, "leave": 10, "outage": 9, "zone": 9}
"""Idlers that may log in during a phase."""


@pytest_asyncio.fixture
async def other_database_url(
    postgres_url: str, maintenance: asyncpg.Connection, template: str
) -> AsyncIterator[str]:
    """A second database like `database_url`."""
    await maintenance.execute(f"CREATE DATABASE scale_again TEMPLATE {template}")
    yield database(postgres_url, "scale_again")
    await maintenance.execute("DROP DATABASE scale_again WITH (FORCE)")


@pytest.fixture
def report(database_url) -> ScaleReport:
    return scale.run(database_url, SIZE, seed=7)


def test_logins_keep_their_pace_and_every_mailbox_is_watched_once_again(report):
    phases = {phase.name: phase for phase in report.phases}

    assert report.watched_twice == 0
    for name, idlers in LIVING.items():
        # The first login of each idler starts at once; the pauses between its logins vary by half.
        allowed = idlers * SIZE.logins_per_second
        assert max(phases[name].logins_10s_max.values()) <= 1.25 * allowed + idlers * SIZE.weight / 10
        assert max(phases[name].logins_max.values()) <= 2 * allowed + idlers * SIZE.weight
    # The first of the idlers takes all shards; what it cannot watch is with the others when they have joined.
    assert phases["start"].all_watched_after < 30 + 2 * SIZE.mailboxes / (9 * SIZE.logins_per_second)
    over_time = phases["outage"].logins_over_time
    assert sum(over_time["large"]) > 5 * sum(over_time["small"])  # of the one that failed
    assert phases["zone"].all_owned_after < 5
    lost = SIZE.mailboxes / 3
    assert phases["zone"].all_watched_after < 5 + 3 * lost / (6 * SIZE.logins_per_second)
    assert phases["outage"].all_watched_after < 300
    assert report.max_over_mean < 1.4


def test_a_run_depends_on_nothing_but_its_seed(database_url, other_database_url):
    size = Size(
        mailboxes=8_000, idlers=4, max_sessions=4_000, weight=50, outage_seconds=20.0, quiet_seconds=5.0
    )
    first, second = (
        [replace(phase, pages_per_s=0.0) for phase in scale.run(url, size, seed=3).phases]
        for url in (database_url, other_database_url)
    )

    assert first == second


def test_a_provider_that_refuses_fast_logins_is_asked_again_after_the_pause_that_it_names(database_url):
    size = Size(
        mailboxes=8_000,
        idlers=4,
        max_sessions=4_000,
        weight=50,
        outage_seconds=20.0,
        quiet_seconds=5.0,
        provider_logins_per_second=200.0,
    )
    report = scale.run(database_url, size, seed=3)

    outage = next(phase for phase in report.phases if phase.name == "outage")
    assert report.refused > 0
    assert report.watched_twice == 0
    assert outage.gap_max > 92  # what the refusal says
