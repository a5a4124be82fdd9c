"""One endpoint for people: its backlog and its last attempts, each read by index whatever the backlog."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import CTE, ColumnElement, Select, Subquery, func, select, true, union
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from superimap.core.crypto import Vault
from superimap.db.errors import NotFound
from superimap.db.models import Attempt, Delivery, DeliveryLease, Endpoint, Message, Partner
from superimap.db.monitoring.history import DeliveryFilter, attempt_row, has_state
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind
from superimap.domain.mail_stages import FoundBy, found_by_number
from superimap.domain.webhook_delays import FirstPost
from superimap.webhooks.signing import webhook_id

MAX_BACKLOG = 1_000
"""Pending deliveries that are counted at most; one more says that there are more."""
SEARCHED_DELIVERIES = 100
"""Latest deliveries, and those of each end of the backlog, whose attempts are looked at."""

ATTEMPTS_OF_EACH = 5
"""Latest attempts of one delivery that are looked at."""


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """An endpoint with the name of its partner; `now` is PostgreSQL's time."""

    endpoint: Endpoint
    partner: str
    now: datetime


@dataclass(frozen=True, slots=True)
class Backlog:
    """Pending deliveries, MAX_BACKLOG + 1 at most, and when the first that is not being sent was or will be due.

    `sending` is the number of those that are being sent.
    """

    count: int
    sending: int
    due_at: datetime | None


@dataclass(frozen=True, slots=True)
class FirstPosts:
    """The first attempts of an endpoint that were made last. `is_whole`: there were no others."""

    posts: list[FirstPost]
    is_whole: bool


@dataclass(frozen=True, slots=True)
class EndpointAttempt:
    """One attempt of any delivery; `answer` is the start of the answer."""

    webhook_id: str
    number: int
    started_at: datetime
    milliseconds: int
    code: int | None
    error: str | None
    answer: str | None


async def get_endpoint(db: AsyncSession, endpoint_id: int, *, partner_id: int | None = None) -> EndpointRow:
    """Return an endpoint; with `partner_id`, only if it is that partner's. Raises NotFound."""
    statement = (
        select(Endpoint, Partner.name, func.now())
        .join(Partner, Partner.id == Endpoint.partner_id)
        .where(Endpoint.id == endpoint_id)
        .execution_options(populate_existing=True)
    )
    if partner_id is not None:
        statement = statement.where(Endpoint.partner_id == partner_id)
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("Endpoint not found.")
    return EndpointRow(*row)


async def measure_backlog(db: AsyncSession, endpoint_id: int) -> Backlog:
    """Count the pending deliveries of an endpoint, those that are being sent included."""
    leases = select(DeliveryLease.delivery_id).where(
        DeliveryLease.endpoint_id == endpoint_id, DeliveryLease.lease_until > func.now()
    )
    is_sent = Delivery.id.in_(leases)
    pending = select(Delivery.due_at, is_sent.label("is_sent")).where(*_pending(endpoint_id))
    page = pending.order_by(Delivery.due_at).limit(MAX_BACKLOG + 1).subquery()
    count = func.count
    statement = select(
        count(), count().filter(page.c.is_sent), func.min(page.c.due_at).filter(~page.c.is_sent)
    ).select_from(page)
    return Backlog(*(await db.execute(statement)).one())


async def list_last_attempts(
    db: AsyncSession, vault: Vault, endpoint: Endpoint, *, limit: int
) -> list[EndpointAttempt]:
    """Return the latest attempts of an endpoint, the latest first.

    They are looked for among the latest deliveries, and among those of the backlog that are due first and last:
    attempts have no index by endpoint.
    """
    due = select(Delivery.id).where(*_pending(endpoint.id))
    pages = [
        page.limit(SEARCHED_DELIVERIES).subquery()
        for page in (_latest(endpoint), due.order_by(Delivery.due_at), due.order_by(Delivery.due_at.desc()))
    ]
    ids = union(*(select(page.c.id) for page in pages)).subquery()
    of_each = (
        select(Attempt)
        .where(Attempt.delivery_id == ids.c.id, Attempt.partner_id == endpoint.partner_id)
        .order_by(Attempt.number.desc())
        .limit(ATTEMPTS_OF_EACH)
        .lateral()
    )
    latest = aliased(Attempt, of_each)
    statement = (
        select(latest)
        .select_from(ids)
        .join(of_each, true())
        .order_by(latest.started_at.desc(), latest.id.desc())
        .limit(limit)
    )
    rows = (await db.scalars(statement)).all()
    return [_endpoint_attempt(vault, row) for row in rows]


async def list_first_posts(db: AsyncSession, endpoint: Endpoint) -> FirstPosts:
    """Return the first attempts of an endpoint that were made last, with the receipt of their mails."""
    looked, posts = _first_posts(endpoint)
    whose = (Message.partner_id == endpoint.partner_id, Message.id == posts.c.message_id)
    mail = select(Message.internal_date, Message.found_by).where(*whose).limit(1).lateral()
    statement = (
        select(posts, mail, select(func.count()).select_from(looked).scalar_subquery().label("looked"))
        .select_from(posts)
        .outerjoin(mail, true())
    )
    rows = (await db.execute(statement)).all()
    found = [
        FirstPost(
            row.created_at,
            row.started_at,
            row.milliseconds,
            row.code is None or row.code in _FAILING_CODES,
            None if found_by_number(row.found_by) is FoundBy.SWEEP else row.internal_date,
            row.code in _REFUSING_CODES,
        )
        for row in rows
    ]
    return FirstPosts(found, is_whole=not rows or rows[0].looked < SEARCHED_DELIVERIES)


def _first_posts(endpoint: Endpoint) -> tuple[CTE, Subquery]:
    """Select the deliveries that are looked at, and the first attempts among them that were made last.

    Looked at are the latest deliveries, and those before the first that waits for its first attempt: of a long
    backlog, the latest deliveries were not sent yet. Ids increase with time, nearly.
    """
    due = select(Delivery.id, Delivery.attempts).where(*_pending(endpoint.id)).order_by(Delivery.due_at)
    due_first = due.limit(SEARCHED_DELIVERIES).subquery()
    unsent = select(due_first.c.id).where(due_first.c.attempts == 0).order_by(due_first.c.id).limit(1)
    before = _latest(endpoint).where(Delivery.id < unsent.scalar_subquery())
    pages = [page.limit(SEARCHED_DELIVERIES).subquery() for page in (_latest(endpoint), before)]
    looked = union(*(select(page.c.id, page.c.created_at, page.c.message_id) for page in pages)).cte("looked")
    whose = (Attempt.delivery_id == looked.c.id, Attempt.partner_id == endpoint.partner_id)
    times = select(Attempt.started_at, Attempt.milliseconds, Attempt.code)
    first = times.where(*whose, Attempt.number == 1).limit(1).lateral()
    posts = (
        select(looked.c.created_at, looked.c.message_id, first)
        .select_from(looked)
        .join(first, true())
        .order_by(first.c.started_at.desc())
        .limit(SEARCHED_DELIVERIES)
    )
    return looked, posts.subquery()


_FAILING_CODES = frozenset({429, *range(500, 1000)})
_REFUSING_CODES = frozenset(range(300, 500)) - {403, 410, 429}  # 403 and 410 are answers with a meaning


def _latest(endpoint: Endpoint) -> Select[UUID, datetime, int | None]:
    which = DeliveryFilter(partner_id=endpoint.partner_id, kind=EventKind(endpoint.kind))
    (conditions,) = which.branches()
    columns = select(Delivery.id, Delivery.created_at, Delivery.message_id)
    return columns.where(*conditions).order_by(Delivery.id.desc())


def _pending(endpoint_id: int) -> list[ColumnElement[bool]]:
    return [Delivery.endpoint_id == endpoint_id, has_state(DeliveryState.PENDING)]


def _endpoint_attempt(vault: Vault, row: Attempt) -> EndpointAttempt:
    shown = attempt_row(vault, row)
    return EndpointAttempt(
        webhook_id(row.delivery_id), shown.number, shown.started_at, shown.milliseconds, shown.code, shown.error,
        shown.answer,
    )  # fmt: skip
