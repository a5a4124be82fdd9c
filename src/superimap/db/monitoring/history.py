"""History of a partner's webhooks: deliveries with their states, and the attempts of one delivery."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import ColumnElement, Row, Select, and_, case, exists, func, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place, Vault, VaultError
from superimap.core.ids import min_uuid7, time_of
from superimap.db.errors import NotFound
from superimap.db.models import Attempt, Connection, Delivery, DeliveryLease, Endpoint, Provider, User
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.webhooks.signing import webhook_id

MAX_ATTEMPTS = 100
BY_KIND = frozenset({DeliveryState.PENDING, DeliveryState.FAILED, DeliveryState.CANCELLED})
"""States whose deliveries are indexed by kind."""
CLOCK_SKEW = timedelta(days=1)
"""Maximum difference between the clock that created an id and PostgreSQL's, which set `created_at`."""

IS_BEING_SENT = exists().where(
    DeliveryLease.endpoint_id == Delivery.endpoint_id,
    DeliveryLease.delivery_id == Delivery.id,
    DeliveryLease.lease_until > func.now(),
)
SHOWN_STATE = case(
    (and_(Delivery.state == DeliveryState.PENDING, IS_BEING_SENT), DeliveryState.SENDING.value),
    else_=Delivery.state,
).label("state")
"""The state of a delivery as people see it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryFilter:
    """Filter of a partner's deliveries; None means any. `since` (inclusive) and `until` apply to `created_at`."""

    partner_id: int
    state: DeliveryState | None = None
    kind: EventKind | None = None
    user_ids: Sequence[int] | None = None
    connection_id: int | None = None
    since: datetime | None = None
    until: datetime | None = None

    def branches(self) -> list[list[ColumnElement[bool]]]:
        """Return the conditions of one WHERE or several, whose rows together are the selected ones.

        Each is a range of an index in the order of ids, so that a page reads no more than its rows, unless users
        of a connection are selected. Deliveries that are pending or ended are indexed by kind.
        """
        if self.kind is not None:
            return [self._conditions(self.kind)]
        if self.state in BY_KIND:
            return [self._conditions(kind) for kind in EventKind]
        return [self._conditions(None)]

    def _conditions(self, kind: EventKind | None) -> list[ColumnElement[bool]]:
        """Return the conditions; states and kinds are literals, which a plan compares with partial indexes."""
        given: list[ColumnElement[bool]] = [Delivery.partner_id == self.partner_id]
        if self.state is DeliveryState.SENDING:
            given += [has_state(DeliveryState.PENDING), Delivery.id.in_(self._being_sent())]
        elif self.state is DeliveryState.PENDING:
            given += [has_state(DeliveryState.PENDING), ~IS_BEING_SENT]
        elif self.state is not None:
            given.append(has_state(self.state))
        if kind is not None:
            given.append(Delivery.kind == literal(kind.value, literal_execute=True))
        if self.user_ids is not None:
            given.append(Delivery.user_id.in_(self.user_ids))
        if self.connection_id is not None:
            theirs = select(User.id).where(User.connection_id == self.connection_id)
            given.append(Delivery.user_id.in_(theirs))
        if self.since is not None:
            given += [Delivery.created_at >= self.since, Delivery.id >= min_uuid7(self.since - CLOCK_SKEW)]
        if self.until is not None:
            given += [Delivery.created_at < self.until, Delivery.id < min_uuid7(self.until + CLOCK_SKEW)]
        return given

    def _being_sent(self) -> Select[UUID]:
        """Select the ids of the partner's deliveries that are being sent; few at any time."""
        mine = select(Endpoint.id).where(Endpoint.partner_id == self.partner_id)
        leases = select(DeliveryLease.delivery_id).where(DeliveryLease.endpoint_id.in_(mine))
        return leases.where(DeliveryLease.lease_until > func.now())


def has_state(state: DeliveryState) -> ColumnElement[bool]:
    """Compare the stored state with a literal, so that a plan can use partial indexes."""
    return Delivery.state == literal(state.value, literal_execute=True)


@dataclass(frozen=True, slots=True)
class DeliveryRow:
    """A delivery without its content. `next_attempt_at` is None unless it is pending and its endpoint enabled.

    `sorted_at` is the time in its id: of a mail that was recent when it was seen, the mail server's date.
    """

    id: str
    state: DeliveryState
    kind: EventKind
    user_tag: str
    imap_provider_code: str
    created_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    settled_at: datetime | None
    last_code: int | None
    last_error: str | None
    has_content: bool
    sorted_at: datetime


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt. `answer` is the start of the answer; None if there was none or it cannot be decrypted."""

    number: int
    started_at: datetime
    milliseconds: int
    code: int | None
    error: str | None
    answer: str | None


async def user_ids_by_tag(db: AsyncSession, partner_id: int, tag: str, code: str | None = None) -> list[int]:
    """Return the ids of the partner's users with this tag, archived users included. Raises NotFound.

    `code` limits the search to the connection of one provider.
    """
    found: list[int] = []
    if _is_storable(tag) and _is_storable(code or ""):
        linked = select(Connection.id).where(Connection.partner_id == partner_id)
        if code is not None:
            linked = linked.join(Provider).where(Provider.code == code.upper())
        # By connection, as the index of tags begins with it.
        statement = select(User.id).where(User.connection_id.in_(linked), User.tag == tag)
        found = list(await db.scalars(statement))
    if not found:
        raise NotFound(f"User not found for '{tag if _is_storable(tag) else ''}'.")
    return found


async def connection_id_by_code(db: AsyncSession, partner_id: int, code: str) -> int:
    """Return the id of the partner's connection to this provider; letter case is ignored. Raises NotFound."""
    statement = (
        select(Connection.id)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(Connection.partner_id == partner_id, Provider.code == code.upper())
    )
    found = await db.scalar(statement) if _is_storable(code) else None
    if found is None:
        raise NotFound("Connection not found.")
    return found


async def list_deliveries(
    db: AsyncSession, which: DeliveryFilter, *, after: UUID | None = None, limit: int
) -> list[DeliveryRow]:
    """Return a page of deliveries, the latest first. `after` is the id of the previous page's last delivery."""
    earlier = [Delivery.id < after] if after is not None else []
    # The page is selected first, so that the joins look up each of its rows by index.
    pages = [
        select(Delivery.id).where(*branch, *earlier).order_by(Delivery.id.desc()).limit(limit)
        for branch in which.branches()
    ]
    page = union_all(*pages).subquery()
    statement = (
        _select_rows()
        .where(Delivery.partner_id == which.partner_id, Delivery.id.in_(select(page.c.id)))
        .order_by(Delivery.id.desc())
        .limit(limit)
    )
    return [_delivery_row(row) for row in await db.execute(statement)]


async def get_delivery(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> DeliveryRow:
    """Return the partner's delivery with this id. Raises NotFound."""
    statement = _select_rows().where(Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    row = (await db.execute(statement)).one_or_none() if delivery_id is not None else None
    if row is None:
        raise NotFound("Delivery not found.")
    return _delivery_row(row)


async def list_attempts(
    db: AsyncSession, vault: Vault, partner_id: int, delivery_id: UUID
) -> list[AttemptRow]:
    """Return the latest attempts of a delivery, at most MAX_ATTEMPTS, oldest first, with decrypted answers."""
    statement = (
        select(Attempt)
        .where(Attempt.delivery_id == delivery_id, Attempt.partner_id == partner_id)
        .order_by(Attempt.number.desc(), Attempt.id.desc())
        .limit(MAX_ATTEMPTS)
    )
    rows = (await db.scalars(statement)).all()
    return [attempt_row(vault, row) for row in reversed(rows)]


def attempt_row(vault: Vault, row: Attempt) -> AttemptRow:
    """Return an attempt with its decrypted answer."""
    answer = None
    if row.body is not None:
        # A key that was removed takes the answer only: the rest of the attempt is still useful.
        with suppress(VaultError):
            answer = vault.open_text(row.body, Place("attempts", "body", row.partner_id, str(row.id)))
    return AttemptRow(row.number, row.started_at, row.milliseconds, row.code, row.error, answer)


def _select_rows() -> Select[*tuple[Any, ...]]:
    """Select the listed columns only, because whole rows include the mails."""
    return (
        select(
            Delivery.id, SHOWN_STATE, Delivery.kind, User.tag, Provider.code, Delivery.created_at,
            Delivery.attempts, Delivery.due_at, Delivery.settled_at, Delivery.last_code, Delivery.last_error,
            Delivery.content.is_not(None).label("has_content"), Endpoint.disabled_at,
        )
        .join(User, and_(User.id == Delivery.user_id, User.partner_id == Delivery.partner_id))
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .outerjoin(Endpoint, Endpoint.id == Delivery.endpoint_id)
    )  # fmt: skip


def _delivery_row(row: Row[*tuple[Any, ...]]) -> DeliveryRow:
    return DeliveryRow(
        id=webhook_id(row.id),
        state=DeliveryState(row.state),
        kind=EventKind(row.kind),
        user_tag=row.tag,
        imap_provider_code=row.code,
        created_at=row.created_at,
        attempts=row.attempts,
        next_attempt_at=row.due_at
        if row.state == DeliveryState.PENDING and row.disabled_at is None
        else None,
        settled_at=row.settled_at,
        last_code=row.last_code,
        last_error=row.last_error,
        has_content=row.has_content,
        sorted_at=time_of(row.id) or row.created_at,
    )


def _is_storable(value: str) -> bool:
    """Whether PostgreSQL can store the text: no NUL, and no lone surrogate, which JSON allows."""
    try:
        return "\0" not in value and bool(value.encode() or not value)
    except UnicodeEncodeError:
        return False
