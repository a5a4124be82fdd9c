"""Stages of webhooks: the time of the record in each body, and histograms of waiting and answering."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta

from prometheus_client import REGISTRY

from superimap.testing import Received
from tests.integration.dispatcher.conftest import SinkWorld, eventually


def sample(stage: str, name: str = "count") -> float:
    return REGISTRY.get_sample_value(f"superimap_webhook_seconds_{name}", {"stage": stage}) or 0.0


async def test_a_retry_has_the_same_time_of_the_record_and_only_the_first_attempt_ends_the_wait(
    world: SinkWorld,
):
    async def fail_slowly(_: Received) -> int:
        await asyncio.sleep(0.2)
        return 500

    world.sink.answer = fail_slowly
    before = [sample("sending"), sample("receiver"), sample("sending", "sum"), sample("receiver", "sum")]
    [delivery_id] = await world.add_deliveries(await world.endpoint(), ring=False)
    await world.db.execute("UPDATE deliveries SET created_at = now() - interval '7 seconds'")
    async with world.dispatcher():
        await eventually(lambda: world.attempts(delivery_id))
        await world.db.execute("UPDATE deliveries SET due_at = now()")
        world.sink.answer = 204
        await eventually(lambda: world.in_state("delivered"))

    row = await world.row(delivery_id)
    first, second = [datetime.fromisoformat(each.json["recorded_at"]) for each in world.sink.received]
    assert first == second == row["created_at"]
    after = [sample("sending"), sample("receiver"), sample("sending", "sum"), sample("receiver", "sum")]
    sent, answered, waiting, answering = [now - then for now, then in zip(after, before, strict=True)]
    assert (sent, answered) == (1, 2)
    [attempt, _] = await world.attempts(delivery_id)
    stored = (attempt["started_at"] - row["created_at"]) / timedelta(seconds=1)
    assert abs(waiting - stored) < 0.1
    assert 0.2 <= answering < 1
