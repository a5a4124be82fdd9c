"""User events: each is recorded with its cause in one transaction, and is delivered once to the events URL."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.core.crypto import Place
from superimap.db.accounts.partners import NewPartner
from superimap.db.delivery import liveness
from superimap.db.watching import sessions as watching
from superimap.domain.events import ReasonCode
from superimap.domain.users import StatusChange
from superimap.idler import main
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering
from tests.integration.idler.test_watching import QUICK, idling, mail, recorded
from tests.support.proofs import own_all_shards, record_proof

URL = "https://app.example.com/events"


@pytest_asyncio.fixture
async def pool(world: World) -> AsyncIterator[asyncpg.Pool]:
    async with asyncpg.create_pool(world.database_url, min_size=1, max_size=4) as made:
        yield made


@pytest_asyncio.fixture
async def partner(world: World, imap: ImapServer) -> NewPartner:
    """A partner with URLs for new mail and for events."""
    made = await world.partner(new_mail_webhook="https://app.example.com/hook", events_webhook=URL)
    await world.provider(imap.host, imap.port)
    await world.connection(made)
    imap.add_account("joe", "pw")
    return made


@pytest_asyncio.fixture
async def joe(world: World, partner: NewPartner) -> int:
    return await world.user(partner, "joe", login="joe", password="pw")


async def recorded_events(world: World) -> list[tuple[str, bool]]:
    """Each event in order, and whether it has exactly one delivery to the events URL."""
    rows = await world.rows(
        "SELECT v.kind, count(d.id) = 1 AND bool_and(e.kind = 'events' AND d.kind = 'events'"
        " AND d.user_id = v.user_id AND d.state = 'pending' AND d.content = '') AS has_delivery"
        " FROM user_events v LEFT JOIN deliveries d ON d.event_id = v.id"
        " LEFT JOIN endpoints e ON e.id = d.endpoint_id GROUP BY v.id ORDER BY v.id"
    )
    return [(row["kind"], row["has_delivery"]) for row in rows]


async def backdate_proofs(world: World) -> None:
    await world.rows(
        "UPDATE users SET connected_at = now() - interval '1 day', status_since = now() - interval '1 day',"
        " last_proven_alive_at = now() - interval '1 day'"
    )


async def record_refusal(pool: asyncpg.Pool, user_id: int, *, version: int = 1, reason: str = "No.") -> None:
    await watching.record_refusal(
        pool, user_id, code=ReasonCode.LOGIN_REFUSED, reason=reason, version=version, retry_in=60.0
    )


async def record_session(pool: asyncpg.Pool, user_id: int, *, version: int = 1) -> None:
    await watching.record_established(pool, user_id, version=version, is_new=True)


# Silence.


async def test_stall_and_recovery_give_one_event_each_whichever_process_notices(world, pool, joe):
    await backdate_proofs(world)

    await asyncio.gather(*(liveness.mark_stalled(pool, after=900) for _ in range(3)))
    await asyncio.gather(*(record_session(pool, joe) for _ in range(3)))

    assert await recorded_events(world) == [("stalled", True), ("recovered", True)]


async def test_a_proof_of_life_that_ends_a_stall_causes_an_event(world, pool, joe):
    await backdate_proofs(world)
    await liveness.mark_stalled(pool, after=900)

    idler = await own_all_shards(pool)
    await asyncio.gather(*(record_proof(pool, joe, idler=idler) for _ in range(3)))

    assert await recorded_events(world) == [("stalled", True), ("recovered", True)]


async def test_an_event_without_its_delivery_is_rolled_back(world, pool, joe):
    await backdate_proofs(world)
    await world.rows("ALTER TABLE deliveries ADD CONSTRAINT spoilt CHECK (kind <> 'events')")

    for attempt in (liveness.mark_stalled(pool, after=900), record_refusal(pool, joe)):
        with pytest.raises(asyncpg.CheckViolationError):
            await attempt

    assert await recorded_events(world) == []
    assert await world.value("SELECT status FROM users") == "connecting"
    assert await world.value("SELECT reauth FROM users") is None


async def test_event_ids_are_ordered_by_time_like_other_webhook_ids(world, pool, joe):
    await record_refusal(pool, joe)

    id_ = await world.value("SELECT id FROM deliveries")

    assert (id_.version, id_.variant) == (7, "specified in RFC 4122")
    made = datetime.fromtimestamp((id_.int >> 80) / 1000, UTC)
    assert abs((datetime.now(UTC) - made).total_seconds()) < 60


@pytest.mark.parametrize("url", [None, URL])
async def test_without_an_events_url_events_are_recorded_without_deliveries(world, imap, pool, url):
    partner = await world.partner(events_webhook=url)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    joe = await world.user(partner, "joe", login="joe", password="pw")
    await backdate_proofs(world)

    await liveness.mark_stalled(pool, after=900)
    await record_session(pool, joe)
    await record_refusal(pool, joe)

    assert await world.value("SELECT count(*) FROM user_events") == 3
    assert await world.value("SELECT count(*) FROM deliveries") == (3 if url else 0)


# Refused logins.


async def test_a_refused_login_and_its_end_give_one_event_each_despite_repeated_logins(world, pool, joe):
    for _ in range(3):
        await record_refusal(pool, joe)
    await asyncio.gather(*(record_session(pool, joe) for _ in range(3)))
    assert await recorded_events(world) == [("reauth_required", True), ("restored", True)]

    await record_refusal(pool, joe, reason="Not any more.")
    await watching.record_status(pool, joe, StatusChange.CONNECTION_LOST, reason="no route", version=1)
    await record_refusal(pool, joe)

    (event,) = await world.rows("SELECT * FROM user_events ORDER BY id DESC LIMIT 1")
    assert (event["kind"], event["code"], event["reason"]) == (
        "reauth_required", "login_refused", "Not any more.",
    )  # fmt: skip
    assert len(await recorded_events(world)) == 3


async def test_new_credentials_through_the_api_that_are_refused_too_give_another_event(
    world, pool, partner, joe
):
    await record_refusal(pool, joe)
    await world.change_user(partner, "joe", login_password="wrong too")
    await record_refusal(pool, joe, version=2)
    await world.change_user(partner, "joe", login_password="pw")
    await record_session(pool, joe, version=3)

    assert await recorded_events(world) == [
        ("reauth_required", True),
        ("reauth_required", True),
        ("restored", True),
    ]


async def test_a_new_tag_and_an_archiving_in_between_give_no_further_event(world, pool, partner, joe):
    await record_refusal(pool, joe)
    await world.change_user(partner, "joe", tag="josef")
    await record_refusal(pool, joe, version=2)
    await world.change_user(partner, "josef", archived=True)
    await record_refusal(pool, joe, version=3)
    await world.change_user(partner, "josef", archived=False)
    await record_refusal(pool, joe, version=4)

    assert await recorded_events(world) == [("reauth_required", True)]


async def test_a_disconnect_after_a_refusal_causes_no_restored_event(world, pool, partner, joe):
    await record_refusal(pool, joe)
    await world.change_user(partner, "joe", login_password=None)
    await world.change_user(partner, "joe", login_password="pw")
    await record_session(pool, joe, version=3)

    assert await recorded_events(world) == [("reauth_required", True)]


async def test_a_session_records_why_the_person_must_sign_in_again(world, imap, pool, joe):
    imap.on("LOGIN", answering(b"%(tag)s NO [AUTHENTICATIONFAILED] Invalid credentials"))
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT count(*) FROM user_events"))

    assert await recorded_events(world) == [("reauth_required", True)]
    (event,) = await world.rows("SELECT code, reason FROM user_events")
    assert event["code"] == "login_refused"
    assert "Invalid credentials" in event["reason"]


# Mails that are too big.


async def decrypt_contents(world: World) -> list[dict[str, Any]]:
    rows = await world.rows("SELECT * FROM deliveries ORDER BY id")
    return [
        {"kind": row["kind"]}
        | json.loads(
            world.vault.open(
                row["content"], Place("deliveries", "content", row["partner_id"], str(row["id"]))
            )
        )
        for row in rows
    ]


@pytest.mark.parametrize("size", [3000, 40_000])  # 40,000 bytes are not read with the metadata
async def test_a_mail_too_big_causes_an_event_with_its_envelope_and_no_new_mail_webhook(
    world, imap, joe, size
):
    world.overrides["max_email_size"] = 2000
    async with running(services.run_idler, world.settings):
        await idling(imap)
        uid = imap.deliver("joe", mail("big one", body="x" * size))
        assert await recorded(world, 1) == [(uid, "too_big")]
        assert await world.value("SELECT last_email_at FROM users") is None
        imap.deliver("joe", mail("small"))
        await recorded(world, 2)

    oversized, small = sorted(await decrypt_contents(world), key=lambda content: content["kind"])
    assert (oversized["kind"], small["kind"]) == ("events", "new_mail")
    assert (oversized["event"], oversized["user_tag"], oversized["imap_provider_code"]) == (
        "mail_oversized",
        "joe",
        "TEST",
    )
    (row,) = await world.rows("SELECT * FROM messages WHERE outcome = 'too_big'")
    assert (oversized["uid"], oversized["uid_validity"], oversized["size"]) == (
        uid,
        row["uid_validity"],
        row["size"],
    )
    assert oversized["size"] > oversized["limit"] == 2000
    assert datetime.fromisoformat(oversized["internal_date"]) == row["internal_date"]
    assert oversized["envelope"]["subject"] == "big one"
    assert oversized["envelope"]["message_id"] == "<big-one@example.com>"
    assert await world.value("SELECT message_id FROM deliveries WHERE kind = 'events'") == row["id"]


@pytest.mark.parametrize("way", ["refuses", "ends the session"])
async def test_headers_that_cannot_be_read_leave_the_event_without_an_envelope(world, imap, joe, way):
    async def withhold(session: Any, command: Any) -> bytes | None:
        if "BODY.PEEK[HEADER]" not in repr(command.arguments):
            return None
        if way == "refuses":
            return command.tag + b" NO internal error\r\n"
        session.reset()
        return b""

    imap.on("UID FETCH", withhold)
    world.overrides["max_email_size"] = 2000
    async with running(functools.partial(main.serve, timing=QUICK), world.settings):
        await idling(imap)
        imap.deliver("joe", mail("big one", body="x" * 40_000))
        imap.deliver("joe", mail("small"))
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["too_big", "delivered"]
    (oversized,) = [each for each in await decrypt_contents(world) if each["kind"] == "events"]
    assert (oversized["event"], oversized["envelope"]) == ("mail_oversized", None)
    assert (
        await world.value("SELECT message_id FROM messages WHERE outcome = 'too_big'")
        == "<big-one@example.com>"
    )


async def test_a_mail_too_big_needs_no_events_url(world, imap, pool):
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    imap.add_account("joe", "pw")
    await world.user(partner, "joe", login="joe", password="pw")
    world.overrides["max_email_size"] = 2000
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("big one", body="x" * 3000))
        await recorded(world, 1)

    assert await world.value("SELECT count(*) FROM deliveries") == 0
