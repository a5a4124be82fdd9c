"""Signing in to the dashboard by password: the lock, the session, and who else may send a form."""

from __future__ import annotations

import time

import httpx
import pyotp
import pytest
from sqlalchemy import select, update

from fixtures.engines import as_role
from superimap.api.app import create_app
from superimap.api.dashboard import second_factor
from superimap.core.crypto import Vault
from superimap.db.engine import sessions
from superimap.db.models import AuditEntry, DashboardSession, Operator
from superimap.db.operators import accounts
from superimap.db.privileges import Role
from superimap.domain.operators import MAX_REFUSALS, OperatorRole
from tests.support.api import KEY, ApiWorld, settings_for
from tests.support.dashboard import PASSWORD, browser, form_token, invitation, operator, signed_in

RIGHT = {"email": "owner@example.com", "password": PASSWORD}
WRONG = RIGHT | {"password": "four quiet cows"}


async def audit_of(world: ApiWorld) -> list[str]:
    async with world.sessionmaker.begin() as db:
        return list(await db.scalars(select(AuditEntry.action).order_by(AuditEntry.id)))


async def test_without_an_operator_the_page_says_how_to_create_one(world):
    shown = await browser(world).get("/sign-in")

    assert "superimap admins create" in shown.text


async def test_a_password_opens_a_session_and_leads_to_the_page_that_was_asked_for(world):
    await operator(world)
    guest = browser(world)

    asked = await guest.get("/cluster")
    assert (asked.status_code, asked.headers["location"]) == (303, "/admin/sign-in?next=%2Fcluster")
    answer = await guest.client.post("/admin/sign-in", data=RIGHT | {"next": "/cluster"})

    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/cluster")
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    assert (await guest.get()).status_code == 200
    assert "operator.sign_in" in await audit_of(world)


@pytest.mark.parametrize("target", ["//evil.example", "https://evil.example", "/\\evil.example", "evil"])
async def test_a_sign_in_leads_to_no_other_site(world, target):
    await operator(world)

    answer = await browser(world).client.post("/admin/sign-in", data=RIGHT | {"next": target})

    assert answer.headers["location"] == "/admin"


async def test_three_wrong_passwords_lock_the_password_with_a_warning_before_the_last(world):
    await operator(world)
    guest = browser(world)
    texts = [(await guest.client.post("/admin/sign-in", data=WRONG)).text for _ in range(MAX_REFUSALS)]

    assert "One more wrong try" in texts[1]
    assert "locked for an hour" in texts[2]
    locked = await guest.client.post("/admin/sign-in", data=RIGHT)
    assert (locked.status_code, "locked for an hour" in locked.text) == (422, True)
    assert (await audit_of(world)).count("operator.lock") == 1


async def test_a_lock_that_has_ended_gives_all_tries_back(world):
    await operator(world)
    guest = browser(world)
    for _ in range(MAX_REFUSALS):
        await guest.client.post("/admin/sign-in", data=WRONG)
    async with world.sessionmaker.begin() as db:
        await db.execute(update(Operator).values(locked_until=accounts.func.now()))

    first = await guest.client.post("/admin/sign-in", data=WRONG)

    assert "One more wrong try" not in first.text
    assert (await guest.client.post("/admin/sign-in", data=RIGHT)).status_code == 303


async def test_unknown_people_and_disabled_operators_get_the_answer_of_a_wrong_password(world):
    await operator(world)
    await operator(world, OperatorRole.VIEWER)
    async with world.sessionmaker.begin() as db:
        viewer = await accounts.by_email(db, "viewer@example.com")
        await accounts.change(db, viewer, disabled=True)
    guest = browser(world)

    answers = [
        await guest.client.post("/admin/sign-in", data={"email": email, "password": PASSWORD})
        for email in ("nobody@example.com", "viewer@example.com", "a\0b")
    ]

    assert {answer.status_code for answer in answers} == {422}
    assert all("not right" in answer.text for answer in answers)


async def test_a_second_factor_is_asked_for_and_each_code_is_accepted_once(world):
    await operator(world)
    seed = pyotp.random_base32()
    async with world.sessionmaker.begin() as db:
        owner = await accounts.by_email(db, RIGHT["email"])
        owner.totp_seed = second_factor.seal_seed(world.vault, owner, seed)
    guest = browser(world)

    async def pending() -> str:
        shown = await guest.client.post("/admin/sign-in", data=RIGHT)
        assert "superimap-admin" not in guest.client.cookies
        return shown.text.partition('name="pending" value="')[2].partition('"')[0]

    code = {"code": pyotp.TOTP(seed).at(time.time())}
    wrong = await guest.client.post(
        "/admin/second-factor", data={"pending": await pending(), "code": "abcdef"}
    )
    right = await guest.client.post("/admin/second-factor", data={"pending": await pending(), **code})
    guest.client.cookies.clear()
    again = await guest.client.post("/admin/second-factor", data={"pending": await pending(), **code})
    forged = await guest.client.post(
        "/admin/second-factor", data={"pending": f"1.{int(time.time())}.x", **code}
    )

    assert [each.status_code for each in (wrong, right, again, forged)] == [422, 303, 422, 401]
    for text in ("999.1.x", f"{'9' * 30}.1.x", f"1.{'9' * 30}.x"):
        unknown = await guest.client.post("/admin/second-factor", data={"pending": text, **code})
        assert unknown.status_code == 401


async def test_a_form_from_another_site_or_without_a_site_is_refused(world):
    await operator(world)
    guest = browser(world)
    for headers, status in (
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({}, 403),
        ({"Origin": "http://testserver"}, 303),
    ):
        guest.client.headers.pop("Sec-Fetch-Site", None)
        answer = await guest.client.post("/admin/sign-in", data=RIGHT, headers=headers)
        assert answer.status_code == status, headers


async def test_a_form_is_accepted_once_and_only_in_the_session_that_it_was_shown_in(world):
    owner, other = await signed_in(world), await signed_in(world, OperatorRole.VIEWER)
    token = form_token(await owner.get())

    foreign = await other.client.post("/admin/sign-out", data={"form": token})
    first = await owner.client.post("/admin/sign-out", data={"form": token})
    without = await other.client.post("/admin/sign-out")

    assert [each.status_code for each in (foreign, first, without)] == [403, 303, 403]
    assert (await owner.get()).status_code == 303


async def test_a_session_ends_at_once_for_a_disabled_operator_and_after_two_idle_hours(world):
    owner = await signed_in(world)
    viewer = await signed_in(world, OperatorRole.VIEWER)
    async with world.sessionmaker.begin() as db:
        await accounts.change(db, await accounts.by_email(db, "viewer@example.com"), disabled=True)
    assert (await viewer.get()).status_code == 303

    async with world.sessionmaker.begin() as db:
        two_hours = accounts.func.make_interval(0, 0, 0, 0, 2)
        await db.execute(update(DashboardSession).values(seen_at=accounts.func.now() - two_hours))
    assert (await owner.get()).status_code == 303


async def test_a_page_that_fetches_itself_does_not_keep_an_idle_session_alive(world):
    owner = await signed_in(world)
    an_hour = accounts.func.make_interval(0, 0, 0, 0, 1)

    async def is_seen_now(headers: dict[str, str]) -> bool:
        async with world.sessionmaker.begin() as db:
            await db.execute(update(DashboardSession).values(seen_at=accounts.func.now() - an_hour))
        assert (await owner.client.get("/admin", headers=headers)).status_code == 200
        async with world.sessionmaker.begin() as db:
            recently = DashboardSession.seen_at > accounts.func.now() - an_hour / 2
            return bool(await db.scalar(select(recently)))

    assert not await is_seen_now({"X-Refresh": "1"})
    assert await is_seen_now({})


async def test_an_invitation_sets_a_password_once(world):
    email = await operator(world, password=None)
    link = await invitation(world, email)
    guest = browser(world)
    fields = {"link": link, "password": PASSWORD, "again": PASSWORD}

    assert email in (await guest.get("/invitation", link=link)).text
    short = await guest.client.post(
        "/admin/invitation", data=fields | {"password": "short", "again": "short"}
    )
    differing = await guest.client.post("/admin/invitation", data=fields | {"again": f"{PASSWORD}!"})
    taken = await guest.client.post("/admin/invitation", data=fields)
    again = await guest.client.post("/admin/invitation", data=fields)

    assert [each.status_code for each in (short, differing, taken, again)] == [422, 422, 303, 404]
    assert (await guest.get()).status_code == 200


async def test_without_its_privileges_the_dashboard_says_what_to_set(database_url):
    async with sessions(as_role(database_url, Role.API)) as of_api:
        settings = settings_for(database_url)
        vault = Vault.from_setting(KEY)
        app = create_app(settings, of_api, vault)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://testserver")

        answer = await client.get("/admin/sign-in")

    assert answer.status_code == 503
    assert "DASHBOARD_DATABASE_URL" in answer.text


async def test_a_form_that_is_sent_twice_acts_once(world):
    owner = await signed_in(world)
    form = {"form": form_token(await owner.get("/account"))}

    answers = [await owner.client.post("/admin/account/sessions/end", data=form) for _ in range(2)]

    assert [each.status_code for each in answers] == [303, 409]
    assert "carried out then" in answers[1].text
