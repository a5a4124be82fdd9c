"""Tokens of operators: made by a person with a confirmed identity, and ended with what their operator may."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from sqlalchemy import func, select, update

from superimap.db.errors import Conflict, Invalid
from superimap.db.models import AuditEntry, DashboardSession, Operator, OperatorToken
from superimap.db.operators import accounts, tokens
from superimap.domain.operators import MAX_TOKENS, OperatorRole
from tests.support.api import ApiWorld
from tests.support.dashboard import Browser, operator, signed_in

FORM = {"name": "backup <b>job</b>", "role": "operator", "days": "30", "back": "/account/tokens/new"}


async def make(person: Browser, **fields: str) -> tuple[int, str]:
    """Send the form of a new token; returns the status and the token that is shown, if any."""
    answer = await person.post("/account/tokens/new", FORM | fields, page="/account/tokens/new")
    found = re.search(r"sio_[A-Za-z0-9_-]{43}", answer.text)
    return answer.status_code, found[0] if found else ""


async def is_valid(world: ApiWorld, secret: str) -> bool:
    async with world.sessionmaker.begin() as db:
        return await tokens.find(db, secret) is not None


async def actions(world: ApiWorld) -> list[tuple[str, object]]:
    async with world.sessionmaker.begin() as db:
        of_tokens = AuditEntry.action.startswith("operator_token.")
        rows = await db.scalars(select(AuditEntry).where(of_tokens).order_by(AuditEntry.id))
        return [(row.action, row.details["name"]) for row in rows]


async def test_a_token_is_made_with_a_confirmed_identity_shown_once_and_revoked(world):
    person = await signed_in(world, OperatorRole.OPERATOR)
    owner = await signed_in(world)

    status, secret = await make(person)
    second = (await make(person, name="second"))[1]
    account = (await person.get("/account")).text
    seen_by_owner = (await owner.get("/operators/1")).text
    foreign = await owner.post("/account/tokens/1/revoke", page="/account")
    revoked = await person.post("/account/tokens/1/revoke", page="/account")
    refused = await person.post("/operators/1/tokens/2/revoke", page="/account")
    valid_before = await is_valid(world, second)
    by_owner = await owner.post("/operators/1/tokens/2/revoke", page="/operators/1")

    assert status == 200 and secret
    assert secret[:8] in account and secret not in account and secret not in seen_by_owner
    assert "backup &lt;b&gt;job" in account and "backup &lt;b&gt;job" in seen_by_owner
    assert (foreign.status_code, revoked.headers["location"]) == (404, "/admin/account?done=revoked")
    assert (refused.status_code, valid_before, by_owner.status_code) == (403, True, 303)
    assert not await is_valid(world, secret) and not await is_valid(world, second)
    made, ended = "operator_token.create", "operator_token.revoke"
    names = [FORM["name"], "second"]
    assert await actions(world) == [(made, each) for each in names] + [(ended, each) for each in names]
    async with world.sessionmaker.begin() as db:
        await db.execute(update(DashboardSession).values(stepped_up_at=None))
    late = await person.post("/account/tokens/new", FORM, page="/account")
    assert late.headers["location"] == "/admin/confirm?next=%2Faccount%2Ftokens%2Fnew"


@pytest.mark.parametrize(
    ("field", "value"),
    [("name", ""), ("name", "a" * 101), ("role", "owner"), ("role", "x"), ("days", "366"), ("days", "x")],
)
async def test_a_token_has_a_name_an_end_and_no_role_above_its_operators(world, field, value):
    person = await signed_in(world, OperatorRole.OPERATOR)

    answer = await person.post("/account/tokens/new", FORM | {field: value}, page="/account/tokens/new")

    assert answer.status_code == 422
    assert f'id="{field}-fault"' in answer.text


async def test_a_token_ends_with_its_time_and_with_what_its_operator_may(world):
    address = await operator(world, password=None)
    await operator(world, email="other@example.com", password=None)
    secrets = {}
    async with world.sessionmaker.begin() as db:
        ada = await accounts.by_email(db, address, lock=True)
        for role in OperatorRole:
            made = await tokens.create(db, ada, name=role, role=role, days=1, is_confirmed=False)
            secrets[role] = made.secret

    async def valid() -> set[OperatorRole]:
        return {role for role, secret in secrets.items() if await is_valid(world, secret)}

    assert await valid() == set(OperatorRole)
    async with world.sessionmaker.begin() as db:
        # Without the function that ends tokens: each look compares with the present role.
        await db.execute(update(Operator).where(Operator.email == address).values(role="operator"))
    assert await valid() == {OperatorRole.VIEWER, OperatorRole.OPERATOR}
    async with world.sessionmaker.begin() as db:
        await accounts.change(db, await accounts.by_email(db, address), role=OperatorRole.VIEWER)
        await accounts.change(db, await accounts.by_email(db, address), role=OperatorRole.OWNER)
    assert await valid() == {OperatorRole.VIEWER}
    async with world.sessionmaker.begin() as db:
        await db.execute(update(Operator).where(Operator.email == address).values(disabled_at=func.now()))
    assert await valid() == set()
    async with world.sessionmaker.begin() as db:
        await db.execute(update(Operator).where(Operator.email == address).values(disabled_at=None))
        await db.execute(update(OperatorToken).values(expires_at=func.now()))
    assert await valid() == set()


async def test_a_token_of_an_operator_of_a_provider_rests_without_sign_ins(world):
    address = await operator(world, password=None)
    async with world.sessionmaker.begin() as db:
        ada = await accounts.by_email(db, address, lock=True)
        made = await tokens.create(db, ada, name="backup", role="viewer", days=365, is_confirmed=False)

    async def is_valid_with(**values: object) -> bool:
        async with world.sessionmaker.begin() as db:
            await db.execute(update(Operator).where(Operator.email == address).values(**values))
        return await is_valid(world, made.secret)

    month, long_ago = func.now() - timedelta(days=29), func.now() - timedelta(days=31)
    assert await is_valid_with(signed_in_at=long_ago)
    assert not await is_valid_with(oidc_subject="https://id.example.com ada")
    assert await is_valid_with(signed_in_at=month)
    assert not await is_valid_with(signed_in_at=None)


async def test_an_operator_has_a_limited_number_of_tokens_and_none_while_disabled(world):
    address = await operator(world, password=None)
    await operator(world, email="other@example.com", password=None)

    async def add(count: int) -> None:
        async with world.sessionmaker.begin() as db:
            ada = await accounts.by_email(db, address, lock=True)
            for _ in range(count):
                await tokens.create(db, ada, name="n", role="viewer", days=1, is_confirmed=False)

    await add(MAX_TOKENS)
    with pytest.raises(Conflict, match="already"):
        await add(1)
    async with world.sessionmaker.begin() as db:
        await db.execute(update(OperatorToken).values(expires_at=func.now()))
    await add(1)
    async with world.sessionmaker.begin() as db:
        ada = await accounts.by_email(db, address)
        await accounts.change(db, ada, disabled=True)
        assert await tokens.list_all(db) == []
        with pytest.raises(Conflict, match="disabled"):
            await tokens.create(db, ada, name="n", role="viewer", days=1, is_confirmed=False)
        with pytest.raises(Invalid):
            await tokens.create(db, ada, name="\0", role="viewer", days=1, is_confirmed=False)
