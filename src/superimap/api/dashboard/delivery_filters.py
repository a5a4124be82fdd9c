"""Filters of deliveries, read from the query of a page or the fields of a form."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.errors import NotFound
from superimap.db.monitoring.history import DeliveryFilter
from superimap.db.monitoring.selections import select_deliveries
from superimap.domain.deliveries import DeliveryState
from superimap.domain.events import EventKind

FIELDS = ("state", "kind", "tag", "since", "until")


@dataclass(frozen=True, slots=True)
class ChosenDeliveries:
    """A filter as it is used, and as it was given; `given` and `faults` are by name of the field."""

    which: DeliveryFilter
    given: dict[str, str]
    faults: dict[str, str] = field(default_factory=dict)

    def query(self, **changes: object) -> dict[str, object]:
        """Return the query parameters of a page with this filter, some of them changed."""
        return {name: value for name, value in ({**self.given, **changes}).items() if value}


async def read_filter(db: AsyncSession, partner_id: int, read: Callable[[str], str]) -> ChosenDeliveries:
    """Read the fields of a filter by their names. An unknown state or kind means any; other faults are told."""
    given = {name: read(name) for name in FIELDS}
    faults: dict[str, str] = {}
    since, until = (_moment(given[name], name, faults) for name in ("since", "until"))
    if since is not None and until is not None and since >= until:
        faults["until"] = "must be later than the beginning"
    fields: dict[str, Any] = {
        "state": DeliveryState(given["state"]) if given["state"] in set(DeliveryState) else None,
        "kind": EventKind(given["kind"]) if given["kind"] in set(EventKind) else None,
        "since": since,
        "until": until,
    }
    try:
        which = await select_deliveries(db, partner_id, tag=given["tag"] or None, **fields)
    except NotFound:
        faults["tag"] = "no mailbox of this partner has this tag"
        which = DeliveryFilter(partner_id=partner_id, user_ids=[], **fields)
    return ChosenDeliveries(which, given, faults)


def _moment(text: str, name: str, faults: dict[str, str]) -> datetime | None:
    """Return a time in UTC as browsers send it: 2026-09-21T14:00."""
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        at = None
    # Ids of deliveries begin with the time, which is that of Unix.
    if at is None or not 1971 <= at.year <= 9000:
        faults[name] = "must be a time such as 2026-09-21T14:00"
        return None
    return at
