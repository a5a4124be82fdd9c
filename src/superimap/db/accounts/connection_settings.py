"""Settings of a connection that sessions read when they start, and the users that follow them."""

from typing import Any

from sqlalchemy import func, or_
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.accounts.validation.accounts import (
    SESSION_SETTINGS,
    ConnectionFields,
    validate_account,
)
from superimap.db.models import Connection, User
from superimap.domain.users import UserStatus


def given_settings(fields: ConnectionFields) -> dict[str, Any]:
    """Return the settings that were given, as they are stored. Raises Invalid."""
    return validate_account({name: value for name, value in fields.items() if name in SESSION_SETTINGS})


async def change_settings(db: AsyncSession, connection: Connection, given: dict[str, Any]) -> bool:
    """Set these settings of a connection, and have the users without a value of their own start again.

    Returns False, with nothing changed, if all are what they were. The caller notifies the idlers.
    """
    changed = [name for name, value in given.items() if value != getattr(connection, name)]
    if not changed:
        return False
    for name in changed:
        setattr(connection, name, given[name])
        setattr(connection, f"{name}_since", func.now())
    await db.flush()
    await db.refresh(connection)
    await db.execute(
        sql_update(User)
        .where(
            User.connection_id == connection.id,
            or_(*(getattr(User, name).is_(None) for name in changed)),
            User.connected_at.is_not(None),
            ~User.archived,
        )
        .values(
            credentials_version=User.credentials_version + 1,
            status=UserStatus.CONNECTING,
            status_reason=None,
            status_since=func.now(),
        )
        .execution_options(synchronize_session=False)
    )
    return True
