"""`superimap up` without its command line: services that end are started again."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from fixtures.world import World, eventually
from superimap.core.backoff import Backoff
from superimap.launch import services
from superimap.launch.services import ServiceEnded, keep_running


class Failing:
    """A service whose runs end as listed; the next one runs until the stop."""

    def __init__(self, stop: asyncio.Event, *ends: Exception | None) -> None:
        self.stop = stop
        self.ends = list(ends)
        self.runs = 0

    async def __call__(self) -> None:
        self.runs += 1
        if not self.ends:
            await self.stop.wait()
        elif (error := self.ends.pop(0)) is not None:
            raise error


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch):
    monkeypatch.setattr(services, "Backoff", lambda **_: Backoff(first=0.01, longest=0.01))


async def test_a_service_that_ends_is_started_again_until_the_stop():
    stop = asyncio.Event()
    service = Failing(stop, OSError("no route"), None, RuntimeError("a bug"))
    running = asyncio.create_task(keep_running("idler", service, stop, settled_after=0))

    async def has_run_four_times() -> bool:
        return service.runs == 4

    await eventually(has_run_four_times)
    stop.set()
    await running


@pytest.mark.parametrize(
    ("end", "raised"), [(OSError("no route"), OSError), (None, ServiceEnded)], ids=["error", "no error"]
)
async def test_a_service_that_ends_at_its_start_says_why(end, raised, caplog):
    stop = asyncio.Event()

    with pytest.raises(raised):
        await keep_running("idler", Failing(stop, end), stop, settled_after=10)

    assert [record.service for record in caplog.records if record.message == "a service ended"] == ["idler"]


async def test_an_idler_that_was_removed_from_the_cluster_joins_again(world: World):
    stop = asyncio.Event()
    settings = world.settings.model_copy(update={"port": 0})
    running = asyncio.create_task(services.run_all(settings, stop, within=5, settled_after=0))
    db = await asyncpg.connect(world.database_url)

    async def idler() -> int | None:
        return await db.fetchval("SELECT id FROM idlers")

    first = await eventually(idler)
    await db.execute("DELETE FROM idlers")

    assert await eventually(idler) != first
    stop.set()
    await running
    await db.close()
