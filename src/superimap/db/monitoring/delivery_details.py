"""What the dashboard shows of deliveries beside their rows: counts by state, and what one delivery belongs to."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import and_, func, select, union_all
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import NotFound
from superimap.db.models import Delivery, Endpoint, Partner, User, UserEvent
from superimap.db.monitoring.history import BY_KIND, DeliveryFilter, DeliveryRow, get_delivery, has_state
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind

MAX_COUNTED = 1_000
"""Deliveries of a state that are counted at most; one more says that there are more."""
MAX_PARTNERS = 50


@dataclass(frozen=True, slots=True)
class DeliveryDetails:
    """A delivery with its mailbox, its mail or event, and the health of its endpoint; `now` is PostgreSQL's."""

    row: DeliveryRow
    now: datetime
    user_id: int
    email: str | None
    message_id: int | None
    event: str | None
    endpoint: Endpoint


async def get_details(db: AsyncSession, partner_id: int, delivery_id: UUID | None) -> DeliveryDetails:
    """Return the partner's delivery with this id. Raises NotFound."""
    row = await get_delivery(db, partner_id, delivery_id)
    statement = (
        select(func.now(), Delivery.user_id, User.email, Delivery.message_id, UserEvent.kind, Endpoint)
        .join(User, and_(User.id == Delivery.user_id, User.partner_id == Delivery.partner_id))
        .join(Endpoint, and_(Endpoint.id == Delivery.endpoint_id, Endpoint.partner_id == Delivery.partner_id))
        .outerjoin(
            UserEvent, and_(UserEvent.id == Delivery.event_id, UserEvent.partner_id == Delivery.partner_id)
        )
        .where(Delivery.partner_id == partner_id, Delivery.id == delivery_id)
        .execution_options(populate_existing=True)
    )
    found = (await db.execute(statement)).one_or_none()
    if found is None:
        raise NotFound("Delivery not found.")
    return DeliveryDetails(row, *found)


async def count_states(db: AsyncSession, partner_id: int, kind: EventKind | None) -> dict[DeliveryState, int]:
    """Count a partner's pending, failed and cancelled deliveries, MAX_COUNTED + 1 of each at most.

    Those that are being sent count as pending. Only indexes are read.
    """
    kinds: Iterable[EventKind] = [kind] if kind is not None else EventKind
    found = {}
    for state in BY_KIND:
        pages = [
            DeliveryFilter(partner_id=partner_id, kind=each).branches()[0] + [has_state(state)]
            for each in kinds
        ]
        limited = [select(Delivery.id).where(*page).limit(MAX_COUNTED + 1).subquery() for page in pages]
        all_kinds = union_all(*(select(page) for page in limited)).limit(MAX_COUNTED + 1).subquery()
        found[state] = await db.scalar(select(func.count()).select_from(all_kinds)) or 0
    return found


async def list_partner_names(db: AsyncSession, *, after: str = "") -> Sequence[tuple[int, str]]:
    """Return ids and names of partners, by name, from the one that follows `after`; MAX_PARTNERS + 1 at most."""
    name = func.lower(Partner.name)
    statement = select(Partner.id, Partner.name).where(name > func.lower(after)).order_by(name)
    return [(row.id, row.name) for row in await db.execute(statement.limit(MAX_PARTNERS + 1))]
