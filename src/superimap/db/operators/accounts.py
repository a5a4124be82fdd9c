"""Operators: created, changed, locked and unlocked."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import Select, func, select, update
from sqlalchemy import delete as sql_delete
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Operator
from superimap.db.operators import sessions, tokens
from superimap.domain.audit import AuditAction
from superimap.domain.operators import Lock, OperatorRole

MAX_EMAIL_CHARACTERS = 254
"""Longest address (RFC 5321 section 4.5.3.1.3, less the brackets of a path)."""
_MANAGEMENT_LOCK = 6_872_403_115_360_036
"""Advisory lock of changes that could leave no owner."""


async def create(db: AsyncSession, email: str, role: OperatorRole) -> Operator:
    """Create an operator who cannot sign in yet. Raises Invalid, or Conflict if the address is taken."""
    operator = Operator(email=_checked_email(email), role=role.value)
    db.add(operator)
    try:
        await db.flush()
    except IntegrityError:
        raise Conflict(f"There is an operator {email!r} already.") from None
    await db.refresh(operator)
    await _record(db, AuditAction.OPERATOR_CREATE, operator, role=role.value)
    return operator


async def by_email(db: AsyncSession, email: str, *, lock: bool = False) -> Operator | None:
    """Return the operator with this address, whatever its letter case; `lock` locks the row."""
    if "\0" in email:
        return None
    statement = select(Operator).where(func.lower(Operator.email) == func.lower(email.strip()))
    return (await db.scalars(locked(statement) if lock else statement)).one_or_none()


async def get(db: AsyncSession, operator_id: int, *, lock: bool = False) -> Operator:
    """Return the operator with this id; `lock` locks the row. Raises NotFound."""
    statement = select(Operator).where(Operator.id == operator_id)
    found = (await db.scalars(locked(statement) if lock else statement)).one_or_none()
    if found is None:
        raise NotFound("Operator not found.")
    return found


def locked(statement: Select[Operator]) -> Select[Operator]:
    """Return the statement so that it locks the rows, and reads them again.

    A session that has loaded the row before would otherwise keep the values from before the lock.
    """
    return statement.with_for_update().execution_options(populate_existing=True)


async def list_all(db: AsyncSession) -> Sequence[Operator]:
    """Return all operators by address."""
    return (await db.scalars(select(Operator).order_by(func.lower(Operator.email)))).all()


async def set_password(
    db: AsyncSession, operator: Operator, hashed: str, *, keep_session: bytes = b""
) -> None:
    """Store the hash of a new password, unlock it, and end the operator's sessions except one.

    From now on the operator signs in with it, and no longer with an OpenID provider.
    """
    operator.password, operator.refusals, operator.locked_until = hashed, 0, None
    operator.oidc_subject = None
    await sessions.end_all(db, operator_id=operator.id, keep=keep_session)
    await _record(db, AuditAction.OPERATOR_UPDATE, operator, "password")


async def set_lock(db: AsyncSession, operator: Operator, lock: Lock) -> None:
    """Store the lock of an operator whose row is locked."""
    await db.execute(
        update(Operator)
        .where(Operator.id == operator.id)
        .values(refusals=lock.refusals, locked_until=lock.until)
        .execution_options(synchronize_session=False)
    )


def role_named(name: str) -> OperatorRole:
    """Return the role with this name. Raises Invalid."""
    if name not in set(OperatorRole):
        raise Invalid("role", f"must be {' or '.join(OperatorRole)}")
    return OperatorRole(name)


def lock_of(operator: Operator) -> Lock:
    """Return the lock of an operator."""
    return Lock(operator.refusals, operator.locked_until)


async def unlock(db: AsyncSession, operator: Operator) -> None:
    """Let passwords be tried again."""
    await set_lock(db, operator, Lock())
    await _record(db, AuditAction.OPERATOR_UPDATE, operator, "locked_until")


async def note_sign_in(db: AsyncSession, operator: Operator, *, address: str, method: str) -> None:
    """Count a sign-in, which resets the refusals, and record it."""
    await db.execute(
        update(Operator)
        .where(Operator.id == operator.id)
        .values(
            refusals=0,
            locked_until=None,
            signed_in_at=func.now(),
            signed_in_from=address,
            sign_ins=Operator.sign_ins + 1,
        )
        .execution_options(synchronize_session=False)
    )
    await _record(db, AuditAction.OPERATOR_SIGN_IN, operator, address=address, method=method)


async def change(
    db: AsyncSession, operator: Operator, *, role: OperatorRole | None = None, disabled: bool | None = None
) -> None:
    """Change the role, or disable or enable. Raises Conflict if no owner would be left.

    Ends the sessions, and the tokens that the operator may no longer have.
    """
    await _lock_management(db)
    was_owner = _is_owner(operator)
    changed = dict[str, str]()
    if role is not None and role.value != operator.role:
        operator.role = role.value
        changed["role"] = role.value
    if disabled is not None and disabled != (operator.disabled_at is not None):
        operator.disabled_at = await db.scalar(select(func.now())) if disabled else None
        changed["disabled_at"] = "set" if disabled else "removed"
    if not changed:
        return
    await db.flush()
    if was_owner:
        await _require_owner(db)
    await sessions.end_all(db, operator_id=operator.id)
    await _record(db, AuditAction.OPERATOR_UPDATE, operator, *changed, role=operator.role)
    await tokens.revoke_unfit(db, operator)


async def delete(db: AsyncSession, operator: Operator) -> None:
    """Delete an operator with its sessions. Raises Conflict if no owner would be left."""
    await _lock_management(db)
    await db.execute(sql_delete(Operator).where(Operator.id == operator.id))
    if _is_owner(operator):
        await _require_owner(db)
    await _record(db, AuditAction.OPERATOR_DELETE, operator)


async def count_enabled(db: AsyncSession) -> int:
    """Return the number of operators who are not disabled."""
    return await db.scalar(select(func.count()).where(Operator.disabled_at.is_(None))) or 0


async def _lock_management(db: AsyncSession) -> None:
    await db.execute(select(func.pg_advisory_xact_lock(_MANAGEMENT_LOCK)))


def _is_owner(operator: Operator) -> bool:
    return operator.role == OperatorRole.OWNER and operator.disabled_at is None


async def _require_owner(db: AsyncSession) -> None:
    owners = select(func.count()).where(
        Operator.role == OperatorRole.OWNER.value, Operator.disabled_at.is_(None)
    )
    if not await db.scalar(owners):
        raise Conflict("No owner would be left. Make another operator an owner first.")


def _checked_email(email: str) -> str:
    text = email.strip()
    local, at, domain = text.rpartition("@")
    if not (at and local and domain) or not text.isprintable() or any(map(str.isspace, text)):
        raise Invalid("email", "must be an address, such as ada@example.com")
    if len(text) > MAX_EMAIL_CHARACTERS:
        raise Invalid("email", f"must have at most {MAX_EMAIL_CHARACTERS} characters")
    return text


async def _record(
    db: AsyncSession, action: AuditAction, operator: Operator, *fields: str, **details: str
) -> None:
    await audit.record(
        db, action, partner_id=None, object_id=operator.email, fields=fields, details=dict(details)
    )


async def now(db: AsyncSession) -> datetime:
    """Return PostgreSQL's time of this transaction."""
    moment: datetime = (await db.scalars(select(func.now()))).one()
    return moment
