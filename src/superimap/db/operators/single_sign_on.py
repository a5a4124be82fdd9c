"""Operators who sign in with an OpenID provider: found by issuer and subject, created, linked, and their roles."""

from dataclasses import dataclass

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import Conflict, Invalid
from superimap.db.models import DashboardLink, Operator, RecoveryCode
from superimap.db.operators import accounts, sessions, tokens
from superimap.domain.audit import AuditAction
from superimap.domain.operators import OperatorRole, SignedInPerson

METHOD = "single sign-on"

_NO_GROUP = (
    "None of your groups may sign in here. Ask an owner of this installation, or who manages your groups at the "
    "provider."
)
_DISABLED = "Your account is disabled. Ask an owner to enable it."
_LAST_OWNER = (
    "You are the last owner of this installation, and in no group of owners any more. Make somebody else an owner "
    "first, such as with `superimap admins create`."
)
_TAKEN = (
    "The account with your address signs in without the provider. Sign in to it, and link it to the provider on "
    "the page of your account."
)
_NO_EMAIL = "The provider does not vouch for your email address, which a new account needs."
_OTHER_ACCOUNT = "This person at the provider is linked to another account."


@dataclass(frozen=True, slots=True)
class SignInDecision:
    """The operator who may sign in, or the sentence that says why nobody may."""

    operator: Operator | None = None
    fault: str = ""


def subject_of(person: SignedInPerson) -> str:
    """Return the text by which the person is stored. An issuer has no blanks, so that it is unique."""
    return f"{person.issuer} {person.subject}"


async def admit(db: AsyncSession, person: SignedInPerson, role: OperatorRole | None) -> SignInDecision:
    """Return the operator of this person, created if need be, with the role of the person's groups now.

    A refusal is recorded in the audit log, and ends sessions and tokens of an operator whom no group admits. An
    account with the person's address is linked only if an owner has invited the address and it is unused.
    """
    statement = select(Operator).where(Operator.oidc_subject == subject_of(person))
    operator = (await db.scalars(accounts.locked(statement))).one_or_none()
    if operator is None:
        return await _admit_new(db, person, role)
    return await _admit_known(db, operator, role)


async def link(
    db: AsyncSession, operator: Operator, person: SignedInPerson, role: OperatorRole | None
) -> SignInDecision:
    """Link an operator, whose row is locked, to a person: from now on only the provider signs the operator in.

    The password and the second factor are deleted, because a person who leaves a group must lose its role.
    A refusal changes nothing: groups do not decide about this account yet.
    """
    others = select(Operator.id).where(
        Operator.oidc_subject == subject_of(person), Operator.id != operator.id
    )
    if await db.scalar(others) is not None:
        return await _refuse(db, operator.email, _OTHER_ACCOUNT)
    if fault := await _give_role(db, operator, role):
        return await _refuse(db, operator.email, fault)
    await _store_link(db, operator, person)
    await sessions.end_all(db, operator_id=operator.id)
    return SignInDecision(operator)


async def _admit_new(db: AsyncSession, person: SignedInPerson, role: OperatorRole | None) -> SignInDecision:
    if role is None or person.email is None:
        return await _refuse(db, person.email or person.subject, _NO_GROUP if role is None else _NO_EMAIL)
    operator = await accounts.by_email(db, person.email, lock=True)
    if operator is None:
        try:
            operator = await accounts.create(db, person.email, role)
        except Invalid:
            return await _refuse(db, person.subject, _NO_EMAIL)
    elif operator.password is not None or operator.oidc_subject is not None:
        return await _refuse(db, person.email, _TAKEN)
    admission = await _admit_known(db, operator, role)
    if admission.operator is not None:
        await _store_link(db, operator, person)
    return admission


async def _admit_known(db: AsyncSession, operator: Operator, role: OperatorRole | None) -> SignInDecision:
    """Give the operator the role of the person's groups. A refusal for them ends sessions and tokens."""
    fault = await _give_role(db, operator, role)
    if not fault:
        return SignInDecision(operator)
    if fault is not _DISABLED:
        await sessions.end_all(db, operator_id=operator.id)
        await tokens.revoke_all(db, operator)
    return await _refuse(db, operator.email, fault)


async def _give_role(db: AsyncSession, operator: Operator, role: OperatorRole | None) -> str:
    """Give the operator the role of the person's groups, or return why not. Another role ends all sessions."""
    if operator.disabled_at is not None:
        return _DISABLED
    if role is None:
        return _NO_GROUP
    try:
        async with db.begin_nested():
            await accounts.change(db, operator, role=role)
    except Conflict:
        await db.refresh(operator)
        return _LAST_OWNER
    return ""


async def _store_link(db: AsyncSession, operator: Operator, person: SignedInPerson) -> None:
    operator.oidc_subject = subject_of(person)
    operator.password = operator.totp_seed = operator.totp_step = None
    await db.flush()
    await db.execute(delete(RecoveryCode).where(RecoveryCode.operator_id == operator.id))
    await db.execute(delete(DashboardLink).where(DashboardLink.operator_id == operator.id))
    await audit.record(
        db,
        AuditAction.OPERATOR_UPDATE,
        partner_id=None,
        object_id=operator.email,
        fields=["oidc_subject"],
    )


async def _refuse(db: AsyncSession, object_id: str, fault: str) -> SignInDecision:
    await record_refusal(db, object_id, fault)
    return SignInDecision(fault=fault)


async def record_refusal(db: AsyncSession, object_id: str | None, reason: str) -> None:
    """Record a sign-in with the provider that was refused, and why."""
    details = {"reason": reason, "method": METHOD}
    await audit.record(db, AuditAction.OPERATOR_REFUSE, partner_id=None, object_id=object_id, details=details)
