"""Sweeps in the API: creation, lists, pause, resumption and cancellation, for the user's own partner only."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import urlsplit

import asyncpg
import pytest

from superimap.db.accounts import sweeps
from superimap.domain.shards import SWEEPS_CHANNEL

USERS = "/api/v1/connections/PLAIN/users"
SWEEPS = f"{USERS}/ADA/sweeps"
CREDENTIALS = {"login_username": "ada", "login_password": "secret"}


@pytest.fixture
async def ada(acme):
    """A client of the partner with the connected user ADA."""
    assert (await acme.post(USERS, json={"tag": "ADA", **CREDENTIALS})).status_code == 201
    return acme


async def test_a_sweep_is_created_as_requested_and_idlers_are_notified(world, ada):
    db = await asyncpg.connect(world.settings.database_url)
    heard: list[str] = []
    await db.add_listener(SWEEPS_CHANNEL, lambda *notice: heard.append(notice[3]))
    wanted = {
        "since": "2026-06-01T00:00:00Z", "until": "2026-07-01T00:00:00Z", "folder": "Archive", "limit": 7,
        "direction": "oldest", "dry_run": True, "again": True,
    }  # fmt: skip

    answer = await ada.post(SWEEPS, json=wanted)

    assert answer.status_code == 201
    made = answer.json()
    assert {name: made[name] for name in wanted} == wanted
    counts = {name: made[name] for name in ("total", "done", "sent", "known", "skipped", "unreadable")}
    assert counts == {"total": None, "done": 0, "sent": 0, "known": 0, "skipped": 0, "unreadable": 0}
    assert (made["state"], made["reason"], made["finished_at"]) == ("waiting", None, None)
    assert datetime.fromisoformat(made["created_at"]).tzinfo == UTC
    assert (await ada.get(f"{SWEEPS}/{made['id']}")).json() == made | {"unreadable_mails": []}
    assert heard == [str(await db.fetchval("SELECT shard FROM users WHERE tag = 'ADA'"))]
    (entry, *_) = (await ada.get("/api/v1/audit_log")).json()
    assert (entry["action"], entry["object_id"]) == ("sweep.create", str(made["id"]))
    assert entry["details"]["limit"] == 7
    await db.close()


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"since": "2026-06-01T00:00:00Z", "until": "2026-06-01T00:00:00Z"}, "until"),
        ({"since": "2026-06-01"}, "since"),
        ({"limit": 0}, "limit"),
        ({"direction": "up"}, "direction"),
        ({"folder": ""}, "folder"),
        ({"folder": "a\x07b"}, "folder"),
        ({"dry_run": "perhaps"}, "dry_run"),
    ],
)
async def test_an_error_names_its_field(ada, fields, named):
    answer = await ada.post(SWEEPS, json=fields)

    assert answer.status_code == 422
    assert [each["field"] for each in answer.json()["errors"]] == [named]


async def test_a_mailbox_has_one_active_sweep_which_is_paused_resumed_and_cancelled(ada):
    made = (await ada.post(SWEEPS, json={})).json()
    assert made["direction"] == "newest"
    second = await ada.post(SWEEPS, json={})
    states = []
    for change in ("pause", "pause", "resume", "resume", "cancel", "cancel"):
        answer = await ada.post(f"{SWEEPS}/{made['id']}/{change}")
        assert answer.status_code == 200
        states.append(answer.json()["state"])
    ended = await ada.post(f"{SWEEPS}/{made['id']}/resume")

    assert (second.status_code, second.json()["type"].rpartition(":")[2]) == (409, "sweep-active")
    assert states == ["paused", "paused", "waiting", "waiting", "cancelled", "cancelled"]
    assert (ended.status_code, ended.json()["type"].rpartition(":")[2]) == (409, "sweep-ended")
    assert (await ada.post(SWEEPS, json={})).status_code == 201


async def test_sweeps_are_listed_latest_first_in_pages_and_for_their_own_user_only(ada, globex):
    made = []
    for _ in range(3):
        made.append((await ada.post(SWEEPS, json={})).json()["id"])
        await ada.post(f"{SWEEPS}/{made[-1]}/cancel")
    await ada.post(USERS, json={"tag": "BOB", "login_username": "bob", "login_password": "secret"})

    first = await ada.get(SWEEPS, params={"limit": 2})
    link = urlsplit(first.links["next"]["url"])
    second = await ada.get(f"{link.path}?{link.query}")

    assert [each["id"] for each in first.json()] == made[:0:-1]
    assert [each["id"] for each in second.json()] == made[:1]
    assert "next" not in second.links
    assert (await ada.get(f"{USERS}/BOB/sweeps/{made[0]}")).status_code == 404
    assert (await globex.get(f"{SWEEPS}/{made[0]}")).status_code == 404
    assert (await ada.get(f"{SWEEPS}/0")).status_code == 422


async def test_a_user_who_is_not_connected_and_a_partner_with_many_sweeps_are_refused(ada, monkeypatch):
    await ada.post(USERS, json={"tag": "EVE"})
    unconnected = await ada.post(f"{USERS}/EVE/sweeps", json={})
    monkeypatch.setattr(sweeps, "MAX_KEPT_SWEEPS", 1)
    await ada.post(SWEEPS, json={})
    await ada.post(USERS, json={"tag": "BOB", "login_username": "bob", "login_password": "secret"})
    kept = await ada.post(f"{USERS}/BOB/sweeps", json={})
    monkeypatch.setattr(sweeps, "MAX_ACTIVE_SWEEPS", 1)
    active = await ada.post(f"{USERS}/BOB/sweeps", json={})

    kinds = [answer.json()["type"].rpartition(":")[2] for answer in (unconnected, kept, active)]
    assert kinds == ["not-connected", "too-many-sweeps", "too-many-sweeps"]
    assert "active" in active.json()["detail"]


async def test_the_history_of_a_connected_user_is_a_sweep_that_says_why_it_exists(acme):
    connection = await acme.patch("/api/v1/connections/PLAIN", json={"history_days": 30})
    one = await acme.post(USERS, json={"tag": "ADA", **CREDENTIALS, "history_days": 7})
    bob = {"tag": "BOB", "login_username": "bob", "login_password": "secret"}
    many = await acme.post(f"{USERS}/batch", json={"users": [bob]})
    wrong = [
        await acme.patch(f"{USERS}/ADA", json={"history_days": days}) for days in (-1, 3651, "many", 0.5)
    ]
    cleared = await acme.patch(f"{USERS}/ADA", data={"history_days": ""})
    (sweep,) = (await acme.get(SWEEPS)).json()
    (of_bob,) = (await acme.get(f"{USERS}/BOB/sweeps")).json()

    assert connection.json()["history_days"] == 30
    assert (one.json()["history_days"], many.json()["results"][0]["user"]["history_days"]) == (7, None)
    assert [answer.status_code for answer in wrong] == [422] * 4
    assert cleared.json()["history_days"] is None
    days = [
        datetime.fromisoformat(user["connected_at"]) - datetime.fromisoformat(each["since"])
        for user, each in ((one.json(), sweep), (many.json()["results"][0]["user"], of_bob))
    ]
    assert [each.days for each in days] == [7, 30]
    assert (sweep["cause"], sweep["direction"], sweep["limit"]) == ("connected", "newest", None)
    cancelled = await acme.post(f"{SWEEPS}/{sweep['id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    assert (await acme.post(SWEEPS, json={})).json()["cause"] == "requested"


async def test_days_of_history_of_a_connection_end_no_token_and_retry_no_login(acme, world):
    await acme.post(
        "/api/v1/connections",
        json={"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "id", "oauth2_client_secret": "s"},
    )
    person = {"tag": "EVE", "email": "eve@x", "oauth2_refresh_token": "r"}
    await acme.post("/api/v1/connections/GMAIL_OAUTH2/users", json=person)
    db = await asyncpg.connect(world.settings.database_url)
    await db.execute("UPDATE users SET status = 'authentication_failed'")

    async def after(change: dict) -> tuple:
        await acme.patch("/api/v1/connections/GMAIL_OAUTH2", json=change)
        return tuple(
            await db.fetchrow(
                "SELECT c.oauth2_token_version, u.status FROM connections c JOIN users u ON u.connection_id = c.id"
            )
        )

    assert await after({"history_days": 5}) == (1, "authentication_failed")
    assert await after({"oauth2_client_secret": "t"}) == (2, "connecting")
    await db.close()


async def test_mails_that_could_not_be_read_are_listed_and_tried_again_at_once_when_it_is_resumed(ada, world):
    made = (await ada.post(SWEEPS, json={})).json()
    db = await asyncpg.connect(world.settings.database_url)
    await db.execute(
        "UPDATE sweeps SET state = 'running', unreadable = 1, failures = 3, failing_since = now(),"
        " failed_at = now(), failing_seconds = 60"
    )
    await db.execute(
        "INSERT INTO sweep_mails (sweep_id, uid, reason, next_attempt_at)"
        " SELECT id, 7, 'FETCH: NO', now() + interval '1 hour' FROM sweeps"
    )
    shown = (await ada.get(f"{SWEEPS}/{made['id']}")).json()
    await ada.post(f"{SWEEPS}/{made['id']}/pause")
    resumed = (await ada.post(f"{SWEEPS}/{made['id']}/resume")).json()
    due = await db.fetchval("SELECT next_attempt_at <= now() FROM sweep_mails")
    left = await db.fetchrow("SELECT failures, failed_at, failing_seconds FROM sweeps")
    await db.close()

    (mail,) = shown["unreadable_mails"]
    assert (mail["uid"], mail["reason"], mail["attempts"], mail["given_up_at"]) == (7, "FETCH: NO", 1, None)
    assert (shown["failing_since"] is not None, resumed["failing_since"]) == (True, None)
    assert (due, tuple(left)) == (True, (0, None, 0))
