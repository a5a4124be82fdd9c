"""Sweeps as partners and operators request them: creation, lists, pause, resumption and cancellation."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlalchemy import func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db import audit
from superimap.db.errors import Conflict, Invalid, NotFound
from superimap.db.models import Sweep, SweepMail, User
from superimap.domain.audit import AuditAction
from superimap.domain.shards import SWEEPS_CHANNEL
from superimap.domain.sweeps import (
    ACTIVE,
    MAX_ACTIVE_SWEEPS,
    MAX_KEPT_SWEEPS,
    MAX_UNREAD_MAILS,
    SweepCause,
    SweepDirection,
    SweepState,
)

MAX_SWEEPS = 200
"""Sweeps of a page."""
EARLIEST_YEAR, LATEST_YEAR = 1970, 2999
MAX_FOLDER_CHARACTERS = 1024

# Literals, which a plan compares with the partial indexes.
_IS_ACTIVE = Sweep.state.in_([literal(state.value, literal_execute=True) for state in ACTIVE])
_IS_REQUESTED = Sweep.cause == literal(SweepCause.REQUESTED.value, literal_execute=True)


class SweepActive(Conflict):
    """The mailbox has an active sweep already."""

    kind = "sweep-active"


class TooManySweeps(Conflict):
    """The partner has as many sweeps as it may have."""

    kind = "too-many-sweeps"


class SweepEnded(Conflict):
    """The sweep has ended."""

    kind = "sweep-ended"


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What to sweep. `since` and `until` bound INTERNALDATE; `max_mails` bounds the mails that are sent."""

    since: datetime | None = None
    until: datetime | None = None
    folder: str | None = None
    max_mails: int | None = None
    direction: SweepDirection = SweepDirection.NEWEST
    again: bool = False
    dry_run: bool = False


async def create(db: AsyncSession, user: User, request: SweepRequest) -> Sweep:
    """Create a sweep of a user who is locked, and wake the idler. Raises Invalid and Conflict."""
    _check(request)
    if user.archived or user.connected_at is None:
        raise Conflict("This mailbox is not watched: it is archived, or not connected.", kind="not-connected")
    if await db.scalar(select(Sweep.id).where(Sweep.user_id == user.id, _IS_ACTIVE)) is not None:
        raise SweepActive("This mailbox has a sweep already. Wait until it has ended, or cancel it.")
    await _check_bounds(db, user.partner_id)
    actor = audit.actor_of(db)
    sweep = Sweep(
        partner_id=user.partner_id,
        user_id=user.id,
        shard=user.shard,
        actor_kind=actor.kind,
        made_by=actor.name,
        **asdict(request),
    )
    db.add(sweep)
    await db.flush()
    await db.refresh(sweep)
    await _announce(db, AuditAction.SWEEP_CREATE, user, sweep)
    return sweep


def _check(request: SweepRequest) -> None:
    """Raise Invalid for a date or folder out of bounds, also if the CLI or the dashboard sends it."""
    for name, moment in (("since", request.since), ("until", request.until)):
        if moment is not None and not EARLIEST_YEAR <= moment.year <= LATEST_YEAR:
            raise Invalid(name, f"must be in the years {EARLIEST_YEAR} to {LATEST_YEAR}")
    if request.since and request.until and request.until <= request.since:
        raise Invalid("until", "must be later than since")
    folder = request.folder
    if folder is not None and not (0 < len(folder) <= MAX_FOLDER_CHARACTERS and folder.isprintable()):
        raise Invalid("folder", f"must have 1 to {MAX_FOLDER_CHARACTERS:,} printable characters")


async def list_latest(
    db: AsyncSession, user: User, *, limit: int, before: int | None = None
) -> Sequence[Sweep]:
    """Return sweeps of a user, the latest first, with ids below `before`."""
    statement = select(Sweep).where(Sweep.user_id == user.id).order_by(Sweep.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(Sweep.id < before)
    return (await db.scalars(statement.execution_options(populate_existing=True))).all()


async def get(db: AsyncSession, user: User, sweep_id: int, *, lock: bool = False) -> Sweep:
    """Return a sweep of a user. Raises NotFound."""
    statement = select(Sweep).where(
        Sweep.id == sweep_id, Sweep.user_id == user.id, Sweep.partner_id == user.partner_id
    )
    statement = statement.with_for_update(key_share=True) if lock else statement
    found = (await db.scalars(statement.execution_options(populate_existing=True))).one_or_none()
    if found is None:
        raise NotFound("Sweep not found.")
    return found


async def set_state(db: AsyncSession, user: User, sweep_id: int, state: SweepState) -> Sweep:
    """Pause, resume (WAITING) or cancel a sweep, after the batch that is being recorded.

    A state that the sweep has already is not an error. Raises NotFound, and Conflict for one that has ended.
    """
    sweep = await get(db, user, sweep_id, lock=True)
    if sweep.state == state or (state is SweepState.WAITING and sweep.state == SweepState.RUNNING):
        return sweep
    if sweep.state not in ACTIVE:
        raise SweepEnded(f"The sweep is {sweep.state} already.")
    sweep.state, sweep.reason = state.value, None
    if state is SweepState.WAITING:
        await _try_at_once(db, sweep)
    if state is SweepState.CANCELLED:
        sweep.finished_at = func.now()
    await db.flush()
    await db.refresh(sweep)
    await _announce(db, AuditAction.SWEEP_UPDATE, user, sweep)
    return sweep


async def list_unread(
    db: AsyncSession, sweep: Sweep, *, limit: int = MAX_UNREAD_MAILS
) -> Sequence[SweepMail]:
    """Return the mails of a sweep that could not be read, by UID."""
    found = select(SweepMail).where(SweepMail.sweep_id == sweep.id).order_by(SweepMail.uid).limit(limit)
    return (await db.scalars(found.execution_options(populate_existing=True))).all()


async def _try_at_once(db: AsyncSession, sweep: Sweep) -> None:
    """Make a sweep due, with the mails that could not be read, and forget its failures."""
    sweep.due_at, sweep.failures = func.now(), 0
    sweep.failing_since, sweep.failed_at, sweep.failing_seconds = None, None, 0.0
    await db.execute(
        update(SweepMail).where(SweepMail.sweep_id == sweep.id).values(next_attempt_at=func.now())
    )


async def _check_bounds(db: AsyncSession, partner_id: int) -> None:
    """Raise TooManySweeps if the partner may have no further sweep."""
    mine = select(Sweep.id).where(Sweep.partner_id == partner_id, _IS_REQUESTED)
    active = mine.where(_IS_ACTIVE).limit(MAX_ACTIVE_SWEEPS).subquery()
    if await db.scalar(select(func.count()).select_from(active)) == MAX_ACTIVE_SWEEPS:
        raise TooManySweeps(f"{MAX_ACTIVE_SWEEPS:,} sweeps are active. Wait until some have ended.")
    kept = mine.limit(MAX_KEPT_SWEEPS).subquery()
    if await db.scalar(select(func.count()).select_from(kept)) == MAX_KEPT_SWEEPS:
        raise TooManySweeps(
            f"{MAX_KEPT_SWEEPS:,} sweeps are kept, with those that have ended. Try again in some days."
        )


async def _announce(db: AsyncSession, action: AuditAction, user: User, sweep: Sweep) -> None:
    """Record a change of a sweep, and notify the idlers at the commit."""
    details = {"user_tag": user.tag, "state": sweep.state}
    if action is AuditAction.SWEEP_CREATE:
        chosen = ("since", "until", "direction", "again", "dry_run")
        details |= {name: getattr(sweep, name) for name in chosen} | {"limit": sweep.max_mails}
    await audit.record(db, action, partner_id=user.partner_id, object_id=sweep.id, details=details)
    await db.execute(
        text("SELECT pg_notify(:channel, :shard)"), {"channel": SWEEPS_CHANNEL, "shard": str(user.shard)}
    )
