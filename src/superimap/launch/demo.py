"""The demo: a mailbox, mails that arrive in it, and a receiver that verifies each webhook."""

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

WATCH_WAIT_SECONDS = 30.0
WEBHOOK_WAIT_SECONDS = 30.0
MAIL_INTERVAL_SECONDS = 3.0

PASSWORD = "demo"  # noqa: S105 - of a mail server that lives as long as the demo


@dataclass(slots=True)
class Arrival:
    """A webhook for a mail of the demo, and what is wrong with it, if anything."""

    number: int
    subject: str
    milliseconds: float
    problem: str | None = None


@dataclass(slots=True)
class Demo:
    """The mail server and the application of the demo, which would belong to others in production."""

    imap: ImapServer
    sink: WebhookSink
    api_key: str
    secret: str
    sent: dict[str, tuple[int, float]] = field(default_factory=dict)
    arrivals: asyncio.Queue[Arrival] = field(default_factory=asyncio.Queue)

    def send(self) -> None:
        """Put a new mail into the mailbox."""
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
        """Verify a webhook as an application should; returns the status to answer."""
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
async def set_up_demo(settings: Settings) -> AsyncIterator[Demo]:
    """Run a mail server and a receiver, and create a partner with one user."""
    async with ImapServer() as imap, WebhookSink() as sink:
        imap.add_account(ADDRESS, PASSWORD)
        api_key, secret = await _create_user(settings, imap, sink)
        demo = Demo(imap, sink, api_key, secret)
        sink.answer = demo.check
        yield demo


async def _create_user(settings: Settings, imap: ImapServer, sink: WebhookSink) -> tuple[str, str]:
    """Create partner, provider, connection and user; returns the partner's API key and signing secret."""
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


async def wait_until_watched(demo: Demo, stop: asyncio.Event | None = None) -> bool:
    """Wait until the demo user's session idles, for at most WATCH_WAIT_SECONDS; returns whether it does."""
    with contextlib.suppress(TimeoutError):
        await demo.imap.wait_for(
            lambda: (stop is not None and stop.is_set()) or any(each.idling for each in demo.imap.sessions),
            timeout=WATCH_WAIT_SECONDS,
        )
    return any(each.idling for each in demo.imap.sessions)


async def run_demo(demo: Demo, address: str, say: Say, *, dashboard: str | None = None) -> None:
    """Print the addresses, then send a mail every few seconds and print its webhook, until cancelled."""
    if not await wait_until_watched(demo):
        say(f"The demo mailbox is not watched after {WATCH_WAIT_SECONDS:.0f} s; see the log above.")
        return
    user = f"{address}/api/v1/connections/{CODE}/users/{TAG}"
    say(f"Swagger UI  {address}/docs")
    if dashboard is not None:
        say(f"Dashboard   {dashboard}")
    say(f"API key     {demo.api_key}")
    say(f"Try it      curl -H 'x-api-key: {demo.api_key}' {user}")
    say(f"A mail every {MAIL_INTERVAL_SECONDS:.0f} s for {ADDRESS}; Ctrl-C ends it.")
    while True:
        demo.send()
        say(format_arrival(await demo.arrivals.get()))
        await asyncio.sleep(MAIL_INTERVAL_SECONDS)


async def verify_mails(demo: Demo, mails: int, say: Say, stop: asyncio.Event) -> str | None:
    """Send `mails`, each after the webhook of the previous one; returns None if all were verified, else why not.

    Prints the latencies in both cases. Ends early when `stop` is set.
    """
    if not await wait_until_watched(demo, stop):
        late = f"the mailbox was not watched within {WATCH_WAIT_SECONDS:.0f} s"
        return "interrupted" if stop.is_set() else late
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
        say(f"{len(verified)} of {mails} mails produced a verified webhook: {format_latencies(verified)}")
    if problems := [each.problem for each in arrivals if each.problem]:
        return f"{len(problems)} webhooks were refused: {problems[0]}"
    if len(verified) < mails:
        return f"{mails - len(verified)} of {mails} mails produced no webhook"
    return None


async def _gather(demo: Demo, mails: int, say: Say) -> list[Arrival]:
    """Send the mails and return their arrivals; stops at the first that takes over WEBHOOK_WAIT_SECONDS."""
    seen: dict[int, Arrival] = {}
    with contextlib.suppress(TimeoutError):
        for number in range(1, mails + 1):
            demo.send()
            async with asyncio.timeout(WEBHOOK_WAIT_SECONDS):
                while number not in seen:
                    arrival = await demo.arrivals.get()
                    seen.setdefault(arrival.number, arrival)
            say(format_arrival(seen[number]))
    return list(seen.values())


def format_arrival(arrival: Arrival) -> str:
    """One line about an arrival, for people."""
    verdict = f"REFUSED: {arrival.problem}" if arrival.problem else "both signatures verified"
    return f"webhook {arrival.number:3}  {arrival.subject:14} {arrival.milliseconds:6.0f} ms  {verdict}"


def format_latencies(arrivals: list[Arrival]) -> str:
    """`p50 … p95 … max …` of the time from a mail's delivery to the mailbox to the arrival of its webhook."""
    times = sorted(arrival.milliseconds for arrival in arrivals)
    p95 = times[round(0.95 * (len(times) - 1))]
    return f"p50 {statistics.median(times):.0f} ms, p95 {p95:.0f} ms, max {times[-1]:.0f} ms"
