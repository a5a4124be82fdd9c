"""Messages of a user: outcome and reason of each mail, for the user's own partner only."""

from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import asyncpg
import pytest
import pytest_asyncio

from superimap.domain.events import EventKind
from superimap.domain.mails import REASONS, MailOutcome

USERS = "/api/v1/connections/PLAIN/users"
MESSAGES = f"{USERS}/ADA/messages"


class Seen:
    """Records mails as an idler does."""

    def __init__(self, db: asyncpg.Connection) -> None:
        self._db = db

    async def rows(self, sql: str, *values: object) -> list[asyncpg.Record]:
        return await self._db.fetch(sql, *values)

    async def value(self, sql: str) -> object:
        return await self._db.fetchval(sql)

    async def user(self, tag: str = "ADA") -> None:
        self._user = await self._db.fetchrow("SELECT id, partner_id FROM users WHERE tag = $1", tag)
        self._mailbox = await self._db.fetchval(
            "INSERT INTO mailboxes (partner_id, user_id, account, name) VALUES ($1, $2, 'ada', 'INBOX')"
            " RETURNING id",
            self._user["partner_id"], self._user["id"],
        )  # fmt: skip

    async def message(self, uid: int, outcome: str, **values: object) -> int:
        row = {"size": 5120, "uid_validity": 1, "message_id": f"<{uid}@example.com>", **values}
        row |= {"partner_id": self._user["partner_id"], "user_id": self._user["id"]}
        row |= {"mailbox_id": self._mailbox, "uid": uid, "outcome": outcome}
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        sql = f"INSERT INTO messages ({', '.join(row)}) VALUES ({places}) RETURNING id"
        return int(await self._db.fetchval(sql, *row.values()))

    async def delivery(self, message: int, state: str, **values: object) -> None:
        endpoint = await self._db.fetchval(
            "INSERT INTO endpoints (partner_id, kind, url) VALUES ($1, 'new_mail', 'https://a.example')"
            " ON CONFLICT (partner_id, kind) DO UPDATE SET url = excluded.url RETURNING id",
            self._user["partner_id"],
        )
        row = {
            "partner_id": self._user["partner_id"],
            "user_id": self._user["id"],
            "kind": EventKind.NEW_MAIL.value,
        }
        row |= {"message_id": message, "endpoint_id": endpoint, "state": state, **values}
        places = ", ".join(f"${number}" for number in range(1, len(row) + 1))
        await self._db.execute(
            f"INSERT INTO deliveries (id, {', '.join(row)}) VALUES (gen_random_uuid(), {places})",
            *row.values(),
        )

    async def lease(self, message: int, lasts: str) -> None:
        await self._db.execute(
            "INSERT INTO delivery_leases (endpoint_id, delivery_id, lease_until, token) SELECT endpoint_id, id,"
            " now() + $2::text::interval, gen_random_uuid() FROM deliveries WHERE message_id = $1",
            message, lasts,
        )  # fmt: skip

    async def disable(self, reason: str) -> None:
        await self._db.execute("UPDATE endpoints SET disabled_at = now(), disabled_reason = $1", reason)


@pytest_asyncio.fixture
async def seen(world, acme):
    """The user ADA of acme, with mails that were seen."""
    await acme.post(USERS, json={"tag": "ADA"})
    db = await asyncpg.connect(world.settings.database_url)
    made = Seen(db)
    await made.user()
    yield made
    await db.close()


async def test_each_message_has_its_outcome_and_reason_and_no_content(acme, seen):
    first = await seen.message(1, "delivered", sha1=b"a" * 20)
    await seen.delivery(first, "pending", attempts=3, last_code=500)
    await seen.message(2, "duplicate", sha1=b"a" * 20, duplicate_of=first)
    await seen.message(3, "too_big", detail="2097152 bytes; MAX_EMAIL_SIZE is 1048576")

    big, copy, pending = (await acme.get(MESSAGES)).json()

    assert set(pending) == {
        "id", "seen_at", "mailbox", "uid_validity", "uid", "internal_date", "size", "message_id", "outcome",
        "reason", "duplicate_of", "delivery", "stages",
    }  # fmt: skip
    assert datetime.fromisoformat(pending["seen_at"])
    assert (pending["mailbox"], pending["uid"], pending["size"], pending["message_id"]) == (
        "INBOX",
        1,
        5120,
        "<1@example.com>",
    )
    assert {name: pending["delivery"][name] for name in ("state", "attempts", "last_code", "last_error")} == {
        "state": "pending", "attempts": 3, "last_code": 500, "last_error": None,
    }  # fmt: skip
    assert pending["reason"] == "the webhook is pending; the last answer was 500 (3 attempts)"
    assert copy["reason"] == f"byte for byte the same as UID 1 of INBOX (message {first})"
    assert copy["duplicate_of"] == {
        "id": first,
        "mailbox": "INBOX",
        "uid": 1,
        "message_id": "<1@example.com>",
    }
    assert copy["delivery"] is None
    assert big["reason"] == "2097152 bytes; MAX_EMAIL_SIZE is 1048576"


async def test_the_stages_of_a_message_are_computed_from_its_times(acme, seen):
    noon = datetime(2026, 9, 21, 12, tzinfo=UTC)
    times = {"internal_date": noon + timedelta(seconds=3), "created_at": noon + timedelta(milliseconds=40)}
    mail = await seen.message(1, "delivered", recording_milliseconds=40, found_by=1, **times)
    await seen.message(2, "before_connect", internal_date=noon)
    settled = {"created_at": times["created_at"], "settled_at": noon + timedelta(seconds=9)}
    await seen.delivery(mail, "delivered", attempts=2, **settled)
    for number, seconds, milliseconds in ((1, 1, 300), (2, 8, 20)):
        await seen.rows(
            "INSERT INTO attempts (id, partner_id, delivery_id, number, started_at, milliseconds)"
            " SELECT gen_random_uuid(), partner_id, id, $1, $2, $3 FROM deliveries",
            number, noon + timedelta(seconds=seconds), milliseconds,
        )  # fmt: skip

    old, new = [message["stages"] for message in (await acme.get(MESSAGES)).json()]

    assert new == {
        "found_by": "announced",
        "found_at": "2026-09-21T12:00:00Z",
        "recorded_at": "2026-09-21T12:00:00.040000Z",
        "provider_seconds": -3.0,  # its clock is ahead
        "recording_seconds": 0.04,
        "sending_seconds": 0.96,
        "receiver_seconds": 0.02,
        "settled_seconds": 9.0,
    }
    assert old.pop("recorded_at")
    assert set(old.values()) == {None}


@pytest.mark.parametrize(
    ("state", "values", "reason"),
    [
        ("pending", {}, "the webhook is pending; there was no attempt yet"),
        (
            "pending",
            {"attempts": 1, "last_error": "timeout"},
            "the webhook is pending; the last attempt failed: timeout (1 attempt)",
        ),
        ("delivered", {"attempts": 2, "last_code": 204}, "the webhook was delivered (204, 2 attempts)"),
        ("failed", {"attempts": 17, "last_code": 503}, "the webhook failed permanently (503, 17 attempts)"),
        (
            "cancelled",
            {"last_error": "no_url"},
            "the new_mail URL was removed before the webhook was sent",
        ),
        ("cancelled", {"attempts": 1}, "the webhook was cancelled (1 attempt)"),
    ],
)
async def test_the_state_of_the_webhook_is_explained_in_words(acme, seen, state, values, reason):
    await seen.delivery(await seen.message(1, "delivered"), state, **values)

    (found,) = (await acme.get(MESSAGES)).json()

    assert found["reason"] == reason


@pytest.mark.parametrize(
    ("lasts", "reason"),
    [("1 min", "the webhook is being sent"), ("-1 ms", "the webhook is pending; there was no attempt yet")],
)
async def test_a_webhook_is_being_sent_while_its_lease_lasts(acme, seen, lasts, reason):
    await seen.delivery(message := await seen.message(1, "delivered"), "pending")
    await seen.lease(message, lasts)

    (found,) = (await acme.get(MESSAGES)).json()
    assert found["reason"] == reason


@pytest.mark.parametrize(
    ("reason", "explanation"), [("gone", "it answered 410"), ("failing", "it failed for days")]
)
async def test_a_webhook_that_waits_for_a_disabled_endpoint_says_so(acme, seen, reason, explanation):
    await seen.delivery(await seen.message(1, "delivered"), "pending", attempts=1, last_code=410)
    await seen.disable(reason)

    (found,) = (await acme.get(MESSAGES)).json()

    waits = "the webhook is pending; its endpoint is disabled because"
    assert found["reason"] == f"{waits} {explanation} (1 attempt)"


@pytest.mark.parametrize("outcome", MailOutcome)
async def test_every_outcome_has_a_reason_and_can_be_filtered_by(acme, seen, outcome):
    for uid, each in enumerate(MailOutcome, 1):
        await seen.message(uid, each)

    (found,) = (await acme.get(MESSAGES, params={"outcome": outcome})).json()

    assert (found["outcome"], found["reason"]) == (outcome, REASONS[outcome])


async def test_a_renumbered_mail_and_a_purged_original_are_explained(acme, seen):
    first = await seen.message(1, "delivered", sha1=b"a" * 20)
    await seen.message(2, "duplicate", sha1=b"b" * 20, uid_validity=2, duplicate_of=first)
    await seen.message(3, "duplicate", duplicate_of=987_654)

    purged, renumbered, _ = (await acme.get(MESSAGES)).json()

    assert (
        renumbered["reason"]
        == f"the same mail, renumbered by its server, as UID 1 of INBOX (message {first})"
    )
    assert purged["reason"] == "the same mail was seen before; its record is purged"
    assert purged["duplicate_of"] == {"id": 987_654, "mailbox": None, "uid": None, "message_id": None}


async def test_the_pages_of_messages_contain_each_message_once(acme, seen):
    for uid in range(1, 8):
        await seen.message(uid, "delivered" if uid % 2 else "gone")
    found, pages, url = [], 0, f"{MESSAGES}?limit=2&outcome=delivered"
    while url:
        answer = await acme.get(url)
        found += [message["uid"] for message in answer.json()]
        pages += 1
        url = answer.links.get("next", {}).get("url")
        await seen.message(100 + pages, "delivered")  # what comes meanwhile moves no page

    assert (found, pages) == ([7, 5, 3, 1], 2)


async def test_a_page_has_20_messages_by_default_and_200_at_most(acme, seen):
    for uid in range(1, 203):
        await seen.message(uid, "gone")

    assert len((await acme.get(MESSAGES)).json()) == 20
    assert len((await acme.get(MESSAGES, params={"limit": 200})).json()) == 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("limit", "0"),
        ("limit", "201"),
        ("limit", "x"),
        ("before", "0"),
        ("before", str(2**63)),
        ("outcome", "lost"),
    ],
)
async def test_an_invalid_parameter_is_refused_and_named(acme, seen, field, value):
    answer = await acme.get(MESSAGES, params={field: value})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_another_partners_users_and_messages_are_not_found(acme, globex, seen):
    mine = await seen.message(1, "delivered")
    without_connection = await globex.get(MESSAGES)
    await globex.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    without_user = await globex.get(MESSAGES)
    await globex.post(USERS, json={"tag": "ADA"})
    of_their_own = await globex.get(MESSAGES, params={"before": mine + 1})

    assert (without_connection.status_code, without_user.status_code) == (404, 404)
    assert without_user.json()["detail"] == "User not found for 'ADA'."
    assert of_their_own.json() == []
    assert urlsplit(str(of_their_own.url)).path == MESSAGES


async def test_two_users_of_one_partner_are_kept_apart(acme, seen):
    await seen.message(1, "delivered")
    await acme.post(USERS, json={"tag": "BOB"})

    assert (await acme.get(f"{USERS}/BOB/messages")).json() == []


@pytest.mark.parametrize("outcome", ["unreadable", "too_big", "deferred"])
async def test_a_mail_that_was_not_read_can_be_tried_again(acme, seen, outcome):
    await seen.rows("UPDATE mailboxes SET uid_validity = 1")
    message = await seen.message(1, outcome, detail="for days")
    before = await seen.value("SELECT credentials_version FROM users")

    answer = await acme.post(f"{MESSAGES}/{message}/retry")

    assert answer.status_code == 202
    assert (answer.json()["id"], answer.json()["outcome"]) == (message, "deferred")
    assert answer.json()["reason"] == "it is read again at the partner's request"
    row = (
        await seen.rows("SELECT message_id, failing_seconds, next_attempt_at <= now() FROM deferred_mails")
    )[0]
    assert tuple(row) == (message, 0.0, True)
    assert await seen.value("SELECT credentials_version FROM users") == before + 1
    assert (await acme.post(f"{MESSAGES}/{message}/retry")).status_code == 202


async def test_a_mail_with_another_outcome_or_that_cannot_be_recognised_is_not_tried_again(acme, seen):
    await seen.rows("UPDATE mailboxes SET uid_validity = 7")
    delivered = await seen.message(1, "delivered", uid_validity=7)
    known = await seen.message(2, "unreadable")
    old = await seen.message(1, "unreadable", message_id=None)

    answers = [await acme.post(f"{MESSAGES}/{each}/retry") for each in (delivered, old, old + 1, known)]

    assert [answer.status_code for answer in answers] == [409, 409, 404, 202]
    assert [answer.json()["type"].rpartition(":")[2] for answer in answers[:2]] == [
        "not-retryable",
        "renumbered",
    ]
    assert await seen.value("SELECT message_id FROM deferred_mails") == known


async def test_a_mail_of_a_folder_that_is_not_watched_any_more_is_not_tried_again(acme, seen):
    message = await seen.message(1, "unreadable")
    await seen.rows("UPDATE mailboxes SET opened_at = now(), uid_validity = 1")
    await seen.rows(
        "INSERT INTO mailboxes (user_id, partner_id, account, name, opened_at)"
        " SELECT user_id, partner_id, account, 'Sales', now() + interval '1 min' FROM mailboxes"
    )

    answer = await acme.post(f"{MESSAGES}/{message}/retry")
    await seen.rows("UPDATE mailboxes SET watched_since = now() WHERE name <> 'Sales'")
    listed = await acme.post(f"{MESSAGES}/{message}/retry")
    await seen.rows("UPDATE mailboxes SET watched_since = NULL")
    await seen.rows("UPDATE mailboxes SET opened_at = now() - interval '1 min' WHERE name = 'Sales'")
    again = await acme.post(f"{MESSAGES}/{message}/retry")

    assert (answer.status_code, listed.status_code, again.status_code) == (409, 202, 202)
    assert answer.json()["type"].endswith(":not-watched")
    assert "is no longer watched" in answer.json()["detail"]


async def test_the_reason_of_a_deferred_mail_has_the_error_and_the_next_attempt(acme, seen):
    message = await seen.message(1, "deferred")
    await seen.rows(
        "INSERT INTO deferred_mails (message_id, partner_id, user_id, mailbox_id, uid_validity, uid,"
        " found_by_date, first_failed_at, next_attempt_at, attempts, last_error)"
        " SELECT id, partner_id, user_id, mailbox_id,"
        " uid_validity, uid, false, '2026-01-01Z', '2026-01-02Z', 3, 'FETCH: NO internal error' FROM messages"
        " WHERE id = $1",
        message,
    )

    (found,) = (await acme.get(MESSAGES)).json()

    assert found["reason"] == (
        "it could not be read yet: FETCH: NO internal error (3 attempts since 2026-01-01 00:00:00Z,"
        " the next at 2026-01-02 00:00:00Z)"
    )
