"""A record of the statements that this process sends to PostgreSQL."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

from superimap.db import postgres


class StatementLog:
    """Statements in the order in which they were answered, on all connections that are opened after `record`."""

    def __init__(self) -> None:
        self.statements: list[str] = []

    def record(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Record until the end of the test."""
        connect = postgres.Hosts.connect

        async def connect_and_record(hosts: postgres.Hosts, *args: Any, **arguments: Any) -> Any:
            connection = await connect(hosts, *args, **arguments)
            connection.add_query_logger(lambda record: self.statements.append(record.query))
            return connection

        monkeypatch.setattr(postgres.Hosts, "connect", connect_and_record)

    def listen(self, sessionmaker: async_sessionmaker[AsyncSession]) -> None:
        """Record what SQLAlchemy executes as well: asyncpg does not report its prepared statements."""
        engine = sessionmaker.kw["bind"].sync_engine

        def record(_connection: object, _cursor: object, statement: str, *_: object) -> None:
            self.statements.append(statement)

        event.listen(engine, "before_cursor_execute", record)

    async def take(self) -> list[str]:
        """Return the statements since the last call, without leading and trailing blanks."""
        await asyncio.sleep(0)  # asyncpg reports a statement in the next turn of the loop
        taken, self.statements = [each.strip() for each in self.statements], []
        return taken
