"""The record of a look at a mailbox: fenced, all or nothing, and without effect when it is repeated."""

from datetime import UTC, datetime

import asyncpg
import pytest

from superimap.core.ids import uuid7
from superimap.db.watching import changes
from superimap.db.watching.changes import EventDelivery, MailState
from superimap.db.watching.intake import Fence, Fenced, MailboxRow, cursor_at
from superimap.domain.numbering import Numbering
from tests.integration.idler.test_change_events import idler, set_up
from tests.integration.idler.test_watching import idling, mail, recorded

SINCE = datetime(2020, 1, 1, tzinfo=UTC)


@pytest.fixture
async def watched(world, imap):
    """A pool, and a mailbox with one recorded mail whose shard is owned by an idler that has ended."""
    await set_up(world, imap)
    await world.rows("UPDATE users SET change_events = false")
    async with idler(world):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        (row,) = await world.rows(
            "SELECT b.id, b.user_id, b.partner_id, u.credentials_version AS version, b.uid_validity, u.shard,"
            " s.owner, s.epoch FROM mailboxes b JOIN users u ON u.id = b.user_id JOIN shards s USING (shard)"
        )
        box = MailboxRow(
            row["id"], row["user_id"], row["partner_id"], row["version"],
            cursor_at(Numbering(row["uid_validity"], row["uid_validity"], 0), 1, None), (), (),
        )  # fmt: skip
        async with asyncpg.create_pool(world.settings.database_url, min_size=1, max_size=1) as pool:
            yield pool, box, Fence(row["shard"], row["owner"], row["epoch"]), row["uid_validity"]


async def record(watched, *, fence=None, uid_validity=None, events=()):
    pool, box, owned, numbering = watched
    known = await changes.load_tracked(pool, box, uid_validity=numbering, since=SINCE)
    (tracked,) = known.mails
    return await changes.record_changes(
        pool,
        box,
        fence or owned,
        [MailState(tracked.message, ("\\Seen",))],
        events,
        uid_validity=uid_validity or numbering,
        looked_at=known.now,
        modseq=7,
        lowest_uid=1,
    )


async def state(world):
    found = await world.rows(
        "SELECT (SELECT string_agg(flags, ',') FROM mail_flags),"
        " (SELECT count(*) FROM deliveries WHERE kind = 'events'), (SELECT changes_modseq FROM mailboxes)"
    )
    return tuple(found[0])


async def test_a_look_of_an_idler_that_owns_the_shard_no_more_records_nothing(world, watched):
    shard, owner, epoch = (getattr(watched[2], name) for name in ("shard", "owner", "epoch"))
    for fence in (Fence(shard, owner, epoch + 1), Fence(shard, owner + 1, epoch)):
        with pytest.raises(Fenced):
            await record(watched, fence=fence, events=[EventDelivery(uuid7(), b"x")])

    assert await state(world) == (None, 0, None)


async def test_a_look_at_another_numbering_or_with_old_credentials_records_nothing(world, watched):
    with pytest.raises(Fenced):
        await record(watched, uid_validity=watched[3] + 1, events=[EventDelivery(uuid7(), b"x")])
    await world.rows("UPDATE users SET credentials_version = credentials_version + 1")
    with pytest.raises(Fenced):
        await record(watched, events=[EventDelivery(uuid7(), b"x")])

    assert await state(world) == (None, 0, None)


async def test_the_repetition_of_a_lost_answer_writes_nothing_twice(world, watched):
    events = [EventDelivery(uuid7(), b"x"), EventDelivery(uuid7(), b"y")]
    first = await record(watched, events=events)
    again = await record(watched, events=events)

    assert (len(first), again) == (1, ())
    assert await state(world) == ("\\Seen", 2, 7)


async def test_the_states_of_mails_go_with_them(world, watched):
    await record(watched)
    await world.rows("DELETE FROM deliveries")
    await world.rows("DELETE FROM messages")

    assert await world.value("SELECT count(*) FROM mail_flags") == 0
