"""Users: create, list, show, change, archive, and their events."""

import asyncio
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.orm import undefer

from superimap.api.app import openapi
from superimap.core.crypto import Place
from superimap.db.models import User, UserEvent
from tests.integration.api.doorbells import rung_shards

USERS = "/api/v1/connections/PLAIN/users"
ADA = {"tag": "ADA", "email": "ada@example.com", "login_username": "ada", "login_password": "pass-1"}
FIELDS = {"tag", "email", "connect_url", "disconnect_url", "connected_at"}
ADDED = {
    "archived", "imap_host", "imap_port", "imap_tls", "status", "status_reason", "status_since",
    "last_login_at", "last_email_at", "last_proven_alive_at", "sign_in_email", "history_days", "folders",
    "change_events",
}  # fmt: skip


async def stored(world, tag="ADA"):
    async with world.sessionmaker() as db:
        found = (
            select(User).where(User.tag == tag).order_by(User.id.desc()).options(undefer(User.login_password))
        )
        return (await db.scalars(found)).first()


async def test_the_flow_of_the_readme(acme):
    created = await acme.post(USERS, data={"tag": "MY_USER"})
    shown = await acme.get(f"{USERS}/MY_USER")
    listed = await acme.get(USERS)
    archived = await acme.delete(f"{USERS}/MY_USER")
    restored = await acme.put(f"{USERS}/MY_USER", json={"archived": False})

    assert created.status_code == 201
    assert set(shown.json()) == FIELDS | ADDED
    connect = urlsplit(shown.json()["connect_url"])
    assert (connect.netloc, connect.path) == ("testserver", "/users/connect/new")
    assert set(parse_qs(connect.query)) == {"user_id", "ts", "sig"}
    assert listed.json() == [{"tag": "MY_USER", "email": None}]
    assert archived.status_code == 204
    assert (restored.json()["archived"], restored.json()["status"]) == (False, "not_connected")


async def test_a_user_with_complete_credentials_is_connected_and_its_shard_rung(acme, world):
    async with rung_shards(world.settings.database_url) as rings:
        created = await acme.post(USERS, json=ADA)
        shard = await rings.get()

    user = await stored(world)
    assert created.json()["connected_at"] is not None
    assert created.json()["status"] == "connecting"
    assert shard == str(user.shard)
    place = Place("users", "login_password", user.partner_id, str(user.id))
    assert world.vault.open_text(user.login_password, place) == "pass-1"
    assert "pass-1" not in created.text


async def test_connected_at_is_set_once_and_cleared_with_the_credentials(acme):
    first = (await acme.post(USERS, json=ADA)).json()["connected_at"]
    again = (await acme.put(f"{USERS}/ADA", json={"login_password": "pass-2"})).json()
    without = (await acme.put(f"{USERS}/ADA", json={"login_password": None})).json()
    changed_again = (await acme.put(f"{USERS}/ADA", json={"login_password": "pass-3"})).json()

    assert first == again["connected_at"]
    assert (without["connected_at"], without["status"]) == (None, "not_connected")
    assert changed_again["connected_at"] > first


async def test_only_changed_credentials_raise_the_version(acme, world):
    await acme.post(USERS, json=ADA)

    versions = [(await stored(world)).credentials_version]
    for change in ({"email": "ada@example.org"}, {"login_username": "ada"}, {"login_password": "pass-1"}):
        await acme.patch(f"{USERS}/ADA", json=change)
        versions.append((await stored(world)).credentials_version)

    assert versions == [1, 1, 1, 2]


async def test_archiving_and_restoring_set_the_status_and_ring(acme, world):
    await acme.post(USERS, json=ADA)

    async with rung_shards(world.settings.database_url) as rings:
        await acme.delete(f"{USERS}/ADA")
        archived = await stored(world)
        await acme.put(f"{USERS}/ADA", data={"archived": "false"})
        restored = await stored(world)
        rung = [await rings.get(), await rings.get()]

    assert (archived.archived, archived.status) == (True, "archived")
    assert (restored.archived, restored.status) == (False, "connecting")
    assert restored.credentials_version > archived.credentials_version
    assert rung == [str(archived.shard)] * 2


async def test_new_credentials_of_an_archived_user_do_not_restore_it(acme, world):
    await acme.post(USERS, json=ADA)
    await acme.delete(f"{USERS}/ADA")

    await acme.put(f"{USERS}/ADA", json={"login_password": "pass-2"})

    assert ((await stored(world)).archived, (await stored(world)).status) == (True, "archived")


async def test_an_oauth2_user_is_connected_by_a_refresh_token(acme, world):
    gmail = {"imap_provider_code": "GMAIL_OAUTH2", "oauth2_client_id": "i", "oauth2_client_secret": "s"}
    await acme.post("/api/v1/connections", json=gmail)
    users = "/api/v1/connections/GMAIL_OAUTH2/users"

    alone = await acme.post(users, json={"tag": "ADA", "oauth2_refresh_token": "r-1"})
    complete = await acme.put(f"{users}/ADA", json={"email": "ada@gmail.com", "login_password": "unused"})

    assert alone.json()["connected_at"] is None
    assert complete.json()["status"] == "connecting"
    user = await stored(world)
    place = Place("users", "oauth2_refresh_token", user.partner_id, str(user.id))
    assert world.vault.open_text(user.oauth2_refresh_token, place) == "r-1"
    assert user.login_password is None


@pytest.mark.parametrize("tag", ["ADA", "ada"])
async def test_tags_are_unique_regardless_of_letter_case(acme, tag):
    await acme.post(USERS, json={"tag": "ADA"})

    answer = await acme.post(USERS, json={"tag": tag})

    assert answer.status_code == 409
    assert answer.json()["errors"] == [{"field": "tag", "message": "is taken"}]


async def test_emails_are_unique_regardless_of_letter_case(acme):
    await acme.post(USERS, json=ADA)
    await acme.post(USERS, json={"tag": "OTHER"})

    created = await acme.post(USERS, json=ADA | {"tag": "T", "email": "Ada@Example.com"})
    changed = await acme.put(f"{USERS}/OTHER", json={"email": "ADA@example.com"})

    assert (created.status_code, changed.status_code) == (409, 409)
    assert changed.json()["errors"] == [{"field": "email", "message": "is taken"}]


async def test_of_two_concurrent_creations_of_a_tag_one_succeeds(acme):
    answers = await asyncio.gather(*(acme.post(USERS, json={"tag": "ADA"}) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]


async def test_a_reused_tag_means_the_live_user_and_restoring_into_it_is_a_conflict(acme):
    await acme.post(USERS, json={"tag": "ADA", "email": "old@example.com"})
    await acme.delete(f"{USERS}/ADA")
    await acme.post(USERS, json={"tag": "Ada", "email": "new@example.com"})
    exact = await acme.get(f"{USERS}/ADA")
    restored = await acme.put(f"{USERS}/ADA", json={"archived": False})
    await acme.put(f"{USERS}/Ada", json={"tag": "ADA"})

    live = await acme.get(f"{USERS}/ADA")

    assert exact.json()["email"] == "old@example.com"
    assert restored.status_code == 409
    assert live.json()["email"] == "new@example.com"


async def test_users_are_listed_by_email_with_archived_ones_and_those_without_email_last(acme):
    for tag, email in (("N", None), ("B", "b@x"), ("A", "a@x")):
        await acme.post(USERS, json={"tag": tag, "email": email})
    await acme.delete(f"{USERS}/A")

    listed = await acme.get(USERS)
    live = await acme.get(USERS, params={"archived": "false"})

    assert [user["tag"] for user in listed.json()] == ["A", "B", "N"]
    assert [user["tag"] for user in live.json()] == ["B", "N"]
    assert "link" not in listed.headers


async def test_the_pages_of_users_contain_each_user_once(acme):
    emails = ["a@x", "b@x", "c@x", None, None]
    for number, email in enumerate(emails):
        await acme.post(USERS, json={"tag": f"T{number}", "email": email})

    seen, url = [], f"{USERS}?limit=2"
    while url:
        page = await acme.get(url)
        seen += [user["tag"] for user in page.json()]
        url = page.links.get("next", {}).get("url")

    assert seen == ["T0", "T1", "T2", "T3", "T4"]


async def test_users_are_listed_in_pages_of_a_thousand(world, acme):
    async with world.sessionmaker.begin() as db:
        await db.execute(
            text(
                "INSERT INTO users (partner_id, connection_id, tag, email) "
                "SELECT c.partner_id, c.id, 'U' || n, CASE WHEN n % 2 = 0 THEN n || '@x' END "
                "FROM connections c, generate_series(1, 2500) n"
            )
        )

    sizes, seen, url = [], set(), USERS
    while url:
        page = await acme.get(url)
        sizes.append(len(page.json()))
        seen |= {user["tag"] for user in page.json()}
        url = page.links.get("next", {}).get("url")

    assert sizes == [1000, 1000, 500]
    assert len(seen) == 2500


# Lists whose length the partner cannot choose.
BOUNDED = {
    "/api/v1/connections": "one per provider",
    "/api/v1/webhooks": "one per kind",
    "/api/v1/webhooks/secret": "the latest hundred",
    "/api/v1/api_keys": "at most 200 are kept",
    "/api/v1/operator/partners/{partner_id}/quotas": "one per kind",
    "/api/v1/operator/partners/{partner_id}/connections": "one per provider",
    "/api/v1/operator/partners/{partner_id}/api_keys": "at most 200 are kept",
    "/api/v1/operator/partners/{partner_id}/signing_secrets": "the latest hundred",
    "/api/v1/operator/providers": "owners create them",
    "/api/v1/operator/operators": "owners create them",
}


def test_every_list_of_the_api_has_a_default_page():
    for path, methods in openapi()["paths"].items():
        answer = methods.get("get", {}).get("responses", {}).get("200", {}).get("content", {})
        if answer.get("application/json", {}).get("schema", {}).get("type") != "array" or path in BOUNDED:
            continue
        (limit,) = [each["schema"] for each in methods["get"]["parameters"] if each["name"] == "limit"]

        assert 1 <= limit["default"] <= limit["maximum"] <= 1000, path


async def test_a_cursor_reveals_nothing_and_works_for_one_connection_only(acme, globex):
    for tag in "AB":
        await acme.post(USERS, json={"tag": tag, "email": f"{tag}@x"})
    await globex.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    next_page = (await acme.get(USERS, params={"limit": 1, "api_key": "k"})).links["next"]["url"]
    cursor = parse_qs(urlsplit(next_page).query)["after"][0]

    foreign = await globex.get(USERS, params={"after": cursor})
    garbled = await acme.get(USERS, params={"after": "00" + cursor[2:]})

    assert b"A@x".hex() not in cursor
    assert "api_key" not in next_page
    assert (foreign.status_code, garbled.status_code) == (422, 422)


@pytest.mark.parametrize("limit", ["0", "1001", "x", "-1", "99999999999999999999"])
async def test_a_page_holds_1_to_1000_users(acme, limit):
    answer = await acme.get(USERS, params={"limit": limit})

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "limit"


@pytest.mark.parametrize("tag", ["🦄", "zażółć gęślą", "a.b", "50% & more?#", "a\\b", "x" * 255])
async def test_every_accepted_tag_can_be_addressed_in_a_url(acme, tag):
    from urllib.parse import quote

    created = await acme.post(USERS, json={"tag": tag})
    shown = await acme.get(f"{USERS}/{quote(tag, safe='')}")

    assert (created.status_code, shown.status_code, shown.json()["tag"]) == (201, 200, tag)


@pytest.mark.parametrize(
    "tag", ["", "  ", "a/b", ".", "..", "a\0b", "a\nb", "x" * 256, "\ud800", None, [], True]
)
async def test_a_tag_that_no_url_can_address_is_refused(acme, tag):
    import json

    answer = await acme.post(
        USERS, content=json.dumps({"tag": tag}), headers={"content-type": "application/json"}
    )

    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == "tag"


async def test_a_numeric_tag_is_accepted_as_text(acme):
    answer = await acme.post(USERS, json={"tag": 42})

    assert (answer.status_code, answer.json()["tag"]) == (201, "42")


async def test_only_documented_fields_can_be_set(acme, world):
    await acme.post(USERS, json=ADA | {"id": 1, "partner_id": 2, "status": "watching", "enable_tracer": True})

    user = await stored(world)

    assert (user.status, user.enable_tracer) == ("connecting", False)
    assert user.partner_id != 2


async def test_an_unknown_user_is_named(acme):
    answers = [await acme.get(f"{USERS}/NOBODY"), await acme.delete(f"{USERS}/A%00B")]

    assert [answer.status_code for answer in answers] == [404, 404]
    assert answers[0].json()["detail"] == "User not found for 'NOBODY'."


async def test_events_are_listed_newest_first_and_only_to_the_users_partner(acme, globex, world):
    await acme.post(USERS, json=ADA)
    async with world.sessionmaker.begin() as db:
        user = (await db.scalars(select(User))).one()
        for kind, code, reason in (
            ("stalled", None, "no route"),
            ("recovered", None, None),
            ("reauth_required", "access_revoked", "revoked"),
        ):
            event = UserEvent(
                partner_id=user.partner_id, user_id=user.id, kind=kind, code=code, reason=reason
            )
            db.add(event)
            await db.flush()

    events = (await acme.get(f"{USERS}/ADA/events")).json()
    last = (await acme.get(f"{USERS}/ADA/events", params={"limit": 1})).json()
    await globex.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    foreign = await globex.get(f"{USERS}/ADA/events")

    assert [(event["kind"], event["code"], event["reason"]) for event in events] == [
        ("reauth_required", "access_revoked", "revoked"),
        ("recovered", None, None),
        ("stalled", None, "no route"),
    ]
    assert last == events[:1]
    assert foreign.status_code == 404


async def test_new_credentials_end_every_backoff(acme, world):
    await acme.post(USERS, json=ADA)
    async with world.sessionmaker.begin() as db:
        await db.execute(update(User).values(retry_at=func.now() + timedelta(hours=6)))

    await acme.put(f"{USERS}/ADA", json={"login_password": "pass-2"})

    assert (await stored(world)).retry_at is None


async def test_an_api_key_cannot_guess_the_password_of_a_mailbox_through_the_idlers(world, acme, globex):
    """Over all users and spellings of the mailbox; by request as through links."""
    await globex.post("/api/v1/connections", json={"imap_provider_code": "PLAIN"})
    guess = {"login_username": "Ann+x@example.com", "login_password": "guess"}
    for tag in "ab":
        assert (await acme.post(USERS, json={"tag": tag, **guess})).status_code == 201
    answers = [await acme.patch(f"{USERS}/{tag}", json=guess) for tag in "abababababa"]
    new = await acme.post(USERS, json={"tag": "c", **guess})
    other_field = await acme.patch(f"{USERS}/a", json={"archived": True})
    other_mailbox = await acme.post(USERS, json={"tag": "d", **guess, "login_username": "bob@example.com"})
    other_partner = await globex.post(USERS, json={"tag": "a", **guess})

    assert [answer.status_code for answer in answers] == [200] * 8 + [429] * 3
    assert 0 < int(answers[-1].headers["retry-after"]) <= 600
    assert "passwords were set for this mailbox" in answers[-1].json()["detail"]
    assert [new.status_code, other_field.status_code] == [429, 200]
    assert [other_mailbox.status_code, other_partner.status_code] == [201, 201]


async def test_a_change_of_change_events_lets_the_user_start_again_with_a_new_first_look(acme, world):
    made = await acme.post(USERS, json=ADA | {"change_events": True})
    async with world.sessionmaker() as db:
        before = (await db.scalars(select(User))).one()
    same = await acme.put(f"{USERS}/ADA", json={"change_events": True})
    async with world.sessionmaker() as db:
        unchanged = (await db.scalars(select(User))).one()
    changed = await acme.put(f"{USERS}/ADA", json={"change_events": None})
    async with world.sessionmaker() as db:
        after = (await db.scalars(select(User))).one()

    assert [each.json()["change_events"] for each in (made, same, changed)] == [True, True, None]
    assert unchanged.credentials_version == before.credentials_version
    assert after.credentials_version == before.credentials_version + 1
    assert (unchanged.change_events_since, after.change_events_since is not None) == (None, True)


async def test_folders_to_watch_are_checked_stored_and_shown(acme, world):
    await acme.post(USERS, json=ADA | {"folders": ["inbox", "\\sent", "Projects/*"]})
    before = (await stored(world)).credentials_version
    same = await acme.put(f"{USERS}/ADA", json={"folders": ["INBOX", "\\Sent", "Projects/*"]})
    unchanged = await stored(world)
    changed = await acme.put(f"{USERS}/ADA", json={"folders": ["Support"]})
    after = await stored(world)
    cleared = await acme.put(f"{USERS}/ADA", data={"folders": ""})

    assert same.json()["folders"] == ["INBOX", "\\Sent", "Projects/*"]
    assert (unchanged.credentials_version, unchanged.folders_since) == (before, None)
    assert changed.json()["folders"] == ["Support"]
    assert (after.credentials_version, after.status) == (before + 1, "connecting")
    assert after.folders_since is not None
    assert cleared.json()["folders"] is None


@pytest.mark.parametrize(
    ("folders", "says"),
    [
        (["INBOX", "\\Spam"], "[1] must be one of the special uses \\All, "),
        (["INBOX", " "], "[1] must be a name, a pattern such as Projects/*, or a special use"),
        (["inbox", "INBOX"], "[1] repeats 'INBOX'; leave it out"),
        (["x" * 256], "[0] must have at most 255 characters"),
        (["a\u0000b"], "[0] must not contain control characters"),
        ([f"f{number}" for number in range(21)], "must have at most 20 entries"),
        ([7], "must be "),
    ],
)
async def test_a_folder_that_cannot_be_watched_is_named_with_its_index(acme, folders, says):
    answer = await acme.post(USERS, json=ADA | {"folders": folders})

    (fault,) = answer.json()["errors"]
    assert answer.status_code == 422
    assert fault["field"].startswith("folders")
    assert fault["message"].startswith(says)
