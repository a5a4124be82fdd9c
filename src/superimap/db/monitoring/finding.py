"""Objects that a text names: a partner, a mailbox, a mail or a webhook. Each is looked up by an index."""

from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import func, select, true
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.models import Connection, Delivery, Message, Partner, Provider, User

MAX_FOUND = 20
"""Of each kind."""
MAX_TEXT_CHARACTERS = 1000


@dataclass(frozen=True, slots=True)
class FoundUser:
    """A user, by tag or address."""

    id: int
    tag: str
    email: str | None
    status: str
    partner_id: int
    partner: str
    provider: str


@dataclass(frozen=True, slots=True)
class Findings:
    """What a text names. `delivery` is a partner's id and the id of a delivery."""

    users: list[FoundUser]
    partners: list[Partner]
    providers: list[str]
    message_id: int | None
    delivery: tuple[int, UUID] | None


async def find(
    db: AsyncSession, text: str, *, delivery_id: UUID | None, partner_id: int | None = None
) -> Findings:
    """Return what this text names, of one partner or of all. `delivery_id` is that of a webhook id."""
    if not text or "\0" in text or len(text) > MAX_TEXT_CHARACTERS:
        return Findings([], [], [], None, None)
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= 18 else None
    is_operator = partner_id is None
    return Findings(
        users=await _users(db, text, partner_id),
        partners=await _partners(db, text) if is_operator else [],
        providers=await _providers(db, text) if is_operator else [],
        message_id=await _message(db, number, partner_id) if number is not None else None,
        delivery=await _delivery(db, delivery_id, partner_id) if delivery_id is not None else None,
    )


async def _users(db: AsyncSession, text: str, partner_id: int | None) -> list[FoundUser]:
    """Find users by tag and by address; if there is none, archived users by address, as written or in lower case.

    The indexes begin with the connection, so each connection is asked.
    """
    linked = select(Connection.id.label("id"))
    if partner_id is not None:
        linked = linked.where(Connection.partner_id == partner_id)
    connections = linked.subquery()
    found: dict[int, FoundUser] = {}
    by_tag = [User.tag == text]
    by_address = [func.lower(User.email) == func.lower(text), ~User.archived]
    archived_by_address = [User.email.in_([text, text.lower()]), User.archived]
    for conditions in (by_tag, by_address, archived_by_address):
        if conditions is archived_by_address and found:
            break
        each = (
            select(User.id)
            .where(User.connection_id == connections.c.id, *conditions)
            .limit(MAX_FOUND)
            .lateral()
        )
        ids = select(each.c.id).select_from(connections.join(each, onclause=true())).limit(MAX_FOUND)
        statement = (
            select(User.id, User.tag, User.email, User.status, Partner.id, Partner.name, Provider.code)
            .join(Partner, Partner.id == User.partner_id)
            .join(Connection, Connection.id == User.connection_id)
            .join(Provider, Provider.id == Connection.provider_id)
            .where(User.id.in_(ids))
        )
        for row in await db.execute(statement):
            found[row[0]] = FoundUser(*row)
    return list(found.values())[:MAX_FOUND]


async def _partners(db: AsyncSession, text: str) -> list[Partner]:
    by_name = select(Partner).where(func.lower(Partner.name) == func.lower(text))
    return list(await db.scalars(by_name.limit(MAX_FOUND)))


async def _providers(db: AsyncSession, text: str) -> list[str]:
    by_code = select(Provider.code).where(func.upper(Provider.code) == text.upper())
    return list(await db.scalars(by_code.limit(MAX_FOUND)))


async def _message(db: AsyncSession, number: int, partner_id: int | None) -> int | None:
    statement = select(Message.id).where(Message.id == number)
    if partner_id is not None:
        statement = statement.where(Message.partner_id == partner_id)
    return await db.scalar(statement)


async def _delivery(db: AsyncSession, delivery_id: UUID, partner_id: int | None) -> tuple[int, UUID] | None:
    """Find a delivery. The key of the table begins with the partner, so each partner is asked."""
    partners = select(Partner.id)
    if partner_id is not None:
        partners = partners.where(Partner.id == partner_id)
    statement = select(Delivery.partner_id).where(
        Delivery.partner_id.in_(partners), Delivery.id == delivery_id
    )
    found = await db.scalar(statement.limit(1))
    return None if found is None else (found, delivery_id)
