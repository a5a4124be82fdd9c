"""Duplicates: no sender can suppress another mail, and none gives two webhooks, however mails are renumbered."""

import hashlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any, cast

import httpx
import pytest_asyncio
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fixtures.world import World
from superimap.core.egress import Guard
from superimap.db import postgres
from superimap.db.watching import intake as queries
from superimap.db.watching import ownership as cluster
from superimap.db.watching import sessions as watching
from superimap.db.watching.intake import Fence
from superimap.domain.numbering import first_numbering
from superimap.doorbells.redis import EndpointDoorbell
from superimap.idler import main
from superimap.idler.access_tokens import AccessTokens
from superimap.idler.catch_up_plan import CatchUpPlan
from superimap.idler.context import IdlerContext
from superimap.idler.mail_reader import MailReader
from superimap.idler.mailbox import WatchedMailbox
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.open_watches import OpenWatches
from superimap.idler.scope import ConnectionScope
from superimap.idler.timing import SessionTiming
from superimap.imap.types import MessageMeta, Uid

BEGIN = datetime(2026, 11, 23, tzinfo=UTC)

# Few words, so that mails are often alike: an attacker knows the headers, or the body, or both.
_mails = st.tuples(
    st.sampled_from(["", "DKIM-Signature: a\r\n", "X-Spam: yes\r\n"]),
    st.sampled_from(["1", "2"]),
    st.sampled_from(["body", "other body"]),
).map(
    lambda words: (
        "{}Date: Mon, 23 Nov 2026 10:00:00 +0000\r\nFrom: a@x.org\r\n"
        "Subject: one\r\nMessage-ID: <{}@x>\r\n\r\n{}\r\n".format(*words)
    )
)
_arrivals = st.lists(st.tuples(_mails, st.booleans()), max_size=6)  # whether the clock ticks before it
_lives = st.lists(
    st.tuples(_arrivals, st.booleans()), min_size=1, max_size=5
)  # whether all are rewritten after it
_tags = count(1)

DELIVERED_MAILS = """
    SELECT encode(m.sha1, 'hex') FROM deliveries d JOIN messages m ON m.id = d.message_id WHERE d.user_id = $1
"""
STRAYS = """
    SELECT count(*) FROM messages m WHERE user_id = $1 AND outcome = 'duplicate' AND NOT EXISTS (
        SELECT FROM messages o WHERE o.id = m.duplicate_of AND o.user_id = $1 AND o.outcome = 'delivered')
"""


class Far:
    """A mailbox on a server that sometimes gives all mails new UIDs, and may rewrite their headers."""

    def __init__(self) -> None:
        self.clock, self.validity = BEGIN, 1
        self.mails: list[tuple[str, datetime]] = []
        self.sent: set[str] = set()

    def receive(self, raw: str, *, ticks: bool) -> None:
        self.clock += timedelta(seconds=ticks)
        self.mails.append((raw, self.clock))
        self.sent.add(raw)

    def renumber(self, *, rewrites: bool) -> None:
        self.validity += 1
        self.clock += timedelta(seconds=1)
        if rewrites:
            header = f"X-Moved: {self.validity}\r\n"
            self.mails = [(header + raw, moment) for raw, moment in self.mails]


@pytest_asyncio.fixture
async def context(database_url: str, redis_url: str) -> AsyncIterator[IdlerContext]:
    """The context of an idler that owns every shard; there is one partner with one connection."""
    world = World(database_url, redis_url)
    await world.provider("imap.example.com", 993)
    await world.connection(await world.partner(new_mail_webhook="https://app.example.com/hook"))
    async with (
        postgres.pool(database_url, size=2) as pool,
        EndpointDoorbell(redis_url) as queue,
        httpx.AsyncClient() as http,
    ):
        idler = await cluster.join(pool, name="test", version="0", capacity=1, health_port=None)
        await pool.execute("UPDATE shards SET owner = $1, epoch = 1", idler)
        ownership = main._ownership(pool, idler, world.settings, watches := OpenWatches())
        asking = main._login_limiter(world.settings)
        async with AccessTokens(pool, world.vault, http, request_slot=asking.slot) as tokens:
            yield main._context(
                world.settings, pool, world.vault, queue, Guard(), tokens, ownership, watches, SessionTiming()
            )


async def a_user(context: IdlerContext) -> watching.WatchedUser:
    user = await context.pool.fetchval(
        "INSERT INTO users (partner_id, connection_id, tag, login_username, connected_at)"
        " SELECT partner_id, id, $1, 'joe', now() FROM connections RETURNING id",
        str(next(_tags)),
    )
    watched = await watching.load(context.pool, user)
    assert watched is not None
    return watched


async def add_mail(
    context: IdlerContext, watched: Any, fence: Fence, box: Any, far: Far, *, known: int, size: int
) -> Any:
    """Record all but the first `known` mails in batches of `size`; return the mailbox row afterwards."""
    nothing = cast(Any, None)
    scope = ConnectionScope(context, nothing, watched, MailboxMemory(), fence, nothing)
    reader = MailReader(scope)
    plan = CatchUpPlan(first_numbering(far.validity), after=0)
    mailbox = WatchedMailbox(scope, box, plan)
    for uid, (raw, moment) in enumerate(far.mails[known:], known + 1):
        meta = MessageMeta(Uid(uid), moment, len(raw), None)
        read = await reader.read(mailbox, uid, meta, by_date=False, raw=raw.encode())
        mailbox.add(read.row, meta, read_bytes=read.read_bytes or 0)
        if len(mailbox.pending) >= size:
            await mailbox.record_batch()
    await mailbox.finish(baseline=len(far.mails))
    return mailbox.row


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lives=_lives, size=st.integers(1, 5))
async def test_every_mail_causes_exactly_one_webhook(context, lives, size):
    watched, far = await a_user(context), Far()
    fence = Fence(watched.shard, context.ownership.idler, 1)
    box = await queries.visit_mailbox(
        context.pool, user_id=watched.user_id, partner_id=watched.partner_id, version=1, account="joe",
        name="INBOX", fence=fence,
    )  # fmt: skip
    for arrivals, is_rewritten in [*lives, ([], False)]:
        renumbered = len(far.mails)
        box = await add_mail(context, watched, fence, box, far, known=0, size=size)
        for raw, ticks in arrivals:
            far.receive(raw, ticks=ticks)
        box = await add_mail(context, watched, fence, box, far, known=renumbered, size=size)
        far.renumber(rewrites=is_rewritten)

    delivered = await context.pool.fetch(DELIVERED_MAILS, watched.user_id)
    assert sorted(row[0] for row in delivered) == sorted(
        hashlib.sha1(raw.encode()).hexdigest() for raw in far.sent
    )
    assert await context.pool.fetchval(STRAYS, watched.user_id) == 0
