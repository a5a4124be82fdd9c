"""Liveness of mail servers: stalls and recoveries are recorded in time, once, and correctly."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import logging
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.db.delivery import liveness
from superimap.db.watching import sessions as watching
from superimap.domain.users import StatusChange
from superimap.idler import main
from superimap.imap import idle
from superimap.imap.types import Timeouts
from superimap.testing import ChaosProxy, ImapServer
from superimap.testing.imap.hooks import answering
from tests.integration.chaos.scene import FAST
from tests.integration.idler.test_watching import idling, mail, recorded, set_up
from tests.support.proofs import SHOWN, own_all_shards, record_proof

QUICK = dataclasses.replace(FAST, timeouts=Timeouts(), proof_interval=0.05, poll=0.05)


@pytest_asyncio.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=4) as made:
        yield made


@pytest_asyncio.fixture
async def joe(world: World, imap: ImapServer) -> int:
    """Create a user who is to be watched; return the id."""
    partner = await set_up(world, imap)
    return await world.user(partner, "joe", login="joe", password="pw")


def watched(world: World, timing: Any = QUICK, **settings: Any) -> Any:
    """Run an idler for the duration of the block. Its settings are not checked, so that times may be short."""
    changed = world.settings.model_copy(update={"idle_renew": 60.0} | settings)
    return running(functools.partial(main.serve, timing=timing), changed)


async def backdate_proof(world: World, user_id: int, seconds: float = 1000) -> None:
    """Backdate the connect of this user and the last proof of life."""
    await world.rows(
        "UPDATE users SET connected_at = now() - interval '9 days', status_since = now() - interval '9 days',"
        " last_proven_alive_at = now() - make_interval(secs => $2), vouched_by = NULL WHERE id = $1",
        user_id,
        seconds,
    )


async def state(world: World, user_id: int) -> dict[str, Any]:
    (row,) = await world.rows(f"SELECT *, {SHOWN} AS shown FROM users WHERE id = $1", user_id)
    return dict(row)


async def events(world: World) -> list[str]:
    return [row["kind"] for row in await world.rows("SELECT kind FROM user_events ORDER BY id")]


async def wait_for_status(world: World, user_id: int, status: str) -> None:
    async def is_reached() -> bool:
        return bool((await state(world, user_id))["status"] == status)

    await eventually(is_reached, what=status)


# Stalled and recovered.


async def test_a_stall_and_its_end_are_each_recorded_once_with_the_reason(world, pool, joe):
    await backdate_proof(world, joe)
    await watching.record_status(pool, joe, StatusChange.CONNECTION_LOST, reason="no route", version=1)

    stalls = await asyncio.gather(*(liveness.mark_stalled(pool, after=900) for _ in range(3)))
    await liveness.mark_stalled(pool, after=900)

    assert sum(stalls) == 1
    assert (await state(world, joe))["status"] == "stalled"
    (event,) = await world.rows("SELECT kind, reason, at FROM user_events")
    assert (event["kind"], event["reason"]) == ("stalled", "no route")
    assert event["at"] == (await state(world, joe))["stalled_at"]

    await watching.record_status(pool, joe, StatusChange.CONNECTION_LOST, reason="still no route", version=1)
    assert (await state(world, joe))["status"] == "stalled"
    assert (await state(world, joe))["status_reason"] == "still no route"

    await asyncio.gather(*(watching.record_established(pool, joe, version=1, is_new=True) for _ in range(3)))
    await record_proof(pool, joe, idler=await own_all_shards(pool))
    assert await events(world) == ["stalled", "recovered"]
    assert (await state(world, joe))["status"] == "watching"
    assert (await state(world, joe))["stalled_at"] is None


async def test_a_newer_proof_of_life_ends_a_stall(world, pool, joe):
    await backdate_proof(world, joe)
    await watching.record_established(pool, joe, version=1, is_new=True)
    await backdate_proof(world, joe)
    await liveness.mark_stalled(pool, after=900)

    idler = await own_all_shards(pool)
    await record_proof(pool, joe, age=500.0, idler=idler)
    assert await events(world) == ["stalled"]
    await asyncio.gather(*(record_proof(pool, joe, idler=idler) for _ in range(3)))

    assert await events(world) == ["stalled", "recovered"]
    assert (await state(world, joe))["status"] == "watching"


@pytest.mark.parametrize(
    "why",
    [
        "archived = true, status = 'archived'",
        "connected_at = NULL, status = 'not_connected'",
        "status = 'authentication_failed'",
        "status = 'throttled', retry_at = now() + interval '1 h'",
        "status = 'connecting', status_since = now()",
        "last_proven_alive_at = now() - interval '899 s'",
    ],
)
async def test_users_not_to_be_watched_or_with_a_more_specific_status_do_not_stall(world, pool, joe, why):
    await backdate_proof(world, joe)
    await world.rows(f"UPDATE users SET {why} WHERE id = $1", joe)

    assert await liveness.mark_stalled(pool, after=900) == 0
    assert await events(world) == []


async def test_a_user_watched_by_no_idler_becomes_stalled(world, pool, joe):
    await backdate_proof(world, joe)

    assert await liveness.mark_stalled(pool, after=900) == 1

    assert (await state(world, joe))["status_reason"] == "no session has been established yet"


async def test_an_unanswered_done_reveals_a_black_hole_and_the_user_stalls_and_recovers(
    world, imap, pool, caplog
):
    caplog.set_level(logging.INFO, "superimap.idler.session")
    imap.add_account("joe", "pw")
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    async with ChaosProxy(imap.host, imap.port) as proxy:
        await world.provider(proxy.host, proxy.port)
        await world.connection(partner)
        joe = await world.user(partner, "joe", login="joe", password="pw")
        async with watched(world, dataclasses.replace(FAST, proof_interval=0.05), idle_renew=1.5):
            await idling(imap)
            await push_is_recorded(world, imap)  # the session has received its "+", so its next line is DONE
            proxy.set(black_hole=True)
            await wait_for_status(world, joe, "backing_off")
            before = await state(world, joe)
            await backdate_proof(world, joe)
            assert await liveness.mark_stalled(pool, after=900) == 1
            imap.deliver("joe", mail("meanwhile"))
            proxy.set(black_hole=False)
            await wait_for_status(world, joe, "watching")
            assert await recorded(world, 1) == [(1, "delivered")]

    assert "session ended: DONE took more than 0.3 s" in caplog.messages
    assert "took more than" in before["status_reason"]
    assert await events(world) == ["stalled", "recovered"]


# Proofs.


async def test_proofs_of_all_sessions_are_written_together_also_while_no_mail_arrives(world, imap, joe, pool):
    async def moved_on(since: Any) -> bool:
        return bool((await state(world, joe))["shown"] > since)

    async with watched(world, idle_renew=0.2):
        await idling(imap)
        for _ in range(2):
            last = (await state(world, joe))["shown"]
            await eventually(functools.partial(moved_on, last))

    assert (await state(world, joe))["status"] == "watching"


async def test_an_untagged_ok_is_a_proof_of_life(world, imap, joe):
    async with watched(world):
        await idling(imap)
        await wait_for_status(world, joe, "watching")
        await push_is_recorded(world, imap)
        assert len([event for event in imap.log if event.name == "DONE"]) == 0


async def push_is_recorded(world: World, imap: ImapServer) -> None:
    """Wait until a push of the server is recorded as a proof of life."""
    await world.rows("UPDATE users SET last_proven_alive_at = now() - interval '1 h'")
    await world.rows("UPDATE vouches SET since = since - interval '1 h'")
    (session,) = imap.sessions_of("joe")
    session.send(b"* OK Still here\r\n")

    async def proven() -> Any:
        return await world.value(f"SELECT {SHOWN} > now() - interval '1 min' FROM users")

    await eventually(proven)


# Pauses that outlive a restart.


async def test_a_refused_login_is_not_repeated_by_an_idler_that_starts(world, imap, joe):
    imap.accounts["joe"].password = "other"
    async with watched(world):
        await wait_for_status(world, joe, "authentication_failed")
    tries = len([event for event in imap.log if event.name in ("LOGIN", "AUTHENTICATE")])
    assert (await state(world, joe))["retry_at"] is not None
    ann = await another(world, imap)

    async with watched(world):
        await wait_for_status(world, ann, "watching")
        again = [event for event in imap.log if event.name in ("LOGIN", "AUTHENTICATE")]
        assert len(again) == tries + 1  # ann's
        await change_password(world, "other")
        await wait_for_status(world, joe, "watching")

    assert (await state(world, joe))["retry_at"] is None


async def test_a_pause_that_the_server_requested_binds_the_next_idler(world, imap, joe):
    timing = dataclasses.replace(QUICK, throttled=600.0)
    remove = imap.on("LOGIN", answering(b"%(tag)s NO [LIMIT] Too many simultaneous connections"))
    async with watched(world, timing):
        await wait_for_status(world, joe, "throttled")
    remove()
    ann = await another(world, imap)

    async with watched(world, timing):
        await wait_for_status(world, ann, "watching")
        assert imap.sessions_of("joe") == []
        await world.rows("UPDATE users SET retry_at = now() WHERE id = $1", joe)
    async with watched(world, timing):
        await wait_for_status(world, joe, "watching")


async def another(world: World, imap: ImapServer) -> int:
    """Create a second user of the same partner, whose session shows that the idler works."""
    imap.add_account("ann", "pw")
    return await world.user(await the_partner(world), "ann", login="ann", password="pw")


async def change_password(world: World, password: str) -> None:
    await world.change_user(await the_partner(world), "joe", login_password=password)


async def the_partner(world: World) -> Any:
    from types import SimpleNamespace

    (row,) = await world.rows("SELECT id FROM partners")
    return SimpleNamespace(partner=SimpleNamespace(id=row["id"]))


# Catching up.

WATCH_STATUSES = """
    CREATE TABLE seen (id bigserial, status text);
    CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS
        $$ BEGIN INSERT INTO seen (status) VALUES (new.status); RETURN NULL; END $$;
    CREATE TRIGGER note AFTER UPDATE OF status ON users FOR EACH ROW EXECUTE FUNCTION note();
"""


async def statuses_seen(world: World) -> list[str]:
    return [row["status"] for row in await world.rows("SELECT status FROM seen ORDER BY id")]


async def test_a_large_catch_up_is_reported_and_a_single_mail_costs_no_write(world, imap, joe, pool):
    await pool.execute(WATCH_STATUSES)
    for number in range(120):
        imap.deliver("joe", mail(f"backlog {number}"))
    async with watched(world, dataclasses.replace(QUICK, proof_interval=600.0)):
        await recorded(world, 120)
        await idling(imap)
        assert await statuses_seen(world) == ["catching_up", "watching"]
        for number in range(3):
            imap.deliver("joe", mail(f"ordinary {number}"))
            await recorded(world, 121 + number)
            await idling(imap)

        assert await statuses_seen(world) == ["catching_up", "watching"]


async def test_a_slow_catch_up_is_reported_even_with_few_mails(world, imap, joe, pool):
    await pool.execute(WATCH_STATUSES)
    imap.deliver("joe", mail("one"))
    async with watched(world, dataclasses.replace(QUICK, proof_interval=600.0, lag=0.0)):
        await recorded(world, 1)
        await idling(imap)

        assert await statuses_seen(world) == ["catching_up", "watching"]


# Rounds.


async def test_a_provider_can_shorten_the_rounds_of_idle(world, imap, joe, monkeypatch):
    rounds: list[float] = []
    usual = idle.wait_in_idle

    async def noted(*args: Any, renew: float, **more: Any) -> None:
        rounds.append(renew)
        await usual(*args, renew=renew, **more)

    monkeypatch.setattr(idle, "wait_in_idle", noted)
    await world.rows("UPDATE providers SET idle_renew = 50")
    async with watched(world, idle_renew=300.0):
        await idling(imap)
    await world.rows("UPDATE providers SET idle_renew = 500")
    async with watched(world, idle_renew=300.0):
        await idling(imap)

    assert 40 <= rounds[0] <= 50
    assert 240 <= rounds[1] <= 300


async def test_a_server_that_does_not_update_an_open_mailbox_is_polled_by_status(world, imap, joe):
    """NOOP and SEARCH answer with the state at the last EXAMINE, as on 163.com; IDLE never pushes."""
    known: dict[str, list[int]] = {"joe": []}
    inbox = imap.accounts["joe"].inbox

    async def opened(session: Any, command: Any) -> None:
        known["joe"] = [message.uid for message in inbox.messages]

    async def stale(session: Any, command: Any) -> bytes:
        uids = b" ".join(b"%d" % uid for uid in known["joe"])
        return b"* SEARCH %s\r\n%s OK done\r\n" % (uids, command.tag)

    imap.on("EXAMINE", opened)
    imap.on("UID SEARCH", stale)
    imap.on_push = lambda session, data: None
    await world.rows("UPDATE providers SET poll_by = 'status'")
    async with watched(world):
        await wait_for_status(world, joe, "watching")
        for number in range(3):
            imap.deliver("joe", mail(f"mail {number}"))
            await recorded(world, number + 1)

        names = {event.name for event in imap.log}
        assert "STATUS" in names
        assert not {"IDLE", "NOOP"} & names
        asked = sum(event.name == "STATUS" for event in imap.log)
        await imap.wait_for(lambda: sum(event.name == "STATUS" for event in imap.log) > asked + 5)
        assert sum(event.name == "EXAMINE" for event in imap.log) <= 1 + 1 + 3


async def test_the_folder_configured_for_the_provider_is_watched(world, imap, joe):
    imap.accounts["joe"].create("Work")
    await world.rows(r"UPDATE providers SET folders = '\All, Work, INBOX'")
    async with watched(world):
        await wait_for_status(world, joe, "watching")

    assert await world.value("SELECT name FROM mailboxes") == "Work"


async def test_backoff_resets_only_after_a_session_has_been_established_for_a_while(world, imap, joe):
    """A server that drops every session after the login is contacted at growing intervals."""
    from superimap.idler.session import UserSession

    pauses: dict[float, list[int]] = {}
    for settled in (600.0, 0.0):
        failures: list[int] = []
        usual = UserSession._failed

        async def noted(
            self: UserSession, error: BaseException, *, seen: Any = failures, usual: Any = usual
        ) -> float:
            pause = await usual(self, error)
            seen.append(self._backoff.failures)
            return pause

        UserSession._failed = noted  # type: ignore[method-assign]
        try:
            async with watched(world, dataclasses.replace(QUICK, settled=settled)):
                for count in range(1, 4):
                    await idling(imap)
                    imap.drop_all()
                    await eventually(functools.partial(_has, failures, count))
        finally:
            UserSession._failed = usual  # type: ignore[method-assign]
        pauses[settled] = failures[:3]

    assert pauses == {600.0: [1, 2, 3], 0.0: [1, 1, 1]}


async def _has(seen: list[int], count: int) -> bool:
    return len(seen) >= count


async def test_a_session_is_proven_by_its_last_answer_however_late_it_is_recorded(world, pool, joe):
    await backdate_proof(world, joe, 9000)

    await watching.record_established(pool, joe, version=1, is_new=True, proven_ago=3600.0)

    now = await world.value("SELECT clock_timestamp()")
    assert 3600 <= (now - (await state(world, joe))["shown"]).total_seconds() < 3660


async def test_a_mail_that_is_recorded_after_an_outage_proves_nothing_of_the_time_since(
    world, imap, joe, caplog
):
    async def waits() -> bool:
        return "waiting for PostgreSQL" in caplog.text

    async with watched(world):
        await idling(imap)
        await world.rows("ALTER TABLE messages RENAME TO messages_elsewhere")
        imap.deliver("joe", mail("late"))
        await eventually(waits)
        imap.accounts["joe"].password = "other"
        imap.drop_all()
        await imap.wait_for(lambda: not imap.sessions_of("joe"))
        ended_at = await world.value("SELECT clock_timestamp()")
        await world.rows("ALTER TABLE messages_elsewhere RENAME TO messages")
        await recorded(world, 1)
        await wait_for_status(world, joe, "authentication_failed")

    assert (await state(world, joe))["shown"] < ended_at
