"""What must hold of the cluster, whatever happens to its idlers. Each scenario asserts it, and gives its figures.

The suite runs them small and on a fast clock, `python -m trials.cluster` at length and by the default timings.
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

Figures = dict[str, Any]


async def scale(fleet: Fleet, *, per_second: float, rest: float = 0.0) -> Figures:
    """Three idlers become five, then two, while mail comes; nobody is ever signed in twice."""
    await fleet.hire(3)
    await fleet.watched()
    await fleet.shared()
    began = time.monotonic()
    async with fleet.pouring(per_second):
        await fleet.hire(2)
        await fleet.shared()
        await asyncio.sleep(rest)
        await fleet.watched()
        await fleet.dismiss(*fleet.idlers[:3])
        await fleet.watched()
        await asyncio.sleep(rest)
    await fleet.delivered()
    moves = fleet.moves(since=began)
    assert moves["signed_in_twice"] == 0
    assert moves["moved"] > 0
    return fleet.figures() | moves


async def kill(fleet: Fleet, *, per_second: float, within: float) -> Figures:
    """kill -9 of one of two: the other watches all within `within` seconds, and delivers the mail of the gap."""
    await fleet.hire(2)
    await fleet.watched()
    await fleet.shared()
    async with fleet.pouring(per_second):
        fleet.kill(fleet.idlers[0])
        await fleet.imap.wait_for(lambda: len(fleet.watching()) < len(fleet.wanted))
        fleet.send_each()
        took = await fleet.watched(within=within)
    await fleet.delivered()
    return fleet.figures() | {"takeover_s": round(took, 1)}


async def freeze(fleet: Fleet) -> Figures:
    """SIGSTOP past the expiry, SIGCONT: whoever wakes is fenced, while two have a session for its users."""
    (sleeper,) = await fleet.hire()
    await fleet.watched()
    await fleet.hire()
    await fleet.shared()
    await fleet.watched()
    twice = await fleet.db.fetchval("SELECT count(*) FROM users JOIN shards USING (shard) WHERE owner = 1")
    assert twice, "whoever falls asleep has users"
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
    await fleet.delivered()
    await fleet.shared()
    await fleet.watched()
    fleet.send_each()
    await fleet.delivered()
    recorded = await fleet.db.fetchval("SELECT count(*) FROM messages")
    assert recorded == len(fleet.ledger.sent)
    assert sleeper.popen.poll() is None
    return fleet.figures() | {"users_with_two_sessions": twice}


async def roll(fleet: Fleet, *, rounds: int, idlers: int, per_second: float) -> Figures:
    """Every idler is replaced `rounds` times under load: a new one comes, an old one goes."""
    await fleet.hire(idlers)
    await fleet.watched()
    began = time.monotonic()
    async with fleet.pouring(per_second):
        for _ in range(rounds * idlers):
            await fleet.hire()
            await fleet.joined()
            await fleet.dismiss(fleet.idlers[0])
    await fleet.watched()
    await fleet.delivered()
    moves = fleet.moves(since=began)
    assert moves["signed_in_twice"] == 0
    return fleet.figures() | moves | {"restarts": rounds * idlers}


async def outage(fleet: Fleet, proxy: DbProxy, *, seconds: float, size: int, most_mib: float) -> Figures:
    """PostgreSQL goes away while mail comes: sessions stay, memory too, and then all is made good within 15 s."""
    await fleet.hire(2)
    await fleet.watched()
    await fleet.shared()
    fleet.send_each(size=size)
    await fleet.delivered()
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
    owned = await fleet.owned(within=15)
    delivered = await fleet.delivered()
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
    """A user who is created, given another password, archived or restored is so at once on the idler."""
    await fleet.hire(2)
    await fleet.watched()
    await fleet.shared()
    partner = fleet.partner
    assert partner is not None
    took: dict[str, list[float]] = {"created_s": [], "changed_s": [], "archived_s": [], "restored_s": []}
    for number in range(users):
        began = time.monotonic()
        await fleet.add_users(1)
        await fleet.watched()
        took["created_s"].append(time.monotonic() - began)
        name = f"user{len(fleet.wanted) - 1}"
        (session,) = fleet.imap.sessions_of(name)
        fleet.imap.accounts[name].password = "other"
        began = time.monotonic()
        await fleet.world.change_user(partner, name, login_password="other")
        await fleet.imap.wait_for(
            lambda name=name, old=session: any(
                each.idling and each is not old for each in fleet.imap.sessions_of(name)
            )
        )
        took["changed_s"].append(time.monotonic() - began)
        began = time.monotonic()
        await fleet.world.change_user(partner, name, archived=True)
        await fleet.imap.wait_for(lambda name=name: not fleet.imap.sessions_of(name))
        took["archived_s"].append(time.monotonic() - began)
        began = time.monotonic()
        await fleet.world.change_user(partner, name, archived=False)
        await fleet.watched()
        took["restored_s"].append(time.monotonic() - began)
        if number == 0:
            fleet.send(name)
            await fleet.delivered()
    return fleet.figures() | {name: round(max(seconds), 3) for name, seconds in took.items()}


async def spill(fleet: Fleet, *, seats: int, more: int) -> Figures:
    """Users beyond all idlers' seats are counted and told of, and one idler more relieves the others."""
    await fleet.hire(3)
    await fleet.watched()
    assert await _check(fleet, 0) == 0
    fleet.send_each()
    await fleet.delivered()

    await fleet.add_users(more)
    unserved = len(fleet.wanted) - 3 * seats
    assert unserved > 0
    await fleet.watched(3 * seats)
    await eventually(lambda: _is_told(fleet, unserved), what="the unserved are counted")
    assert await _check(fleet, 1) == unserved
    assert any("users are not watched" in idler.output for idler in fleet.idlers)

    await fleet.hire()
    relieved = await fleet.watched()
    await eventually(lambda: _is_told(fleet, 0), what="nobody is unserved any more")
    assert await _check(fleet, 0) == 0
    fleet.send_each()
    await fleet.delivered()
    return fleet.figures() | {"unserved": unserved, "relieved_s": round(relieved, 1)}


async def _check(fleet: Fleet, code: int) -> int:
    """`superimap cluster --check` ends with this code; the number of unserved users that it shows."""
    ran = await asyncio.to_thread(
        subprocess.run,
        [SUPERIMAP, "cluster", "--check", "--json"],
        env=fleet.env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == code, ran.stdout + ran.stderr
    return int(json.loads(ran.stdout)["users"]["unserved"])


async def _is_told(fleet: Fleet, unserved: int) -> bool:
    seen = await cluster_status.read(fleet.db, expiry=float(fleet.env["HEARTBEAT_EXPIRY"]))
    return seen.users.unserved == unserved
