"""Many simulations one after the other, on one database."""

from __future__ import annotations

import asyncio
import logging
import random
import sys
import time
from collections.abc import Iterator, Sequence

from fixtures import engines
from fixtures.world import World, credentials
from superimap.core.config import Settings
from trials.simulation.clock import BEGIN, SimulatedLoop, simulated_clocks
from trials.simulation.database import Database
from trials.simulation.plan import draw
from trials.simulation.run import Report, Simulation

_IDLER = "INSERT INTO idlers (name, version, capacity) VALUES ('simulation', '0', 1) RETURNING id"


def run_share(url: str, seeds: list[int]) -> list[Report]:
    """Run these seeds on a new database of the server at `url`. Prints what is wrong at once."""
    logging.getLogger("superimap").setLevel(logging.CRITICAL)
    reports = []
    for report in run_batch(asyncio.run(engines.create_database(url, f"simulation_{seeds[0]}")), seeds):
        reports.append(report)
        for wrong in report.wrong:
            print(f"seed {report.seed}: {wrong}", file=sys.stderr, flush=True)
    return reports


def run_batch(url: str, seeds: Sequence[int]) -> Iterator[Report]:
    """Run the simulations of these seeds on an empty database with our schema; yield a report for each."""
    world = World(url, "redis://localhost:1/0")
    users, idler = asyncio.run(_prepare(world, seeds))
    settings = world.settings.model_copy(update={"idle_renew": 540.0})
    with simulated_clocks():
        for seed, user_id in zip(seeds, users, strict=True):
            yield run_seed(url, seed, user_id, idler, settings)


async def _prepare(world: World, seeds: Sequence[int]) -> tuple[list[int], int]:
    """Create a user for each seed, and an idler; returns their ids."""
    partner = await world.partner(
        new_mail_webhook="https://app.example.com/hook", events_webhook="https://app.example.com/events"
    )
    await world.provider("imap.example.com", 993)
    await world.connection(partner)
    users = await world.add_users(
        partner, [credentials(f"seed {seed}", f"joe{seed}", "pw") for seed in seeds]
    )
    await world.rows("UPDATE users SET connected_at = $1", BEGIN)
    return users, await world.value(_IDLER)


def run_seed(url: str, seed: int, user_id: int, idler: int, settings: Settings) -> Report:
    """Run one simulation in simulated time that begins at BEGIN."""
    began = time.monotonic()
    random.seed(seed)
    loop = SimulatedLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        try:
            report = runner.run(_simulate(url, seed, user_id, idler, settings, loop))
        except Exception as error:  # one seed of many
            report = Report(seed, [f"{type(error).__name__}: {error}"])
    report.seconds, report.days = time.monotonic() - began, loop.time() / 86_400
    return report


async def _simulate(
    url: str, seed: int, user_id: int, idler: int, settings: Settings, loop: SimulatedLoop
) -> Report:
    database = await Database.open(url, loop)
    try:
        await database.prepare()
        shard = await database.ask("fetchval", "SELECT shard FROM users WHERE id = $1", user_id)
        return await Simulation(draw(seed), loop, database, settings).run(user_id, shard, idler)
    finally:
        await database.close()
