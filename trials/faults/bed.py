"""Where a fault strikes: processes as an operator starts them, mailboxes that get mail, receivers with moods."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from fixtures.world import World
from superimap.testing import Received, WebhookSink
from superimap.testing.webhook_sink import SinkAnswer
from tests.support.mails import mail
from tests.support.processes import Process, environment, started
from trials.faults.engines import Engines
from trials.faults.mail_servers import MailServer
from trials.faults.oracle import Injected, Keys, Verdict, judge, latencies, percentile

IN_FLIGHT = 10  # POSTs to one endpoint at once
PASSWORD = "planted-password-7f3a"
PLANTED = "planted-in-subject"
UNSETTLED = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending')"

Mood = int | Callable[[Received], SinkAnswer | Awaitable[SinkAnswer]]


@dataclass(frozen=True)
class Scale:
    """How much and for how long: `away` in seconds."""

    mails: int = 500
    users: int = 20
    away: float = 60.0
    rounds: int = 20
    judges_time: bool = True


SHORT = Scale(mails=60, users=6, away=1.0, rounds=1, judges_time=False)


@dataclass
class Bed:
    """Mailboxes user0, user1 … of partners in turn, whose webhooks go to the paths /p0, /p1 …"""

    name: str
    scale: Scale
    engines: Engines
    world: World
    imap: MailServer
    sink: WebhookSink
    stack: AsyncExitStack
    partners: int
    env: dict[str, str] = field(default_factory=dict)
    keys: dict[str, Keys] = field(default_factory=dict)
    injected: Injected = field(default_factory=Injected)
    accepted: list[Received] = field(default_factory=list)
    moods: dict[str, Mood] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    most_duplicates: int = 0
    more: dict[str, float] = field(default_factory=dict)
    _numbers: Iterable[int] = field(default_factory=itertools.count)
    _ports: dict[int, int] = field(default_factory=dict)

    # Processes.

    async def start(self, name: str, **more: str) -> Process:
        """Another idler or dispatcher."""
        port = free_port()
        env = environment(
            self.world, **{"WEBHOOK_TIMEOUT": "2", "HEALTH_PORT": str(port), **self.env, **more}
        )
        process = await self.stack.enter_async_context(started(name, env=env))
        self.processes.append(process)
        self._ports[process.popen.pid] = port
        return process

    async def ready(self, process: Process, *, within: float = 30.0) -> None:
        """Until its /readyz says so."""
        url = f"http://127.0.0.1:{self._ports[process.popen.pid]}/readyz"
        async with asyncio.timeout(within), httpx.AsyncClient(trust_env=False) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(url)).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def both(self) -> tuple[Process, Process]:
        """An idler and a dispatcher, all mailboxes watched."""
        pair = await self.start("idler"), await self.start("dispatcher")
        await self.watched()
        return pair

    async def watched(self) -> None:
        """Until every mailbox has a session."""
        await self.imap.watched(self.scale.users)

    # Mail.

    def send(self, count: int, users: Iterable[int] | None = None) -> None:
        """So many mails, to these users in turn or to all."""
        turn = itertools.cycle(users if users is not None else range(self.scale.users))
        for number, user in zip(itertools.islice(self._numbers, count), turn, strict=False):
            raw = mail(f"{PLANTED}-{number}", to=f"user{user}@example.com")
            self.injected.note(raw, path=self.path_of(user), tag=f"tag{user}")
            self.injected.at[hashlib.sha1(raw).hexdigest()] = time.time()
            self.imap.deliver(f"user{user}", raw)

    async def pour(self, count: int, *, rate: float = 100.0, users: Iterable[int] | None = None) -> None:
        """So many mails, at `rate` a second."""
        turn = itertools.cycle(users if users is not None else range(self.scale.users))
        begun = asyncio.get_running_loop().time()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / rate - asyncio.get_running_loop().time()))
            self.send(1, [next(turn)])

    def path_of(self, user: int) -> str:
        """Where this user's webhooks belong."""
        return f"/p{user % self.partners}"

    async def arrived(self, count: int, *, within: float = 30.0) -> None:
        """Until so many webhooks were accepted."""
        async with asyncio.timeout(within):
            while len(self.accepted) < count:
                await asyncio.sleep(0.01)

    # Receivers.

    async def answer(self, received: Received) -> SinkAnswer:
        """By the path's mood; what is answered by 2xx is accepted."""
        mood = self.moods.get(received.path, 200)
        result = mood if isinstance(mood, int) else mood(received)
        if isinstance(result, Awaitable):
            result = await result
        if 200 <= (result if isinstance(result, int) else result.status) < 300:
            self.accepted.append(received)
        return result

    async def aim(self, partner: int, url: str) -> None:
        """From now on this partner's webhooks go there."""
        await self.world.rows(
            "UPDATE endpoints SET url = $2 FROM partners p WHERE p.id = partner_id AND p.name = $1"
            " AND kind = 'new_mail'", f"partner{partner}", url,
        )  # fmt: skip

    # The end.

    async def settled(self, *, within: float = 60.0) -> None:
        """Until every mail was accepted and recorded as such, or the time is over: the oracle sees it then."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.injected.lost(self.accepted) or await self.world.value(UNSETTLED):
                    await asyncio.sleep(0.1)

    async def verdict(self) -> Verdict:
        """What the oracle says. Nothing may be owed any more, marked as read, or told by a log."""
        owed = await self.world.value(UNSETTLED)
        seen = self.imap.seen()
        secrets = [PASSWORD, PLANTED, *(part for keys in self.keys.values() for part in vars(keys).values())]
        told = {each.name for each in self.processes if any(part in each.output for part in secrets)}
        also = [
            *self.broken,
            *([f"I6: {owed} deliveries are not settled"] if owed else []),
            *([f"I7: {seen} mails were marked as read"] if seen else []),
            *([f"I7: a secret stands in the log of {', '.join(sorted(told))}"] if told else []),
        ]
        return judge(
            self.name,
            self.injected,
            self.accepted,
            self.keys,
            most_duplicates=self.most_duplicates,
            also=also,
            more=self.more,
        )

    def p95(self, users: Iterable[int], *, since: float = 0.0, until: float = float("inf")) -> float:
        """Of these users' mails that came in a span of time, in milliseconds."""
        span = Injected(
            sent=self.injected.sent,
            at={sha1: at for sha1, at in self.injected.at.items() if since <= at <= until},
        )
        return percentile(latencies(span, self.accepted, tags=[f"tag{user}" for user in users]), 95)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def laid(
    name: str, engines: Engines, scale: Scale, imap: MailServer, *, partners: int = 1, **env: str
) -> AsyncIterator[Bed]:
    """A bed of its own database, an empty Valkey, and mailboxes with an old mail each that nobody asked for."""
    world = World(await engines.database(), engines.valkey.url)
    async with WebhookSink(record=False) as sink, AsyncExitStack() as stack:
        bed = Bed(name, scale, engines, world, imap, sink, stack, partners, env)
        sink.answer = bed.answer
        await people(bed)
        yield bed
        for process in bed.processes:  # the verdict is spoken: nobody has to hand over
            process.kill()


async def people(bed: Bed) -> None:
    await bed.world.provider(bed.imap.host, bed.imap.port)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    for number in range(bed.partners):
        made = await bed.world.partner(f"partner{number}", new_mail_webhook=bed.sink.url(f"/p{number}"))
        bed.keys[f"/p{number}"] = Keys(made.api_key, made.signing_secret)
        await bed.world.connection(made)
        logins = [f"user{user}" for user in range(number, bed.scale.users, bed.partners)]
        for login in logins:
            bed.imap.add_account(login, PASSWORD)
            bed.imap.deliver(login, mail("from before", to=login), internal_date=long_ago)
        await bed.world.users(
            made, {login.replace("user", "tag"): login for login in logins}, password=PASSWORD
        )
