"""Operators: roles, and the last owner."""

from __future__ import annotations

import re
import time
from functools import partial

import pyotp
import pytest
from sqlalchemy import update

from superimap.api.dashboard import passwords
from superimap.db.errors import Conflict, Invalid
from superimap.db.models import DashboardSession
from superimap.db.operators import accounts
from superimap.domain.operators import OperatorRole
from tests.support.api import ApiWorld
from tests.support.dashboard import PASSWORD, browser, signed_in


def found(pattern: str, page: str) -> str:
    match = re.search(pattern, page)
    assert match, page
    return match[1]


async def operator_has_password(world: ApiWorld, email: str) -> None:
    hashed = await passwords.hash_password(PASSWORD)
    async with world.sessionmaker.begin() as db:
        operator = await accounts.by_email(db, email)
        assert operator is not None
        operator.password = hashed


async def test_the_last_owner_can_be_neither_deleted_nor_disabled_nor_demoted(world):
    async with world.sessionmaker.begin() as db:
        await accounts.create(db, "ada@example.com", OperatorRole.OWNER)
        await accounts.create(db, "bob@example.com", OperatorRole.OPERATOR)
    for change in (
        accounts.delete,
        partial(accounts.change, disabled=True),
        partial(accounts.change, role=OperatorRole.VIEWER),
    ):
        with pytest.raises(Conflict, match="No owner"):
            async with world.sessionmaker.begin() as db:
                owner = await accounts.by_email(db, "ADA@example.com")
                await change(db, owner)


@pytest.mark.parametrize("email", ["", "ada", "@b.c", "a@", "a b@c.d", "a\n@b.c", "a" * 251 + "@b.c"])
async def test_an_operator_needs_an_address(world, email):
    with pytest.raises(Invalid):
        async with world.sessionmaker.begin() as db:
            await accounts.create(db, email, OperatorRole.OWNER)


async def test_two_operators_cannot_share_an_address(world):
    async with world.sessionmaker.begin() as db:
        await accounts.create(db, "ada@example.com", OperatorRole.OWNER)
    with pytest.raises(Conflict, match="already"):
        async with world.sessionmaker.begin() as db:
            await accounts.create(db, "Ada@Example.com", OperatorRole.VIEWER)


async def test_an_app_is_set_up_and_each_recovery_code_signs_in_once(world):
    owner = await signed_in(world)
    await operator_has_password(world, "owner@example.com")
    shown = (await owner.get("/account/second-factor")).text
    seed, offer = found(r"<code>([A-Z2-7]{32})</code>", shown), found(r'name="offer" value="([^"]+)"', shown)
    assert "<svg" in shown

    wrong = await owner.post(
        "/account/second-factor", {"offer": offer, "code": "000"}, page="/account/second-factor"
    )
    forged = await owner.post(
        "/account/second-factor", {"offer": f"x{offer}", "code": "000"}, page="/account/second-factor"
    )
    code = pyotp.TOTP(seed).at(time.time())
    codes = await owner.post(
        "/account/second-factor", {"offer": offer, "code": code}, page="/account/second-factor"
    )
    recovery = re.findall(r"[a-z2-9]{4}-[a-z2-9]{4}-[a-z2-9]{4}", codes.text)

    assert [each.status_code for each in (wrong, forged, codes)] == [422, 403, 200]
    assert len(set(recovery)) == 10
    for expected in (303, 422):
        guest = browser(world)
        asked = await guest.client.post(
            "/admin/sign-in", data={"email": "owner@example.com", "password": PASSWORD}
        )
        pending = found(r'name="pending" value="([^"]+)"', asked.text)
        answer = await guest.client.post(
            "/admin/second-factor", data={"pending": pending, "code": recovery[0].upper()}
        )
        assert answer.status_code == expected


async def test_only_an_owner_changes_operators_and_only_with_a_confirmed_identity(world):
    owner = await signed_in(world)
    for role in (OperatorRole.OPERATOR, OperatorRole.VIEWER):
        other = await signed_in(world, role)
        refused = await other.post("/operators/new", {"email": "eve@example.com", "role": "owner"})
        assert refused.status_code == 403
        assert "Add an operator" not in (await other.get("/operators")).text

    invited = await owner.post(
        "/operators/new", {"email": "eve@example.com", "role": "viewer"}, page="/operators"
    )
    link = found(r"link=([A-Za-z0-9_-]{43})", invited.text)
    assert (await browser(world).get("/invitation", link=link)).status_code == 200
    async with world.sessionmaker.begin() as db:
        ago = accounts.func.now() - accounts.func.make_interval(0, 0, 0, 0, 0, 6)
        await db.execute(update(DashboardSession).values(stepped_up_at=ago))
    late = await owner.post("/operators/4/delete", {"back": "/operators/4"}, page="/operators/4")
    assert (late.status_code, late.headers["location"]) == (303, "/admin/confirm?next=%2Foperators%2F4")

    await operator_has_password(world, "owner@example.com")
    wrong = await owner.post("/confirm", {"password": "x", "next": "/operators/4"}, page="/confirm")
    right = await owner.post("/confirm", {"password": PASSWORD, "next": "/operators/4"}, page="/confirm")
    assert (wrong.status_code, right.headers["location"]) == (422, "/admin/operators/4")
    gone = await owner.post("/operators/4/delete", {"back": "/operators/4"}, page="/operators/4")
    assert gone.headers["location"] == "/admin/operators?done=deleted"


async def test_sessions_are_listed_and_ended_by_their_owner_and_by_owners(world):
    owner, viewer = await signed_in(world), await signed_in(world, OperatorRole.VIEWER)
    session = found(r'name="session" value="([0-9a-f]{64})"', (await owner.get("/operators/2")).text)

    foreign = await viewer.post("/operators/1/sessions/end", page="/account")
    ended = await owner.post("/operators/2/sessions/end", {"session": session}, page="/operators/2")

    assert (foreign.status_code, ended.status_code) == (403, 303)
    assert (await viewer.get()).status_code == 303
    assert (await owner.get()).status_code == 200


async def test_a_password_is_changed_with_the_present_one_and_ends_other_sessions(world):
    owner = await signed_in(world)
    await operator_has_password(world, "owner@example.com")
    other = browser(world)
    await other.client.post("/admin/sign-in", data={"email": "owner@example.com", "password": PASSWORD})
    new = {"present": PASSWORD, "password": "some other long words"}

    wrong = await owner.post("/account/password", new | {"present": "x"}, page="/account")
    weak = await owner.post("/account/password", new | {"password": "short"}, page="/account")
    assert (await other.get()).status_code == 200
    right = await owner.post("/account/password", new, page="/account")

    assert [each.status_code for each in (wrong, weak, right)] == [422, 422, 303]
    assert (await other.get()).status_code == 303
    assert (await owner.get()).status_code == 200
