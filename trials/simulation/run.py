"""One simulation: a real session with a real database and a failing server, and the check of what came of it."""

from __future__ import annotations

import asyncio
import hashlib
import random
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.resolver import Resolver
from superimap.idler.context import IdlerContext
from superimap.idler.limits import ByteLimits, LoginLimiter
from superimap.idler.liveness import LivenessProofs
from superimap.idler.open_watches import OpenWatches
from superimap.idler.peers import Peers
from superimap.idler.session import UserSession
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Limits
from superimap.testing import ImapServer
from trials.simulation.clock import SimulatedLoop, moment
from trials.simulation.database import Database, ProcessPool, forever
from trials.simulation.faults import DAY, HOUR, ServerFaults
from trials.simulation.network import Network
from trials.simulation.plan import NEVER, Mail, Plan

SETTLING_SECONDS = 4 * HOUR
"""Seconds after the last fault in which every readable mail must be delivered: several of the longest waits."""
GIVING_UP_SECONDS = 2 * DAY
LATEST_GIVING_UP_SECONDS = GIVING_UP_SECONDS + 12 * HOUR
"""Seconds after which a hopeless mail must be given up, in addition to the time in which nothing was proven."""
PROMPT_SECONDS, RETRIED_SECONDS = HOUR / 2, 3 * HOUR
"""Seconds of a well server and a living process in which a mail is delivered, if it can be read or could not."""
LOST_ANSWERS = 0.01
_FOUND = """
    SELECT m.sha1, m.outcome, m.uid, m.detail, d.kind FROM messages m LEFT JOIN deliveries d ON d.message_id = m.id
    WHERE m.user_id = $1
"""


@dataclass
class Report:
    """What is wrong after a simulation, and figures of it."""

    seed: int
    wrong: list[str] = field(default_factory=list)
    delivered: int = 0
    given_up: int = 0
    logins: int = 0
    seconds: float = 0.0
    """Real time that the simulation took."""
    days: float = 0.0
    """Simulated time."""


class Simulation:
    """One user, the user's server, and the processes that watch it one after the other."""

    def __init__(self, plan: Plan, loop: SimulatedLoop, database: Database, settings: Settings) -> None:
        self.plan = plan
        self._loop = loop
        self._database = database
        self._settings = settings
        self._rng = random.Random(plan.seed)
        self._server = ImapServer(log_size=0)
        self._inbox = self._server.add_account(f"joe{plan.seed}", "pw").inbox
        self._faults = ServerFaults(self._inbox, self._rng)
        self._faults.outages, self._faults.bad_mails = plan.outages, plan.bad_mails
        self._server.on("*", self._faults.hook)
        self._network = Network(self._server)
        self._begins = loop.time()
        self._given_up_at: dict[bytes, float] = {}

    async def run(self, user_id: int, shard: int, idler: int) -> Report:
        """Play the plan to its end; return what is wrong."""
        with self._network.in_place_of_sockets():
            arrivals = asyncio.gather(self._deliver(), self._renumber())
            watching = asyncio.create_task(self._watch(user_id, shard, idler))
            report = Report(self.plan.seed)
            async with asyncio.TaskGroup() as checks:
                checks.create_task(self._judge(user_id, report))
                checks.create_task(self._check_prompt(user_id, report))
                checks.create_task(self._check_hopeless(user_id, report))
            watching.cancel()
            arrivals.cancel()
            await asyncio.gather(watching, arrivals, return_exceptions=True)
        report.logins = self._server.logins
        return report

    async def _sleep_until(self, at: float) -> None:
        """Sleep until `at` seconds after the beginning."""
        await asyncio.sleep(max(0.0, self._begins + at - self._loop.time()))

    async def _deliver(self) -> None:
        for mail in self.plan.mails:
            await self._sleep_until(mail.at)
            self._inbox.append(mail.raw, moment(self._loop.time()))

    async def _renumber(self) -> None:
        for uid_validity, at in enumerate(self.plan.renumberings, start=2):
            await self._sleep_until(at)
            self._inbox.set_uidvalidity(uid_validity)

    async def _watch(self, user_id: int, shard: int, idler: int) -> None:
        """Run one process after the other, each until it is killed."""
        for epoch, (at, pause) in enumerate([*self.plan.kills, (NEVER, 0.0)], start=1):
            await self._database.ask(
                "execute", "UPDATE shards SET owner = $1, epoch = $2 WHERE shard = $3", idler, epoch, shard
            )
            pool = ProcessPool(self._database, self._rng, loss=LOST_ANSWERS)
            session = UserSession(self._context(pool, shard, idler, epoch), user_id, 1)
            process = asyncio.create_task(session.run())
            try:
                await (forever() if at == NEVER else self._sleep_until(at))
            finally:
                pool.is_dead = True
                self._network.vanish()
                process.cancel()
            await self._sleep_until(at + pause)

    def _context(self, pool: ProcessPool, shard: int, idler: int, epoch: int) -> IdlerContext:
        settings = self._settings
        return IdlerContext(
            settings=settings,
            pool=pool.as_pool,
            vault=Vault.from_setting(settings.encryption_key.get_secret_value()),
            queue=cast(Any, SimpleNamespace(ring=_ring)),
            guard=cast(Any, SimpleNamespace(check=None)),
            tokens=cast(Any, SimpleNamespace(forget=_ring)),
            ownership=cast(Any, SimpleNamespace(epochs={shard: epoch}, idler=idler)),
            liveness=LivenessProofs(),
            watches=OpenWatches(),
            byte_limits=(byte_limits := ByteLimits(settings.bytes_in_flight)),
            peers=Peers(Resolver(), byte_limits),
            logins=LoginLimiter(rate=100.0, at_once=10),
            limits=Limits(literal=settings.max_email_size + 1024 * 1024),
            timing=SessionTiming(),
            tracer_keys=(),
        )

    async def _judge(self, user_id: int, report: Report) -> None:
        """When all faults are over, compare what was recorded with the mails that can be read."""
        await self._sleep_until(self.plan.settles_at + SETTLING_SECONDS)
        rows = await self._database.ask("fetch", _FOUND, user_id)
        for mail in self.plan.mails:
            digest = hashlib.sha1(mail.raw).digest()
            webhooks = [row for row in rows if row["sha1"] == digest and row["kind"] == "new_mail"]
            if mail.readable_at != NEVER and len(webhooks) != 1:
                report.wrong.append(
                    f"{len(webhooks)} webhooks for the mail of {mail.at:.0f} s: {self._fate(rows, mail)}"
                )
            report.delivered += len(webhooks)
        if not self.plan.is_hopeless and (events := [row for row in rows if row["kind"] == "events"]):
            report.wrong.append(f"{len(events)} events about readable mails")

    async def _check_prompt(self, user_id: int, report: Report) -> None:
        """Check that no mail waits for another one, nor much longer than its own fault lasts."""
        due = []
        for mail in self.plan.mails:
            if mail.readable_at != NEVER:
                seconds = PROMPT_SECONDS if mail.readable_at == mail.at else RETRIED_SECONDS
                due.append((self.plan.well_since(mail.readable_at, seconds), mail))
        for at, mail in sorted(due, key=lambda each: each[0]):
            await self._sleep_until(at)
            rows = await self._database.ask("fetch", _FOUND, user_id)
            digest = hashlib.sha1(mail.raw).digest()
            if not any(row["sha1"] == digest and row["kind"] == "new_mail" for row in rows):
                report.wrong.append(
                    f"the mail of {mail.at:.0f} s is late at {at:.0f} s: {self._fate(rows, mail)}"
                )

    def _fate(self, rows: list[Any], mail: Mail) -> str:
        uids = {each.uid for each in self._inbox.messages if each.raw == mail.raw}
        return (
            ", ".join(f"{row['outcome']} ({row['detail']})" for row in rows if row["uid"] in uids) or "no row"
        )

    async def _check_hopeless(self, user_id: int, report: Report) -> None:
        """Check that the mail that can never be read is given up once, not too early and not never."""
        if (mail := next((mail for mail in self.plan.mails if mail.readable_at == NEVER), None)) is None:
            return
        proofs = [max(each.at, each.readable_at) for each in self.plan.mails if each is not mail]
        proven_from = max(mail.at, min(proofs, default=0.0))  # until then no other mail can be read
        latest = proven_from + LATEST_GIVING_UP_SECONDS + self.plan.outage_seconds(proven_from, NEVER) * 2
        for at, is_expected in ((mail.at + GIVING_UP_SECONDS - 60.0, False), (latest, True)):
            await self._sleep_until(at)
            uid = next(each.uid for each in self._inbox.messages if each.raw == mail.raw)
            rows = [row for row in await self._database.ask("fetch", _FOUND, user_id) if row["uid"] == uid]
            events = sum(row["kind"] == "events" for row in rows)
            is_given_up = any(row["outcome"] in ("unreadable", "too_big") for row in rows)
            is_provable = len(self.plan.mails) > 1
            if is_given_up != (is_expected and is_provable) or events != is_given_up:
                report.wrong.append(
                    f"{(at - mail.at) / DAY:.2f} days after it arrived, the unreadable mail is "
                    f"{self._fate(rows, mail)} with {events} events"
                )
            report.given_up = events


async def _ring(*_args: object, **_values: object) -> bool:
    return True
