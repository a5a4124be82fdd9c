"""Operators: roles, and the last owner."""

from functools import partial

import pytest

from superimap.db.errors import Conflict, Invalid
from superimap.db.operators import accounts
from superimap.domain.operators import OperatorRole


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
