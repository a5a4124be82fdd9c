"""Lists of a connection's users, and one user with its partner, for people. No sealed column is read.

A page looks at a part of an index of limited length, so that a filter with few matches costs no more than one with
many: then a page has fewer rows than it may have, and another one follows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, and_, func, literal, not_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from superimap.db.errors import NotFound
from superimap.db.models import Connection, Partner, Provider, User

LOOKED_ROWS = 2000
"""Users that one page looks at."""
MAX_FILTER_CHARACTERS = 320


class MailboxScope(StrEnum):
    """Which users are listed."""

    ACTIVE = "active"  # not archived
    ARCHIVED = "archived"
    TRACER = "tracer"  # those that test mails are sent to


class ListedMailbox(NamedTuple):
    """A user as it is listed."""

    id: int
    tag: str
    email: str | None
    status: str
    status_reason: str | None
    status_since: datetime
    connected_at: datetime | None
    last_login_at: datetime | None
    last_email_at: datetime | None
    enable_tracer: bool
    archived: bool


class _Place(NamedTuple):
    """Where a page begins: after the user with this id and this value of the key by which users are sorted."""

    value: str | None
    id: int


@dataclass(frozen=True, slots=True)
class MailboxFilter:
    """Users of one connection. `tag` and `email` are the beginnings of these values; letter case matters."""

    connection_id: int
    scope: MailboxScope = MailboxScope.ACTIVE
    tag: str = ""
    email: str = ""


@dataclass(frozen=True, slots=True)
class MailboxPage:
    """Some users, and the id of the user after which the list goes on; None at its end."""

    rows: Sequence[ListedMailbox]
    next: int | None


@dataclass(frozen=True, slots=True)
class MailboxSeen:
    """A user with what it belongs to, and whether a password or a refresh token is stored."""

    user: User
    partner: Partner
    connection: Connection
    provider: Provider
    has_secret: bool

    @property
    def name(self) -> str:
        """What people know the mailbox by."""
        return self.user.email or self.user.tag


async def find(db: AsyncSession, user_id: int, *, partner_id: int | None = None) -> MailboxSeen:
    """Return the user with this id, among the users of a partner or of all. Raises NotFound."""
    has_secret = or_(func.has_login_password(User.id), User.oauth2_refresh_token.is_not(None))
    sealed = (
        User.oauth2_refresh_token, Connection.oauth2_client_secret, Connection.oauth2_access_token,
    )  # fmt: skip
    statement = (
        select(User, Partner, Connection, Provider, has_secret)
        .join(Partner, Partner.id == User.partner_id)
        .join(Connection, Connection.id == User.connection_id)
        .join(Provider, Provider.id == Connection.provider_id)
        .where(User.id == user_id)
        .options(*(defer(column, raiseload=True) for column in sealed))
    )
    if partner_id is not None:
        statement = statement.where(User.partner_id == partner_id)
    row = (await db.execute(statement)).one_or_none()
    if row is None:
        raise NotFound("Mailbox not found.")
    return MailboxSeen(*row)


async def list_page(
    db: AsyncSession,
    which: MailboxFilter,
    *,
    after: int | None = None,
    limit: int,
    looked: int | None = None,
) -> MailboxPage:
    """Return users by email, those without an email last; with a filter of tags, by tag.

    `looked` is the number of users that the page looks at, LOOKED_ROWS by default.
    """
    looked = looked or LOOKED_ROWS
    last = await _place_of(db, which, after) if after is not None else None
    if which.tag:
        return await _look(db, which, User.tag, last, limit=limit, looked=looked)
    page = MailboxPage([], None)
    if last is None or last.value is not None:
        page = await _look(db, which, User.email, last, limit=limit, looked=looked)
        last = None
    if page.next is None and not which.email:
        room = limit - len(page.rows)
        others = await _look(db, which, None, last, limit=max(room, 1), looked=looked)
        if not room:  # those without an email begin the next page
            has_others = bool(others.rows or others.next)
            return MailboxPage(page.rows, page.rows[-1].id if has_others else None)
        page = MailboxPage([*page.rows, *others.rows], others.next)
    return page


async def _place_of(db: AsyncSession, which: MailboxFilter, user_id: int) -> _Place | None:
    """Return the place of a user in the list; None if the connection has no such user."""
    key = User.tag if which.tag else User.email
    statement = select(key).where(User.id == user_id, User.connection_id == which.connection_id)
    row = (await db.execute(statement)).one_or_none()
    return None if row is None else _Place(row[0], user_id)


async def count_scopes(
    db: AsyncSession, connection_id: int, *, looked: int | None = None
) -> dict[MailboxScope, int] | None:
    """Count the connection's users in each scope; None if there are more than `looked`, LOOKED_ROWS by default."""
    looked = looked or LOOKED_ROWS
    of_connection = select(User.archived, User.enable_tracer).where(User.connection_id == connection_id)
    # In an order that an index has: otherwise the whole table may be read until enough of them are found.
    users = of_connection.order_by(User.email, User.id).limit(looked + 1).subquery()
    counts = (func.count(), *(func.count().filter(_in_scope(users.c, scope)) for scope in MailboxScope))
    total, *found = (await db.execute(select(*counts).select_from(users))).one()
    return None if total > looked else dict(zip(MailboxScope, found, strict=True))


async def _look(
    db: AsyncSession, which: MailboxFilter, key: Any, after: _Place | None, *, limit: int, looked: int
) -> MailboxPage:
    """List the users with a `key` from its filter on, by this key; those without an email for the key None."""
    prefix = {"tag": which.tag, "email": which.email}[key.key] if key is not None else ""
    users = _range(which, key, prefix, after).limit(looked).subquery()
    order = [users.c.id] if key is None else [users.c[key.key], users.c.id]
    # The last user that is looked at is read too, as the next page begins after it. The order is that of the index
    # again, so that PostgreSQL stops after enough matches.
    matches = _matches(users.c, which)
    statement = select(users, matches.label("matches")).where(or_(users.c.place == looked, matches))
    found = (await db.execute(statement.order_by(*order).limit(limit + 1))).all()
    rows = [ListedMailbox(*row[: len(ListedMailbox._fields)]) for row in found if row.matches]
    if len(rows) > limit:
        return MailboxPage(rows[:limit], rows[limit - 1].id)
    last = found[-1] if found else None
    if last is None or last.place < looked:
        return MailboxPage(rows, None)
    # Users are sorted by the key: after one without the prefix there is none with it.
    is_past = key is not None and not getattr(last, key.key).startswith(prefix)
    return MailboxPage(rows, None if is_past else last.id)


def _range(which: MailboxFilter, key: Any, prefix: str, after: _Place | None) -> Select[*tuple[Any, ...]]:
    """Select the users behind a place, or from a prefix on, as a range of an index, with their numbers in it."""
    order = [User.id] if key is None else [key, User.id]
    place = func.row_number().over(order_by=order).label("place")
    columns = (getattr(User, name) for name in ListedMailbox._fields)
    if key is None:
        begins = and_(User.email.is_(None), User.id > (after.id if after else 0))
    elif after is not None:
        begins = tuple_(key, User.id) > tuple_(literal(after.value), literal(after.id))
    else:
        begins = key >= prefix
    statement: Select[*tuple[Any, ...]] = select(*columns, place)
    return statement.where(User.connection_id == which.connection_id, begins).order_by(*order)


def _matches(user: Any, which: MailboxFilter) -> ColumnElement[bool]:
    conditions = [_in_scope(user, which.scope)]
    for column, prefix in ((user.tag, which.tag), (user.email, which.email)):
        if prefix:
            conditions.append(column.startswith(prefix, autoescape=True))
    return and_(*conditions)


def _in_scope(user: Any, scope: MailboxScope) -> ColumnElement[bool]:
    archived: ColumnElement[bool] = user.archived
    match scope:
        case MailboxScope.ACTIVE:
            return not_(archived)
        case MailboxScope.ARCHIVED:
            return archived
        case MailboxScope.TRACER:
            return and_(user.enable_tracer, not_(archived))
