"""Comparison of the outcomes that PostgreSQL records with those that `domain.mails.judge` decides."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime

import pytest

from superimap.core.ids import uuid7
from superimap.db import postgres
from superimap.db.watching import intake as queries
from superimap.db.watching import ownership as cluster
from superimap.db.watching import sessions as watching
from superimap.db.watching.intake import Cursor, Fence, MailRow
from superimap.domain.mails import MailFacts, MailOutcome, judge

NOW = datetime(2026, 11, 23, tzinfo=UTC)
SHA1, TOKEN = b"a" * 20, b"t" * 32
UID, TWIN, EARLIER = 9, 8, 1


def row(uid: int, outcome: MailOutcome, **values) -> MailRow:
    return MailRow(uid, NOW, 4, outcome, sha1=SHA1, delivery_id=uuid7(), **values)


@pytest.mark.parametrize(
    ("is_copy", "is_tracer", "has_endpoint", "has_twin"), [*itertools.product([False, True], repeat=4)]
)
async def test_the_recording_statement_decides_as_judge_does(
    world, is_copy, is_tracer, has_endpoint, has_twin
):
    """For every combination of the facts that only the tables contain, in each case with and without a twin."""
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider("imap.example.com", 993)
    await world.connection(partner)
    user = await world.user(partner, "joe", login="joe", password="pw")
    facts = MailFacts(NOW, 100, raw=b"mail", has_twin=has_twin)
    batch = [row(UID, judge(facts)[0], twin_uid=TWIN if has_twin else None, token_digest=TOKEN)]
    if has_twin:
        batch.insert(0, row(TWIN, MailOutcome.DELIVERED, content=b"sealed"))
    async with postgres.pool(world.database_url, size=2) as pool:
        idler = await cluster.join(pool, name="test", version="0", capacity=1, health_port=None)
        await pool.execute("UPDATE shards SET owner = $1, epoch = 1", idler)
        watched = await watching.load(pool, user)
        assert watched is not None
        fence = Fence(watched.shard, idler, 1)
        box = await queries.visit_mailbox(
            pool, user_id=user, partner_id=watched.partner_id, version=watched.version, account="joe",
            name="INBOX", fence=fence,
        )  # fmt: skip
        if is_copy:
            earlier = row(EARLIER, MailOutcome.DELIVERED, content=b"sealed")
            await queries.record(pool, box, fence, box.cursor, [earlier], uid_validity=7)
        if is_tracer:
            await pool.execute("UPDATE users SET enable_tracer = true")
            await pool.execute(
                "INSERT INTO tracers (partner_id, user_id, token_digest) SELECT partner_id, id, $1 FROM users",
                TOKEN,
            )
        if not has_endpoint:
            await pool.execute("UPDATE endpoints SET url = NULL")

        await queries.record(pool, box, fence, Cursor(7, UID, NOW), batch, uid_validity=7)

        recorded = await pool.fetchval("SELECT outcome FROM messages WHERE uid = $1", UID)
        deliveries = await pool.fetchval(
            "SELECT count(*) FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE m.uid = $1", UID
        )
    expected, _ = judge(facts._replace(is_copy=is_copy, is_tracer=is_tracer, has_endpoint=has_endpoint))
    assert recorded == expected
    assert deliveries == (expected == MailOutcome.DELIVERED)
