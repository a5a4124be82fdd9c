"""One user with everything that belongs to it, for the page of a mailbox."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from superimap.db.errors import NotFound
from superimap.db.models import Connection, Idler, Mailbox, Partner, Provider, Shard, User, UserEvent
from superimap.db.monitoring import statuses

MAX_EVENTS = 20
_SECRETS = (
    User.oauth2_refresh_token,
    Connection.oauth2_client_secret,
    Connection.oauth2_access_token,
)
"""Never read for a page."""


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """A user with its partner, provider, cursors, latest events, and the idler that owns its shard."""

    user: User
    partner: Partner
    connection: Connection
    provider: Provider
    idler: Idler | None
    mailboxes: Sequence[Mailbox]
    events: Sequence[UserEvent]


async def read(db: AsyncSession, user_id: int, *, partner_id: int | None = None) -> MailboxStatus:
    """Return the status of this user, among the users of a partner or of all. Raises NotFound."""
    statement = (
        select(User, Partner, Connection, Provider, Idler)
        .join(Partner, Partner.id == User.partner_id)
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .outerjoin(Shard, Shard.shard == User.shard)
        .outerjoin(Idler, and_(Idler.id == Shard.owner))
        .where(User.id == user_id)
        .options(*(defer(column, raiseload=True) for column in _SECRETS))
    )
    if partner_id is not None:
        statement = statement.where(User.partner_id == partner_id)
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("Mailbox not found.")
    user, partner, connection, provider, idler = row
    return MailboxStatus(
        user,
        partner,
        connection,
        provider,
        idler,
        await statuses.list_mailboxes(db, user),
        await statuses.list_events(db, user, limit=MAX_EVENTS),
    )
