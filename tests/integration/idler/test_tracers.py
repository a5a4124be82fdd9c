"""Tracers by SMTP and APPEND, with a real IMAP and a real SMTP server: sent once, timed, judged, deleted."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import asyncpg
import pytest

from fixtures.engines import as_role
from fixtures.world import World, eventually, running
from superimap.db.privileges import Role
from superimap.db.watching import tracers as queries
from superimap.domain.tracers import SINK_URL
from superimap.idler import tracer_job
from superimap.idler.tracer_clean_up import TracerCleanUp
from superimap.imap import transport
from superimap.imap.errors import Refused
from superimap.launch import services
from tests.support import smtp
from tests.support.dovecot import Dovecot
from tests.support.smtp import Submission

PASSWORD = "secret"


@pytest.fixture
def submission(dovecot: Dovecot, monkeypatch: pytest.MonkeyPatch) -> Iterator[Submission]:
    """An SMTP server that delivers to Dovecot, whose certificates are trusted."""
    monkeypatch.setattr(transport, "shared_tls_context", dovecot.ssl_context)
    with smtp.running(dovecot.deliver, dovecot.base) as server:
        yield server


class Tracers:
    """A world with providers and mailboxes for tracers."""

    def __init__(self, world: World, dovecot: Dovecot, submission: Submission) -> None:
        self.world, self._dovecot, self._submission = world, dovecot, submission
        self.logins: dict[str, str] = {}

    async def provider(self, code: str, by: str, **values) -> None:
        port = self._submission.port
        server = {"smtp_host": "localhost", "smtp_port": port} if by == "smtp" else {}
        await self.world.provider(
            "127.0.0.1", self._dovecot.port, code=code, tracer_by=by, **(server | values)
        )

    async def mailboxes(self, partner, code: str, count: int) -> list[int]:
        """Make mailboxes with tracers; return their ids."""
        found = []
        for _ in range(count):
            login = self._dovecot.add_user(password=PASSWORD)
            self._submission.passwords[login] = PASSWORD
            await asyncio.to_thread(self._dovecot.wait_for_login, login, PASSWORD)
            user = await self.world.user(partner, login, login=login, password=PASSWORD, code=code)
            self.logins[login] = code
            found.append(user)
        await self.world.rows("UPDATE users SET enable_tracer = true WHERE id = ANY($1)", found)
        return found

    async def watching(self, count: int) -> None:
        await eventually(
            lambda: self.world.value(f"SELECT count(*) = {count} FROM users WHERE status = 'watching'"),
            within=30,
        )

    async def count(self, condition: str) -> int:
        return await self.world.value(f"SELECT count(*) FROM tracers WHERE {condition}")

    @contextlib.asynccontextmanager
    async def sent(self, number: int, *, idlers: int = 1) -> AsyncIterator[None]:
        """Run idlers until the first `number` tracers have a verdict; then run the block."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(idlers):
                await stack.enter_async_context(running(services.run_idler, self.world.settings))
            await eventually(
                lambda: self.world.value(
                    "SELECT count(verdict) = $1 FROM (SELECT verdict FROM tracers ORDER BY created_at LIMIT $1) t",
                    number,
                ),
                within=60,
            )
            yield


@pytest.fixture
def tracers(
    database_url: str, redis_url: str, dovecot: Dovecot, submission: Submission, monkeypatch
) -> Tracers:
    monkeypatch.setattr(tracer_job, "ROUND_SECONDS", 0.1)
    monkeypatch.setattr(tracer_job, "UNUSED_SECONDS", 0.1)
    settings = {
        "database_url": as_role(database_url, Role.IDLER),
        "tracer_interval": 5.0,
        "num_tracers": 50,
    }
    return Tracers(World(database_url, redis_url, settings), dovecot, submission)


async def test_of_50_tracers_all_are_detected_in_ascending_stages_and_no_webhook_is_made(tracers, submission):
    partner = await tracers.world.partner(new_mail_webhook="http://127.0.0.1:9/")
    await tracers.provider("MAIL", "smtp")
    await tracers.world.connection(partner, code="MAIL")
    users = await tracers.mailboxes(partner, "MAIL", 3)

    async with tracers.sent(50):
        made = await tracers.world.rows("SELECT * FROM tracers ORDER BY created_at LIMIT 50")

    assert {row["verdict"] for row in made} == {"detected"}
    assert {row["user_id"] for row in made} == set(users)
    for row in made:
        stages = [row[name] for name in ("created_at", "seen_at", "fetched_at", "detected_at")]
        assert stages == sorted(stages)
        assert row["created_at"] < row["accepted_at"]
        assert row["internal_date"].microsecond == 0
    gaps = [(b["created_at"] - a["created_at"]).total_seconds() for a, b in itertools.pairwise(made)]
    assert min(gaps) >= 0.1
    assert await tracers.world.value("SELECT count(*) FROM deliveries") == 0
    assert set(submission.accepted) == set(tracers.logins)


async def test_two_idlers_send_as_many_tracers_as_one(tracers):
    partner = await tracers.world.partner()
    await tracers.provider("MAIL", "smtp")
    await tracers.world.connection(partner, code="MAIL")
    await tracers.mailboxes(partner, "MAIL", 2)

    async with tracers.sent(20, idlers=2):
        made = await tracers.world.rows("SELECT created_at FROM tracers ORDER BY created_at")

    gaps = [(b[0] - a[0]).total_seconds() for a, b in itertools.pairwise(made)]
    assert min(gaps) >= 0.1


async def test_a_lost_tracer_is_missing_and_counts_for_its_provider_also_if_it_arrives_later(
    tracers, submission, dovecot, monkeypatch
):
    partner = await tracers.world.partner()
    await tracers.provider("GOOD", "smtp")
    await tracers.provider("BAD", "smtp")
    for code in ("GOOD", "BAD"):
        await tracers.world.connection(partner, code=code)
        await tracers.mailboxes(partner, code, 1)
    lost: list[tuple[str, bytes]] = []
    deliver = submission.deliver
    bad = next(login for login, code in tracers.logins.items() if code == "BAD")
    monkeypatch.setattr(
        submission, "deliver", lambda to, raw: lost.append((to, raw)) if to == bad else deliver(to, raw)
    )
    limits = queries.verdict_limits(missing=2.0)
    monkeypatch.setattr(queries, "verdict_limits", lambda: limits)

    async with tracers.sent(10):
        await eventually(lambda: tracers.count("verdict = 'missing'"))
        by_provider = await tracers.world.rows(
            "SELECT p.code, t.verdict FROM tracers t JOIN providers p ON p.id = t.provider_id"
            " WHERE t.verdict <> '' GROUP BY 1, 2 ORDER BY 1, 2"
        )
        days = await tracers.world.rows(
            "SELECT code, detected > 0, missing > 0 FROM tracer_days JOIN providers ON id = provider_id"
            " ORDER BY 1"
        )
        deliver(*lost[0])
        await eventually(lambda: tracers.count("verdict = 'missing' AND detected_at IS NOT NULL"))

    assert [tuple(row) for row in by_provider] == [("BAD", "missing"), ("GOOD", "detected")]
    assert [tuple(row) for row in days] == [("BAD", False, True), ("GOOD", True, False)]


async def test_a_mailbox_that_cannot_be_signed_in_to_is_unsendable_for_its_provider_only(tracers, submission):
    partner = await tracers.world.partner()
    for code in ("GOOD", "BAD"):
        await tracers.provider(code, "smtp")
        await tracers.world.connection(partner, code=code)
        await tracers.mailboxes(partner, code, 1)
    bad = next(login for login, code in tracers.logins.items() if code == "BAD")
    submission.passwords[bad] = "another"

    async with tracers.sent(10):
        rows = await tracers.world.rows(
            "SELECT p.code, t.verdict, t.failure FROM tracers t JOIN providers p ON p.id = t.provider_id"
            " WHERE t.verdict <> '' GROUP BY 1, 2, 3 ORDER BY 1"
        )

    assert [tuple(row) for row in rows] == [
        (
            "BAD",
            "unsendable",
            "signing in: the SMTP server answered 535 5.7.8 Authentication credentials invalid",
        ),
        ("GOOD", "detected", None),
    ]


async def test_after_refused_logins_the_pauses_of_a_mailbox_double_also_across_restarts(tracers, submission):
    tracers.world.overrides |= {"tracer_interval": 0.4, "num_tracers": 4}
    partner = await tracers.world.partner()
    await tracers.provider("MAIL", "smtp")
    await tracers.world.connection(partner, code="MAIL")
    bad, good = await tracers.mailboxes(partner, "MAIL", 2)
    login = next(iter(tracers.logins))
    submission.passwords[login] = "another"
    made = f"SELECT created_at FROM tracers WHERE user_id = {bad} ORDER BY created_at"

    async def run_until(number: int, condition: str) -> None:
        query = f"SELECT count(*) >= {number} FROM tracers WHERE user_id = {bad} AND {condition}"
        async with running(services.run_idler, tracers.world.settings):
            await eventually(lambda: tracers.world.value(query), within=30)

    await run_until(2, "failed_at < now()")
    await run_until(4, "failed_at < now()")
    refused = [*submission.refused]
    submission.passwords[login] = PASSWORD
    await run_until(3, "accepted_at < now()")
    moments = [row[0] for row in await tracers.world.rows(made)]
    gaps = [(later - earlier).total_seconds() for earlier, later in itertools.pairwise(moments)]

    assert refused == [login] * 4
    assert [gap >= pause for gap, pause in zip(gaps, (0.4, 0.8, 1.6, 3.2), strict=False)] == [True] * 4
    assert max(gaps[4:]) < 3.2
    assert await tracers.count(f"user_id = {good} AND verdict = 'detected'") > 4


async def test_a_process_that_ends_after_the_row_leaves_a_tracer_that_is_waited_for(tracers, monkeypatch):
    partner = await tracers.world.partner()
    await tracers.provider("MAIL", "smtp")
    await tracers.world.connection(partner, code="MAIL")
    await tracers.mailboxes(partner, "MAIL", 1)
    limits = queries.verdict_limits(missing=1.0, send=1.0)
    monkeypatch.setattr(queries, "verdict_limits", lambda: limits)
    hang = asyncio.Event()
    monkeypatch.setattr(tracer_job.TracerSender, "send", lambda *_: hang.wait())

    async with running(services.run_idler, tracers.world.settings):
        await eventually(lambda: tracers.count("true"))
    left = await tracers.world.rows("SELECT accepted_at, failure, verdict FROM tracers")
    monkeypatch.undo()
    monkeypatch.setattr(queries, "verdict_limits", lambda: limits)
    tracers.world.overrides["num_tracers"] = 0
    async with running(services.run_idler, tracers.world.settings):
        await eventually(lambda: tracers.count("verdict = 'unsendable'"))

    assert {tuple(row) for row in left} == {(None, None, None)}


async def test_appended_tracers_are_deleted_from_canaries_and_never_from_other_mailboxes(
    tracers, dovecot, monkeypatch
):
    limits = queries.verdict_limits(acknowledge=0.1)  # no dispatcher sends the webhooks
    monkeypatch.setattr(queries, "verdict_limits", lambda: limits)
    canary = await tracers.world.partner("canary", new_mail_webhook=SINK_URL)
    customer = await tracers.world.partner("customer", new_mail_webhook="http://127.0.0.1:9/")
    await tracers.provider("APPENDED", "append")
    await tracers.provider("SENT", "smtp")
    await tracers.world.connection(canary, code="APPENDED")
    await tracers.world.connection(customer, code="APPENDED")
    await tracers.world.connection(customer, code="SENT")
    await tracers.mailboxes(canary, "APPENDED", 1)
    (never,) = await tracers.mailboxes(customer, "APPENDED", 1)
    await tracers.mailboxes(customer, "SENT", 1)
    first, second, third = tracers.logins
    kept = dovecot.deliver(first, b"Subject: an own mail\r\n\r\n", flags="T")  # another client's mark

    async with tracers.sent(6):
        await eventually(lambda: tracers.count("clean_up = 'deleted'"))
        await eventually(lambda: tracers.count("clean_up = 'kept'"))
        deleted = await tracers.world.rows(
            "SELECT DISTINCT p.name, t.clean_up FROM tracers t JOIN partners p ON p.id = t.partner_id"
            " WHERE t.clean_up <> '' ORDER BY 1"
        )
        sent = await tracers.count(f"user_id = {never}")

    assert [tuple(row) for row in deleted] == [("canary", "deleted"), ("customer", "kept")]
    assert sent == 0
    assert kept in dovecot.flags(first)
    assert not dovecot.flags(second)
    assert set(dovecot.flags(third).values()) == {""}


async def test_a_long_tracer_passes_the_real_queue_to_the_sink_in_nine_ascending_stages(
    tracers, dovecot, database_url
):
    canary = await tracers.world.partner("canary", new_mail_webhook=SINK_URL)
    await tracers.provider("APPENDED", "append")
    await tracers.world.connection(canary, code="APPENDED")
    await tracers.mailboxes(canary, "APPENDED", 1)
    (login,) = tracers.logins
    dovecot.deliver(login, b"Subject: TRACER: 0123456789012345678901234567890123456789\r\n\r\nforged\r\n")
    sending = World(database_url, tracers.world.redis_url, encryption_key=tracers.world.encryption_key)
    sending.overrides["database_url"] = as_role(database_url, Role.DISPATCHER)

    async with running(services.run_dispatcher, sending.settings), tracers.sent(10):
        made = await tracers.world.rows("SELECT * FROM tracers ORDER BY created_at LIMIT 10")
        await eventually(
            lambda: tracers.world.value("SELECT count(*) = 0 FROM deliveries WHERE state <> 'delivered'")
        )
        forged = await tracers.world.rows(
            "SELECT m.outcome, d.state FROM messages m JOIN deliveries d ON d.message_id = m.id"
            " WHERE m.outcome <> 'tracer'"
        )

    assert [tuple(row) for row in forged] == [("delivered", "delivered")]
    for row in made:
        assert row["verdict"] == "detected"
        stages = [
            row[f"{name}_at"] for name in ("seen", "fetched", "detected", "claimed", "posted", "acknowledged")
        ]
        assert stages == sorted(stages)
        assert row["created_at"] < row["accepted_at"]
        assert row["created_at"] <= row["seen_at"]
        assert row["internal_date"] <= row["seen_at"]


async def test_an_error_of_one_tracer_or_round_ends_neither_the_job_nor_the_sessions(tracers, monkeypatch):
    partner = await tracers.world.partner()
    await tracers.provider("MAIL", "smtp")
    await tracers.world.connection(partner, code="MAIL")
    await tracers.mailboxes(partner, "MAIL", 1)
    errors = [asyncpg.ForeignKeyViolationError("the user was deleted"), ValueError("unforeseen")]

    def failing_at_first(statement: Callable[..., Awaitable[object]]) -> Callable[..., Awaitable[object]]:
        error = [errors.pop()]

        async def run(*args, **options) -> object:
            if error:
                raise error.pop()
            return await statement(*args, **options)

        return run

    for name in ("make", "record_accepted"):
        monkeypatch.setattr(queries, name, failing_at_first(getattr(queries, name)))

    async with tracers.sent(5):
        verdicts = await tracers.world.rows("SELECT verdict FROM tracers ORDER BY created_at LIMIT 5")

    assert {verdict for (verdict,) in verdicts} == {"detected"}
    assert not errors


async def test_a_mailbox_whose_tracers_cannot_be_deleted_does_not_delay_the_deletion_of_others(
    tracers, monkeypatch
):
    limits = queries.verdict_limits(acknowledge=0.1)  # no dispatcher sends the webhooks
    monkeypatch.setattr(queries, "verdict_limits", lambda: limits)
    monkeypatch.setattr(queries, "MAX_UNCLEAN", 3)
    canary = await tracers.world.partner("canary", new_mail_webhook=SINK_URL)
    await tracers.provider("APPENDED", "append")
    await tracers.world.connection(canary, code="APPENDED")
    bad, good = await tracers.mailboxes(canary, "APPENDED", 2)
    delete = TracerCleanUp._delete

    async def delete_those_of_one(self, user_id, *args) -> None:
        if user_id == bad:
            raise Refused("STORE", "NO", "read-only")
        await delete(self, user_id, *args)

    monkeypatch.setattr(TracerCleanUp, "_delete", delete_those_of_one)

    async with tracers.sent(10):
        await eventually(lambda: tracers.count(f"user_id = {bad} AND detected_at <> '-infinity'"))
        await eventually(
            lambda: tracers.world.value(
                f"SELECT count(*) > 6 FROM tracers WHERE user_id = {good} AND clean_up = 'deleted'"
            )
        )
        left = await tracers.count(f"user_id = {bad} AND clean_up <> ''")

    assert left == 0
