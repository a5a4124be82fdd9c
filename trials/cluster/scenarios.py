"""Scenarios that check the guarantees of the cluster while its idlers change; each returns its figures.

The test suite runs them small with short intervals, and `python -m trials.cluster` at full length with default
timings.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import Any

from fixtures.world import eventually
from superimap.db.monitoring import cluster_status
from tests.support.db_proxy import DbProxy
from tests.support.processes import SUPERIMAP
from trials.cluster.fleet import Fleet
from trials.cluster.session_spans import gaps, percentile, session_spans

Figures = dict[str, Any]

GAP_MAILS = 20  # mails to users whose idler was just killed, besides the steady mail


async def scale(fleet: Fleet, *, per_second: float, rest: float = 0.0) -> Figures:
    """Three idlers become five, then two, while mail arrives. No user is ever signed in twice."""
    await fleet.start_idlers(3)
    await fleet.wait_until_watched()
    await fleet.wait_until_shared()
    began = time.monotonic()
    async with fleet.steady_mail(per_second):
        await fleet.start_idlers(2)
        await fleet.wait_until_shared()
        await asyncio.sleep(rest)
        await fleet.wait_until_watched()
        await fleet.stop_idlers(*fleet.idlers[:3])
        await fleet.wait_until_watched()
        await asyncio.sleep(rest)
    await fleet.wait_until_delivered()
    moves = fleet.move_figures(since=began)
    assert moves["signed_in_twice"] == 0
    assert moves["moved"] > 0
    return fleet.figures() | moves


async def kill(fleet: Fleet, *, idlers: int, rounds: int, per_second: float, within: float) -> Figures:
    """kill -9 of one idler, `rounds` times: the others watch its users within `within` s and miss no mail.

    At no moment does the cluster status count more users as watched than have a session.
    """
    await fleet.start_idlers(idlers)
    lengths: list[float] = []
    noticed: list[float] = []
    for _ in range(rounds):
        await fleet.wait_until_balanced()
        await fleet.wait_until_watched()
        async with fleet.steady_mail(per_second):
            began = time.monotonic()
            fleet.kill(fleet.idlers[0])
            await fleet.imap.wait_for(lambda: len(fleet.watching()) < len(fleet.wanted))
            for user in sorted(fleet.wanted - fleet.watching())[:GAP_MAILS]:
                fleet.send(user)
            noticed.append(await _count_until_watched(fleet, within=within))
            lengths += gaps(session_spans(fleet.imap.log), since=began)
        await fleet.wait_until_delivered()
        await fleet.start_idlers()
    percentiles = {f"gap_p{round(share * 100)}_s": percentile(lengths, share) for share in (0.5, 0.95, 1.0)}
    counts = {"kills": rounds, "moved": len(lengths), "noticed_max_s": percentile(noticed, 1.0)}
    return fleet.figures() | counts | percentiles


async def _wait_until_noticed(fleet: Fleet) -> float:
    """Wait until the cluster status says that an idler has ended; returns the seconds it took."""
    began = time.monotonic()
    await eventually(lambda: _read_unserved(fleet), within=5, what="the status knows of the end")
    return time.monotonic() - began


async def _count_until_watched(fleet: Fleet, *, within: float) -> float:
    """Read the cluster status until all users are watched: it never counts a user without a session.

    Returns the seconds after which it knew that an idler had ended.
    """
    expiry = float(fleet.env["HEARTBEAT_EXPIRY"])
    noticed = await _wait_until_noticed(fleet)
    async with asyncio.timeout(within):
        while True:
            seen = await cluster_status.read_cluster_status(fleet.db, expiry=expiry)
            signed_in = {each.username for each in fleet.imap.sessions} & fleet.wanted
            assert seen.users.watched <= len(signed_in), (seen.users, len(signed_in))
            if seen.users.watched == len(fleet.wanted) == len(fleet.watching() & fleet.wanted):
                return noticed
            await asyncio.sleep(0.2)


async def restart(fleet: Fleet, *, rounds: int, rest: float, within: float) -> Figures:
    """kill -9 of the only idler, `rounds` times; `rest` s later it starts again, and watches within `within` s."""
    took: list[float] = []
    noticed: list[float] = []
    await fleet.start_idlers()
    await fleet.wait_until_watched()
    for _ in range(rounds):
        fleet.kill(fleet.idlers[0])
        await fleet.imap.wait_for(lambda: not fleet.watching())
        noticed.append(await _wait_until_noticed(fleet))
        fleet.send_each()
        await asyncio.sleep(rest)
        began = time.monotonic()
        await fleet.start_idlers()
        await _count_until_watched(fleet, within=within)
        took.append(time.monotonic() - began)
        await fleet.wait_until_delivered()
    seconds = {"watched_p50_s": percentile(took, 0.5), "watched_max_s": percentile(took, 1.0)}
    return fleet.figures() | {"kills": rounds, "noticed_max_s": percentile(noticed, 1.0)} | seconds


async def freeze(fleet: Fleet) -> Figures:
    """SIGSTOP beyond the lease, then SIGCONT: the idler is fenced while two idlers have sessions for its users."""
    (sleeper,) = await fleet.start_idlers()
    await fleet.wait_until_watched()
    await fleet.start_idlers()
    await fleet.wait_until_shared()
    await fleet.wait_until_watched()
    twice = await fleet.db.fetchval("SELECT count(*) FROM users JOIN shards USING (shard) WHERE owner = 1")
    assert twice, "the paused idler owns users"
    async with fleet.frozen(sleeper):
        one_owner = "SELECT count(DISTINCT owner) = 1 AND count(owner) = count(*) FROM shards"
        await eventually(lambda: fleet.db.fetchval(one_owner), within=60)
        both = len(fleet.wanted) + twice
        await fleet.imap.wait_for(
            lambda: sum(each.idling for each in fleet.imap.sessions) == both, timeout=60
        )
        for _ in range(3):
            fleet.send_each()
    await sleeper.says("lost shards to another idler")
    await fleet.wait_until_delivered()
    await fleet.wait_until_shared()
    await fleet.wait_until_watched()
    fleet.send_each()
    await fleet.wait_until_delivered()
    recorded = await fleet.db.fetchval("SELECT count(*) FROM messages")
    assert recorded == len(fleet.ledger.sent)
    assert sleeper.popen.poll() is None
    return fleet.figures() | {"users_with_two_sessions": twice}


async def roll(fleet: Fleet, *, rounds: int, idlers: int, per_second: float) -> Figures:
    """Every idler is replaced `rounds` times under load: a new one starts, then an old one stops."""
    await fleet.start_idlers(idlers)
    await fleet.wait_until_watched()
    began = time.monotonic()
    async with fleet.steady_mail(per_second):
        for _ in range(rounds * idlers):
            await fleet.start_idlers()
            await fleet.wait_until_joined()
            await fleet.stop_idlers(fleet.idlers[0])
    await fleet.wait_until_watched()
    await fleet.wait_until_delivered()
    moves = fleet.move_figures(since=began)
    assert moves["signed_in_twice"] == 0
    return fleet.figures() | moves | {"restarts": rounds * idlers}


async def outage(fleet: Fleet, proxy: DbProxy, *, seconds: float, size: int, most_mib: float) -> Figures:
    """PostgreSQL is down while mail arrives. Sessions stay, memory is bounded, shards are owned within 15 s."""
    await fleet.start_idlers(2)
    await fleet.wait_until_watched()
    await fleet.wait_until_shared()
    fleet.send_each(size=size)
    await fleet.wait_until_delivered()
    connects, before = fleet.imap.connects, fleet.resident_mib()
    recorded = await fleet.db.fetchval("SELECT count(*) FROM messages")
    await proxy.close()
    for idler in fleet.idlers:
        await idler.says("heartbeat failed")
    end, most = time.monotonic() + seconds, before
    while time.monotonic() < end:
        fleet.send_each(size=size)
        await asyncio.sleep(seconds / 8)
        most = max(most, fleet.resident_mib())
    assert await fleet.db.fetchval("SELECT count(*) FROM messages") == recorded, "nothing was written"
    await proxy.open()
    owned = await fleet.wait_until_owned(within=15)
    delivered = await fleet.wait_until_delivered()
    most = max(most, fleet.resident_mib())
    reconnects = fleet.imap.connects - connects
    assert reconnects == 0
    assert most - before <= most_mib, f"{before} MiB became {most}"
    return fleet.figures() | {
        "away_s": seconds,
        "reconnects": reconnects,
        "mib_before": before,
        "mib_most": most,
        "mail_mib": round(len(fleet.ledger.sent) * size / 2**20, 1),
        "owned_s": round(owned, 1),
        "delivered_s": round(delivered, 1),
    }


async def change(fleet: Fleet, *, users: int) -> Figures:
    """Creating, changing, archiving and restoring a user take effect on the idler at once."""
    await fleet.start_idlers(2)
    await fleet.wait_until_watched()
    await fleet.wait_until_shared()
    took: dict[str, list[float]] = {"created_s": [], "changed_s": [], "archived_s": [], "restored_s": []}
    for number in range(users):
        name = await _change_one(fleet, took)
        if number == 0:
            fleet.send(name)
            await fleet.wait_until_delivered()
    return fleet.figures() | {name: round(max(seconds), 3) for name, seconds in took.items()}


async def _change_one(fleet: Fleet, took: dict[str, list[float]]) -> str:
    """Create, change, archive and restore one user; appends the seconds of each change and returns the name."""
    assert fleet.partner is not None
    began = time.monotonic()
    await fleet.add_users(1)
    await fleet.wait_until_watched()
    took["created_s"].append(time.monotonic() - began)
    name = f"user{len(fleet.wanted) - 1}"
    (session,) = fleet.imap.sessions_of(name)
    fleet.imap.accounts[name].password = "other"
    began = time.monotonic()
    await fleet.world.change_user(fleet.partner, name, login_password="other")
    await fleet.imap.wait_for(
        lambda: any(each.idling and each is not session for each in fleet.imap.sessions_of(name))
    )
    took["changed_s"].append(time.monotonic() - began)
    began = time.monotonic()
    await fleet.world.change_user(fleet.partner, name, archived=True)
    await fleet.imap.wait_for(lambda: not fleet.imap.sessions_of(name))
    took["archived_s"].append(time.monotonic() - began)
    began = time.monotonic()
    await fleet.world.change_user(fleet.partner, name, archived=False)
    await fleet.wait_until_watched()
    took["restored_s"].append(time.monotonic() - began)
    return name


async def spill(fleet: Fleet, *, slots: int, more: int) -> Figures:
    """Users beyond MAX_SESSIONS of all idlers are reported as unserved; another idler takes them."""
    await fleet.start_idlers(3)
    await fleet.wait_until_watched()
    assert await _check(fleet, 0) == 0
    fleet.send_each()
    await fleet.wait_until_delivered()

    await fleet.add_users(more)
    unserved = len(fleet.wanted) - 3 * slots
    assert unserved > 0
    await fleet.wait_until_watched(3 * slots)
    await eventually(lambda: _is_unserved(fleet, unserved), what="the unserved are counted")
    assert await _check(fleet, 1) == unserved
    assert any("users are not watched" in idler.output for idler in fleet.idlers)

    await fleet.start_idlers()
    relieved = await fleet.wait_until_watched()
    await eventually(lambda: _is_unserved(fleet, 0), what="no user is unserved")
    assert await _check(fleet, 0) == 0
    fleet.send_each()
    await fleet.wait_until_delivered()
    return fleet.figures() | {"unserved": unserved, "relieved_s": round(relieved, 1)}


async def _check(fleet: Fleet, code: int) -> int:
    """Assert the exit code of `superimap cluster --check`; returns the number of unserved users."""
    command = [str(SUPERIMAP), "cluster", "--check", "--json"]
    ran = await asyncio.to_thread(
        lambda: subprocess.run(command, env=fleet.env, capture_output=True, text=True, check=False)
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return int(json.loads(ran.stdout)["users"]["unserved"])


async def _is_unserved(fleet: Fleet, unserved: int) -> bool:
    return await _read_unserved(fleet) == unserved


async def _read_unserved(fleet: Fleet) -> int:
    seen = await cluster_status.read_cluster_status(fleet.db, expiry=float(fleet.env["HEARTBEAT_EXPIRY"]))
    return seen.users.unserved
