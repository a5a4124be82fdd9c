"""Contents of recorded mails, for owners who download one: what the webhook carries, until it is erased."""

from dataclasses import dataclass, field

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.core.crypto import Place
from superimap.db import audit
from superimap.db.errors import Conflict
from superimap.db.models import Delivery
from superimap.domain.audit import AuditAction
from superimap.domain.events import EventKind
from superimap.webhooks.signing import delivery_of

ERASED = (
    "The content of this mail is erased: that of a delivered webhook at once, that of a failed one after "
    "CONTENT_RETENTION_DAYS."
)


@dataclass(frozen=True, slots=True)
class StoredContent:
    """The encrypted content of a webhook, or the reference to an object that has it."""

    place: Place
    sealed: bytes = field(repr=False)


async def is_kept(db: AsyncSession, partner_id: int, webhook_id: str | None) -> bool:
    """Whether the content of the webhook of a mail is still there. False without a webhook."""
    delivery_id = delivery_of(webhook_id) if webhook_id else None
    if delivery_id is None:
        return False
    kept = Delivery.content.is_not(None) & (Delivery.kind == EventKind.NEW_MAIL)
    mine = (Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    return bool(await db.scalar(select(kept).where(*mine)))


async def take_out(
    db: AsyncSession, partner_id: int, webhook_id: str | None, *, message_id: int, reason: str
) -> StoredContent:
    """Return the encrypted content of a mail, and record who takes it out, and why.

    The caller decrypts it after the commit. Raises Conflict if it is erased, or was never kept.
    """
    if webhook_id is None or not await is_kept(db, partner_id, webhook_id):
        raise Conflict(
            ERASED if webhook_id else "Nothing was sent for this mail, so its content was not kept."
        )
    delivery_id = delivery_of(webhook_id)
    statement = select(Delivery.content).where(Delivery.partner_id == partner_id, Delivery.id == delivery_id)
    sealed = await db.scalar(statement)
    if not sealed:
        raise Conflict(ERASED)
    await audit.record(
        db,
        AuditAction.MESSAGE_DOWNLOAD,
        partner_id=partner_id,
        object_id=message_id,
        details={"reason": reason},
    )
    return StoredContent(Place("deliveries", "content", partner_id, str(delivery_id)), sealed)
