"""A process of SuperIMAP with one part disabled: `python -m trials.stress.broken PART SUBCOMMAND`."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from superimap.cli import main


def disable_fence() -> None:
    """An idler goes on watching shards that it has lost, and no write asserts owner, epoch or cursor."""
    from superimap.db.watching import intake, ownership

    record, read_cluster = intake._RECORD_MAILS, ownership.read_cluster
    for statement in (record, intake._VISIT_MAILBOX):
        statement.sql, found = re.subn(
            r"owner = (\$\d+) AND epoch = (\$\d+)", r"(owner = \1 AND epoch = \2 OR true)", statement.sql
        )
        assert found
    record.sql, found = re.subn(
        r"AND \(\(m\.uid_validity, m\.last_uid\) IS NOT",
        r"AND (true OR (m.uid_validity, m.last_uid) IS NOT",
        record.sql,
    )
    assert found
    kept: dict[int, int] = {}

    async def read_and_keep(*args: Any, **options: Any) -> Any:
        view = await read_cluster(*args, **options)
        kept.update(view.mine)
        return replace(view, mine=dict(kept))

    ownership.read_cluster = read_and_keep


def disable_sweeper() -> None:
    """No dispatcher looks for deliveries that nobody rang for, nor for leases of dead dispatchers."""
    from superimap.dispatcher.sweeper import Sweeper

    async def rest(_self: Sweeper, stop: asyncio.Event) -> None:
        await stop.wait()

    Sweeper.run = rest  # type: ignore[assignment, method-assign]


def disable_lease() -> None:
    """A claimed delivery may be claimed again at once."""
    from superimap.db.delivery import deliveries

    claim = deliveries.claim

    async def claim_without_lease(*args: Any, **options: Any) -> deliveries.Claims:
        return await claim(*args, **{**options, "lease": 0.0})

    deliveries.claim = claim_without_lease


PARTS: dict[str, Callable[[], None]] = {
    "fence": disable_fence,
    "sweeper": disable_sweeper,
    "lease": disable_lease,
}


if __name__ == "__main__":
    PARTS[sys.argv.pop(1)]()
    main()
