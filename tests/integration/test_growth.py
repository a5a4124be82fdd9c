"""What statements read on a database with some thousand users: budgets of pages, and no scan of a large table.

`make big` does the same with 10 million mails.
"""

from __future__ import annotations

import asyncpg
import pytest

from trials.growth import workload
from trials.growth.check import Result, check
from trials.growth.fill import fill

USERS, MAILS, BATCH = 6_000, 36_000, 100


def faults(results: list[Result]) -> dict[str, tuple[str, ...]]:
    return {each.name: each.faults for each in results if each.faults}


@pytest.fixture
async def url(database_url):
    await fill(database_url, users=USERS, mails=MAILS)
    return database_url


@pytest.mark.slow
async def test_no_statement_reads_more_than_its_budget_or_scans_a_large_table(url):
    results = await check(url, batch=BATCH)

    assert faults(results) == {}
    assert {each.name for each in results} >= workload.all_statements().keys() - workload.NOT_RUN

    db = await asyncpg.connect(url)
    await db.execute("DROP INDEX ix_users_tag, ix_deliveries_message, ix_deliveries_kind")
    await db.close()
    assert faults(await check(url, batch=BATCH)).keys() >= {
        "user by tag", "users of a tag", "deliveries of user_connected", "delivery/sweeping:delete_old_messages",
        "messages",
    }  # fmt: skip
