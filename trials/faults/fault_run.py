"""One run of a fault: real processes, mailboxes that get mail, and receivers whose answers are planned."""

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
from trials.faults.oracle import FaultReport, InjectedMails, PartnerKeys, assess, latencies, percentile

POSTS_IN_FLIGHT = 10  # POSTs to one endpoint at once
PASSWORD = "planted-password-7f3a"
PLANTED = "planted-in-subject"
UNSETTLED = "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending')"

AnswerPlan = int | Callable[[Received], SinkAnswer | Awaitable[SinkAnswer]]


@dataclass(frozen=True)
class Scale:
    """The size of a run; `away` is the length of an outage in seconds."""

    mails: int = 500
    users: int = 20
    away: float = 60.0
    rounds: int = 20
    judges_time: bool = True


SHORT_SCALE = Scale(mails=60, users=6, away=1.0, rounds=1, judges_time=False)


@dataclass
class FaultRun:
    """The processes, mailboxes and receivers of one run, and the record of mails and webhooks.

    The mailboxes user0, user1 … belong to the partners in turn, whose webhooks go to the paths /p0, /p1 …
    """

    name: str
    scale: Scale
    engines: Engines
    world: World
    imap: MailServer
    sink: WebhookSink
    stack: AsyncExitStack
    partners: int
    env: dict[str, str] = field(default_factory=dict)
    keys: dict[str, PartnerKeys] = field(default_factory=dict)
    injected: InjectedMails = field(default_factory=InjectedMails)
    accepted: list[Received] = field(default_factory=list)
    answers: dict[str, AnswerPlan] = field(default_factory=dict)
    processes: list[Process] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    most_duplicates: int = 0
    extra_figures: dict[str, float] = field(default_factory=dict)
    _numbers: Iterable[int] = field(default_factory=itertools.count)
    _ports: dict[int, int] = field(default_factory=dict)

    # Processes.

    async def start(self, name: str, *, output: int | None = None, **more: str) -> Process:
        """Start another idler or dispatcher; its output goes to a file, or to the descriptor `output`."""
        port = free_port()
        env = environment(
            self.world, **{"WEBHOOK_TIMEOUT": "2", "HEALTH_PORT": str(port), **self.env, **more}
        )
        process = await self.stack.enter_async_context(started(name, env=env, output=output))
        self.processes.append(process)
        self._ports[process.popen.pid] = port
        return process

    async def ready(self, process: Process, *, within: float = 30.0) -> None:
        """Wait until the /readyz of a process answers 200."""
        url = f"http://127.0.0.1:{self._ports[process.popen.pid]}/readyz"
        async with asyncio.timeout(within), httpx.AsyncClient(trust_env=False, verify=False) as http:
            while True:
                with contextlib.suppress(httpx.TransportError):
                    if (await http.get(url)).status_code == 200:
                        return
                await asyncio.sleep(0.02)

    async def readiness(self, process: Process) -> str:
        """The text of the /readyz of a process."""
        url = f"http://127.0.0.1:{self._ports[process.popen.pid]}/readyz"
        async with httpx.AsyncClient(trust_env=False, verify=False) as http:
            return (await http.get(url)).text

    async def start_workers(self) -> tuple[Process, Process]:
        """Start an idler and a dispatcher, and wait until all mailboxes are watched."""
        pair = await self.start("idler"), await self.start("dispatcher")
        await self.wait_until_watched()
        return pair

    async def wait_until_watched(self) -> None:
        """Wait until every mailbox has a session."""
        await self.imap.wait_until_watched(self.scale.users)

    # Mail.

    def send(self, count: int, users: Iterable[int] | None = None) -> None:
        """Deliver `count` mails to these users in turn, by default to all."""
        turn = itertools.cycle(users if users is not None else range(self.scale.users))
        for number, user in zip(itertools.islice(self._numbers, count), turn, strict=False):
            raw = mail(f"{PLANTED}-{number}", to=f"user{user}@example.com")
            self.injected.note(raw, path=self.path_of(user), tag=f"tag{user}")
            self.injected.at[hashlib.sha1(raw).hexdigest()] = time.time()
            self.imap.deliver(f"user{user}", raw)

    async def send_at_rate(
        self, count: int, *, rate: float = 100.0, users: Iterable[int] | None = None
    ) -> None:
        """Deliver `count` mails at `rate` per second."""
        turn = itertools.cycle(users if users is not None else range(self.scale.users))
        begun = asyncio.get_running_loop().time()
        for number in range(count):
            await asyncio.sleep(max(0.0, begun + number / rate - asyncio.get_running_loop().time()))
            self.send(1, [next(turn)])

    def path_of(self, user: int) -> str:
        """The path where this user's webhooks belong."""
        return f"/p{user % self.partners}"

    async def wait_for_webhooks(self, count: int, *, within: float = 30.0) -> None:
        """Wait until `count` webhooks were accepted."""
        async with asyncio.timeout(within):
            while len(self.accepted) < count:
                await asyncio.sleep(0.01)

    # Receivers.

    async def answer(self, received: Received) -> SinkAnswer:
        """Answer by the plan of the path, and record the webhook as accepted if the answer is a 2xx."""
        plan = self.answers.get(received.path, 200)
        result = plan if isinstance(plan, int) else plan(received)
        if isinstance(result, Awaitable):
            result = await result
        if 200 <= (result if isinstance(result, int) else result.status) < 300:
            self.accepted.append(received)
        return result

    async def set_endpoint_url(self, partner: int, url: str) -> None:
        """Change the URL of this partner's new_mail endpoint."""
        await self.world.rows(
            "UPDATE endpoints SET url = $2 FROM partners p WHERE p.id = partner_id AND p.name = $1"
            " AND kind = 'new_mail'", f"partner{partner}", url,
        )  # fmt: skip

    # The end.

    async def wait_until_settled(self, *, within: float = 60.0) -> None:
        """Wait until every mail was accepted and its delivery settled, or `within` seconds have passed."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                while self.injected.lost(self.accepted) or await self.world.value(UNSETTLED):
                    await asyncio.sleep(0.1)

    async def report(self) -> FaultReport:
        """Compare mails and webhooks. No delivery may be unsettled, no mail marked as read, no secret in a log."""
        unsettled = await self.world.value(UNSETTLED)
        seen = self.imap.count_read()
        secrets = [PASSWORD, PLANTED, *(part for keys in self.keys.values() for part in vars(keys).values())]
        leaking = {each.name for each in self.processes if any(part in each.output for part in secrets)}
        also = [
            *self.broken,
            *([f"I6: {unsettled} deliveries are not settled"] if unsettled else []),
            *([f"I7: {seen} mails were marked as read"] if seen else []),
            *([f"I7: a secret is in the log of {', '.join(sorted(leaking))}"] if leaking else []),
        ]
        return assess(
            self.name,
            self.injected,
            self.accepted,
            self.keys,
            most_duplicates=self.most_duplicates,
            also=also,
            extra_figures=self.extra_figures,
        )

    def p95(self, users: Iterable[int], *, since: float = 0.0, until: float = float("inf")) -> float:
        """The 95th percentile in milliseconds for these users' mails that arrived in a span of time."""
        span = InjectedMails(
            sent=self.injected.sent,
            at={sha1: at for sha1, at in self.injected.at.items() if since <= at <= until},
        )
        return percentile(latencies(span, self.accepted, tags=[f"tag{user}" for user in users]), 95)


def free_port() -> int:
    """A port on which no program listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def prepared_run(
    name: str, engines: Engines, scale: Scale, imap: MailServer, *, partners: int = 1, **env: str
) -> AsyncIterator[FaultRun]:
    """Prepare a run: a database, an empty Valkey, and an old mail in each mailbox, which causes no webhook."""
    world = World(await engines.database(), engines.valkey.url)
    async with WebhookSink(record=False) as sink, AsyncExitStack() as stack:
        run = FaultRun(name, scale, engines, world, imap, sink, stack, partners, env)
        sink.answer = run.answer
        await create_users(run)
        yield run
        for process in run.processes:  # the report exists: no process needs to hand over
            process.kill()


async def create_users(run: FaultRun) -> None:
    await run.world.provider(run.imap.host, run.imap.port)
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    for number in range(run.partners):
        made = await run.world.partner(f"partner{number}", new_mail_webhook=run.sink.url(f"/p{number}"))
        run.keys[f"/p{number}"] = PartnerKeys(made.api_key, made.signing_secret)
        await run.world.connection(made)
        logins = [f"user{user}" for user in range(number, run.scale.users, run.partners)]
        for login in logins:
            run.imap.add_account(login, PASSWORD)
            run.imap.deliver(login, mail("from before", to=login), internal_date=long_ago)
        await run.world.users(
            made, {login.replace("user", "tag"): login for login in logins}, password=PASSWORD
        )
