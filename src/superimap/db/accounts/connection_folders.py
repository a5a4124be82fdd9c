"""Folders to watch of a connection: its list, and the users that follow it."""

from typing import Any

from sqlalchemy import func
from sqlalchemy import update as sql_update
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.db.accounts.validation.accounts import ConnectionFields, validate_account
from superimap.db.models import Connection, User
from superimap.domain.users import UserStatus


def given_folders(fields: ConnectionFields) -> dict[str, Any]:
    """Return the list of folders that was given, as it is stored; empty if none was. Raises Invalid."""
    return validate_account({"folders": fields["folders"]}) if "folders" in fields else {}


async def change_folders(db: AsyncSession, connection: Connection, given: dict[str, Any]) -> bool:
    """Set the list of a connection, and have the users without a list of their own start again.

    Returns False, with nothing changed, if the list is what it was. The caller notifies the idlers.
    """
    if not given or given["folders"] == connection.folders:
        return False
    connection.folders, connection.folders_since = given["folders"], func.now()
    await db.flush()
    await db.refresh(connection)
    await db.execute(
        sql_update(User)
        .where(
            User.connection_id == connection.id,
            User.folders.is_(None),
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
