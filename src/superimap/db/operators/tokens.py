"""Tokens with which programs act for an operator: made, found and revoked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import NamedTuple

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import OPERATOR_TOKEN_PREFIX, digest, generate_operator_token
from superimap.db import audit
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Operator, OperatorToken
from superimap.domain.audit import AuditAction
from superimap.domain.operators import (
    MAX_TOKEN_DAYS,
    MAX_TOKENS,
    SIGN_IN_DAYS_OF_TOKENS,
    OperatorRole,
    allows,
)

HINT_CHARACTERS = 4
"""Random characters of a token that its hint shows after the prefix."""
MAX_NAME_CHARACTERS = 100
USE_SECONDS = 60
"""Accuracy of `last_used_at`, so that a request is not a write."""


@dataclass(frozen=True, slots=True)
class NewToken:
    """A new token, with its secret in clear, which cannot be read again."""

    token: OperatorToken
    secret: str = field(repr=False)


class ValidToken(NamedTuple):
    """A valid token with its operator."""

    token: OperatorToken
    operator: Operator


async def create(
    db: AsyncSession, operator: Operator, *, name: str, role: str, days: int, is_confirmed: bool
) -> NewToken:
    """Create a token of an operator whose row is locked. Raises Invalid, or Conflict for more than MAX_TOKENS.

    `is_confirmed`: it may also do what needs a confirmed identity.
    """
    name = _checked_name(name)
    if role not in set(OperatorRole) or not allows(OperatorRole(operator.role), OperatorRole(role)):
        raise Invalid("role", f"must be a role that is not above the operator's own, {operator.role}")
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise Invalid("days", f"must be from 1 to {MAX_TOKEN_DAYS}")
    if operator.disabled_at is not None:
        raise Conflict("A disabled operator can have no token.")
    await db.execute(
        delete(OperatorToken)
        .where(OperatorToken.operator_id == operator.id, OperatorToken.expires_at <= func.now())
        .execution_options(synchronize_session=False)
    )
    if len(await list_of(db, operator)) >= MAX_TOKENS:
        raise Conflict(f"There are {MAX_TOKENS} tokens already: revoke one first.")
    return await _insert(db, operator, name=name, role=role, days=days, is_confirmed=is_confirmed)


async def find(db: AsyncSession, secret: str) -> ValidToken | None:
    """Return the valid token with this secret, and note its use; None for any other.

    A token ends with its time, and when its operator is disabled or has a role below that of the token. A token of
    an operator whom a provider signs in rests while the last sign-in is SIGN_IN_DAYS_OF_TOKENS ago.
    """
    interval = func.make_interval(0, 0, 0, 0, 0, 0, USE_SECONDS)
    is_unnoted = or_(OperatorToken.last_used_at.is_(None), OperatorToken.last_used_at < func.now() - interval)
    statement = (
        select(OperatorToken, Operator, is_unnoted)
        .join(Operator, Operator.id == OperatorToken.operator_id)
        .where(
            OperatorToken.digest == digest(secret),
            OperatorToken.expires_at > func.now(),
            Operator.disabled_at.is_(None),
            or_(
                Operator.oidc_subject.is_(None),
                Operator.signed_in_at > func.now() - timedelta(days=SIGN_IN_DAYS_OF_TOKENS),
            ),
        )
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None or not _fits(row[0], row[1]):
        return None
    token, operator, unnoted = row
    if unnoted:
        used = update(OperatorToken).where(OperatorToken.id == token.id).values(last_used_at=func.now())
        await db.execute(used.execution_options(synchronize_session=False))
    return ValidToken(token, operator)


async def list_of(db: AsyncSession, operator: Operator) -> Sequence[OperatorToken]:
    """Return the operator's tokens, the oldest first; those that have expired too."""
    statement = select(OperatorToken).where(OperatorToken.operator_id == operator.id)
    return (await db.scalars(statement.order_by(OperatorToken.id))).all()


async def list_all(db: AsyncSession) -> list[ValidToken]:
    """Return the tokens of all operators, by address."""
    statement = select(OperatorToken, Operator).join(Operator, Operator.id == OperatorToken.operator_id)
    rows = await db.execute(statement.order_by(func.lower(Operator.email), OperatorToken.id))
    return [ValidToken(*row) for row in rows]


async def revoke(db: AsyncSession, token_id: int, *, operator: Operator | None = None) -> None:
    """End a token; with `operator`, only if it is that operator's. Raises NotFound."""
    statement = (
        select(OperatorToken, Operator)
        .join(Operator, Operator.id == OperatorToken.operator_id)
        .where(OperatorToken.id == token_id)
        .with_for_update(of=OperatorToken)
    )
    row = (await db.execute(statement)).one_or_none()
    if row is None or (operator is not None and row[1].id != operator.id):
        raise NotFound("Token not found.")
    await _delete(db, row[0], row[1])


async def revoke_unfit(db: AsyncSession, operator: Operator) -> None:
    """End the tokens of an operator who is disabled, or whose role is below that of the token."""
    for token in await list_of(db, operator):
        if operator.disabled_at is not None or not _fits(token, operator):
            await _delete(db, token, operator)


async def revoke_all(db: AsyncSession, operator: Operator) -> None:
    """End all tokens of an operator."""
    for token in await list_of(db, operator):
        await _delete(db, token, operator)


def _fits(token: OperatorToken, operator: Operator) -> bool:
    return allows(OperatorRole(operator.role), OperatorRole(token.role))


async def _insert(
    db: AsyncSession, operator: Operator, *, name: str, role: str, days: int, is_confirmed: bool
) -> NewToken:
    secret = generate_operator_token()
    token = OperatorToken(
        operator_id=operator.id,
        name=name,
        digest=digest(secret),
        hint=secret[: len(OPERATOR_TOKEN_PREFIX) + HINT_CHARACTERS],
        role=role,
        is_confirmed=is_confirmed,
        expires_at=func.now() + timedelta(days=days),
    )
    db.add(token)
    await db.flush()
    await db.refresh(token)
    await _record(db, AuditAction.OPERATOR_TOKEN_CREATE, token, operator)
    return NewToken(token, secret)


async def _delete(db: AsyncSession, token: OperatorToken, operator: Operator) -> None:
    await db.execute(delete(OperatorToken).where(OperatorToken.id == token.id))
    await _record(db, AuditAction.OPERATOR_TOKEN_REVOKE, token, operator)


async def _record(db: AsyncSession, action: AuditAction, token: OperatorToken, operator: Operator) -> None:
    names = ("name", "hint", "role", "is_confirmed", "expires_at")
    details = {name: getattr(token, name) for name in names}
    await audit.record(db, action, partner_id=None, object_id=operator.email, details=details)


def _checked_name(name: str) -> str:
    text = name.strip()
    if not text or len(text) > MAX_NAME_CHARACTERS or not text.isprintable():
        raise Invalid("name", f"must be 1 to {MAX_NAME_CHARACTERS} printable characters")
    return text
