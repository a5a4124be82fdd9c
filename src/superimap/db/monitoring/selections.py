"""Selections of deliveries by what people and programs know: the tag of a user and the code of a provider."""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.monitoring import history
from superimap.db.monitoring.history import DeliveryFilter
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind


async def select_deliveries(
    db: AsyncSession,
    partner_id: int,
    *,
    state: DeliveryState | None,
    kind: EventKind | None = None,
    tag: str | None = None,
    code: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> DeliveryFilter:
    """Return the filter of a partner's deliveries; None selects any. Raises NotFound for the tag or the code."""
    return DeliveryFilter(
        partner_id=partner_id,
        connection_id=await history.connection_id_by_code(db, partner_id, code) if code is not None else None,
        user_ids=await history.user_ids_by_tag(db, partner_id, tag, code) if tag is not None else None,
        state=state,
        kind=kind,
        since=since,
        until=until,
    )
