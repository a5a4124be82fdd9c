"""What does it look like? A mailbox, mails that arrive in it, and a receiver that checks each webhook."""

import asyncio
import contextlib
import email.utils
import statistics
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from email.message import EmailMessage

from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.db import engine
from superimap.db.accounts import connections, partners, providers, users
from superimap.domain.providers import Tls
from superimap.testing import ImapServer, Received, WebhookSink, verify_body_signature, verify_standard

TAG = "demo-user"
CODE = "DEMO"
ADDRESS = "ada@demo.localhost"
Say = Callable[[str], None]

WATCHED_WITHIN = 30.0
ARRIVES_WITHIN = 30.0
MAIL_EVERY = 3.0

PASSWORD = "demo"  # noqa: S105 - of a mail server that lives as long as the demo


@dataclass(slots=True)
class Arrival:
    """A webhook for a mail of ours, checked."""

    number: int
    subject: str
    milliseconds: float
    problem: str | None = None


@dataclass(slots=True)
class Demo:
    """The far ends, which would be strangers': a mail server and an application."""

    imap: ImapServer
    sink: WebhookSink
    api_key: str
    secret: str
    sent: dict[str, tuple[int, float]] = field(default_factory=dict)
    arrivals: asyncio.Queue[Arrival] = field(default_factory=asyncio.Queue)

    def send(self) -> None:
        """A new mail lies in the mailbox."""
        number = len(self.sent) + 1
        mail = EmailMessage()
        mail["Date"] = email.utils.formatdate()
        mail["From"] = "Grace Hopper <grace@demo.localhost>"
        mail["To"] = f"Ada Lovelace <{ADDRESS}>"
        mail["Subject"] = f"Demo mail {number}"
        mail["Message-ID"] = f"<{number}.{time.time_ns()}@demo.localhost>"
        mail.set_content(f"This is mail number {number}.\n")
        self.sent[mail["Message-ID"]] = (number, time.monotonic())
        self.imap.deliver(ADDRESS, mail.as_bytes().replace(b"\n", b"\r\n"))

    def check(self, received: Received) -> int:
        """Judge a webhook as a careful application would; the status to answer."""
        body = received.json
        sent = self.sent.get(str((body.get("envelope") or {}).get("message_id")))
        if sent is None:
            return 200
        problem = None
        if not verify_body_signature(body, self.api_key):
            problem = "the body's signature is wrong"
        elif not verify_standard(received.headers, received.body, self.secret):
            problem = "the webhook-signature header is wrong"
        elif body.get("user_tag") != TAG:
            problem = "the user_tag is wrong"
        elapsed = (received.at - sent[1]) * 1000
        self.arrivals.put_nowait(Arrival(sent[0], str(body["envelope"]["subject"]), elapsed, problem))
        return 400 if problem else 200


@contextlib.asynccontextmanager
async def stage(settings: Settings) -> AsyncIterator[Demo]:
    """A mail server, a receiver, and a partner with one user who is watched."""
    async with ImapServer() as imap, WebhookSink() as sink:
        imap.add_account(ADDRESS, PASSWORD)
        api_key, secret = await _introduce(settings, imap, sink)
        demo = Demo(imap, sink, api_key, secret)
        sink.answer = demo.check
        yield demo


async def _introduce(settings: Settings, imap: ImapServer, sink: WebhookSink) -> tuple[str, str]:
    """Create what an operator and an application would; the partner's API key and signing secret."""
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    async with engine.sessions(settings.database_url, pool_size=2) as sessions, sessions.begin() as db:
        made = await partners.create(db, vault, name="demo", new_mail_webhook=sink.url("/new_mail"))
        provider = await providers.create(
            db, code=CODE, title="Demo", imap_host=imap.host, imap_port=imap.port, imap_tls=Tls.NONE
        )
        linked = await connections.create(db, vault, made.partner.id, provider, {})
        await users.create(
            db,
            vault,
            linked,
            {"tag": TAG, "email": ADDRESS, "login_username": ADDRESS, "login_password": PASSWORD},
        )
        return made.api_key, made.signing_secret


async def is_watched(demo: Demo, stop: asyncio.Event | None = None) -> bool:
    """Whether the demo user's session waits in IDLE, at the latest after WATCHED_WITHIN seconds."""
    with contextlib.suppress(TimeoutError):
        await demo.imap.wait_for(
            lambda: (stop is not None and stop.is_set()) or any(each.idling for each in demo.imap.sessions),
            timeout=WATCHED_WITHIN,
        )
    return any(each.idling for each in demo.imap.sessions)


async def show(demo: Demo, address: str, say: Say) -> None:
    """For a person: where everything is, then a mail every few seconds and what came of it; for ever."""
    if not await is_watched(demo):
        say(f"The demo mailbox is not watched after {WATCHED_WITHIN:.0f} s; the log above should say why.")
        return
    user = f"{address}/api/v1/connections/{CODE}/users/{TAG}"
    say(f"Swagger UI  {address}/docs")
    say(f"API key     {demo.api_key}")
    say(f"Try it      curl -H 'x-api-key: {demo.api_key}' {user}")
    say(f"A mail every {MAIL_EVERY:.0f} s for {ADDRESS}; Ctrl-C ends it.")
    while True:
        demo.send()
        say(line(await demo.arrivals.get()))
        await asyncio.sleep(MAIL_EVERY)


async def prove(demo: Demo, mails: int, say: Say, stop: asyncio.Event) -> str | None:
    """Send `mails`, each after the webhook of the one before; None if all came verified, else what is wrong.

    Says the figures either way. Ends early when `stop` is set.
    """
    if not await is_watched(demo, stop):
        return "interrupted" if stop.is_set() else f"nobody watched the mailbox within {WATCHED_WITHIN:.0f} s"
    stopping = asyncio.create_task(stop.wait())
    gathering = asyncio.create_task(_gather(demo, mails, say))
    try:
        await asyncio.wait([stopping, gathering], return_when=asyncio.FIRST_COMPLETED)
        arrivals = await gathering if gathering.done() else []
    finally:
        stopping.cancel()
        gathering.cancel()
    verified = [each for each in arrivals if each.problem is None]
    if verified:
        say(f"{len(verified)} of {mails} mails gave a verified webhook: {summary(verified)}")
    if problems := [each.problem for each in arrivals if each.problem]:
        return f"{len(problems)} webhooks would not do: {problems[0]}"
    if len(verified) < mails:
        return f"{mails - len(verified)} of {mails} mails gave no webhook"
    return None


async def _gather(demo: Demo, mails: int, say: Say) -> list[Arrival]:
    """One arrival for each mail sent; stops at the first that does not come within ARRIVES_WITHIN seconds."""
    seen: dict[int, Arrival] = {}
    with contextlib.suppress(TimeoutError):
        for number in range(1, mails + 1):
            demo.send()
            async with asyncio.timeout(ARRIVES_WITHIN):
                while number not in seen:
                    arrival = await demo.arrivals.get()
                    seen.setdefault(arrival.number, arrival)
            say(line(seen[number]))
    return list(seen.values())


def line(arrival: Arrival) -> str:
    """An arrival, for a person."""
    verdict = f"REFUSED: {arrival.problem}" if arrival.problem else "both signatures verified"
    return f"webhook {arrival.number:3}  {arrival.subject:14} {arrival.milliseconds:6.0f} ms  {verdict}"


def summary(arrivals: list[Arrival]) -> str:
    """`p50 … p95 … max …`, from the mail lying in the mailbox to its webhook being received."""
    times = sorted(arrival.milliseconds for arrival in arrivals)
    p95 = times[round(0.95 * (len(times) - 1))]
    return f"p50 {statistics.median(times):.0f} ms, p95 {p95:.0f} ms, max {times[-1]:.0f} ms"
