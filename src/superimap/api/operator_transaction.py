"""Transactions of operators: on the dashboard's own connections, with a time-out for each statement."""

from types import TracebackType

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession

from superimap.api.errors import Problem
from superimap.api.resources import Resources

READ_TIMEOUT_SECONDS = 3
"""For a statement that reads."""
WRITE_TIMEOUT_SECONDS = 20
"""For a statement of an action."""
NO_PRIVILEGE = "42501"
"""SQLSTATE insufficient_privilege."""


class OperatorTransaction:
    """A transaction whose database user may read operators, and change what only operators change.

    Raises Problem 503 at the end if the database user lacks a privilege.
    """

    def __init__(self, resources: Resources, seconds: int) -> None:
        self._whole = (resources.dashboard_sessions or resources.sessionmaker).begin()
        self._seconds = seconds

    async def __aenter__(self) -> AsyncSession:
        db: AsyncSession = await self._whole.__aenter__()
        await db.execute(text(f"SET LOCAL statement_timeout = '{self._seconds}s'"))
        return db

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._whole.__aexit__(kind, error, trace)
        if isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", "") == NO_PRIVILEGE:
            raise Problem(
                503,
                "The database user of the dashboard lacks a privilege. Set DASHBOARD_DATABASE_URL to a user with "
                "the role superimap_operator.",
                kind="no-privilege",
            )
