"""Presence of secrets that the API may replace or clear, but not read."""

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm.attributes import set_committed_value

from superimap.db.models import User

_PLACEHOLDER = b"a password is stored"


async def load_password_presence(db: AsyncSession, user: User) -> None:
    """Set `login_password` of a loaded user to a placeholder if a password is stored, else to None.

    A function of the schema answers, as the API has no privilege to read the column.
    """
    is_stored = await db.scalar(select(func.has_login_password(user.id)))
    set_committed_value(user, "login_password", _PLACEHOLDER if is_stored else None)
