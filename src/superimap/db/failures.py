"""Classification of database errors: what a failed statement or connection says about PostgreSQL.

All services use it. The SQLSTATE decides (PostgreSQL documentation, appendix A), and never the text, which
depends on the server's language. Errors of asyncpg and of SQLAlchemy are understood.
"""

from collections.abc import Iterator
from enum import StrEnum

import asyncpg
from asyncpg.exceptions import UnknownPostgresError


class DatabaseFailure(StrEnum):
    """What an error says about the database. The value is a label of logs and metrics.

    All but FAULT are temporary: the same statement may succeed later, without any change to this program.
    """

    UNREACHABLE = "unreachable"  # no connection, or it was lost, or the server starts or stops
    REFUSED = "refused"  # the server runs and does not admit this user, or not to this database or table
    READ_ONLY = "read_only"  # a standby, or a server that an operator has made read-only
    OUT_OF_RESOURCES = "out_of_resources"  # connections, memory, disk, or the queue of notifications
    CONTENDED = "contended"  # a lock, a deadlock, or a timeout
    OUTDATED = "outdated"  # a cached plan or the schema: it changed, or is not migrated yet
    SERVER_FAULT = "server_fault"  # an internal error of the server, or damaged data
    FAULT = "fault"  # an error in this program: the statement or its arguments

    @property
    def is_temporary(self) -> bool:
        """Whether the same statement may succeed later."""
        return self is not DatabaseFailure.FAULT

    @property
    def makes_connection_useless(self) -> bool:
        """Whether a new connection may do what this one cannot: on another server, or with new plans."""
        return self in {DatabaseFailure.READ_ONLY, DatabaseFailure.OUTDATED}


class NotifyQueueFull(asyncpg.InsufficientResourcesError):  # type: ignore[misc]
    """The server's queue of notifications is full. The transaction was rolled back."""


class InvalidArgument(asyncpg.InvalidParameterValueError):  # type: ignore[misc]
    """An argument does not fit its parameter. The text is left out because it quotes the argument."""


class StatementChanged(asyncpg.OutdatedSchemaCacheError):  # type: ignore[misc]
    """A statement of a shared session has other types than its connection has kept, as after a migration."""

    def __init__(self) -> None:
        super().__init__("a statement has other types than it had")


# SQLSTATEs, and their classes of two characters; a SQLSTATE counts before its class.
_SQLSTATES = {
    # 25P03, 57P05: the server ended an idle transaction, or an idle session
    DatabaseFailure.UNREACHABLE: ("08", "57", "25P03", "57P05"),
    # no such database (also 57P04: dropped); no privilege, also to connect; too many connections;
    # 55000, 55006: the database accepts no connections, or is in use
    DatabaseFailure.REFUSED: ("28", "3D000", "57P04", "42501", "53300", "55000", "55006"),
    DatabaseFailure.READ_ONLY: ("25006",),
    DatabaseFailure.OUT_OF_RESOURCES: ("53", "58030"),
    # a lock is held for too long; cancelled, as by a timeout; a transaction lasted too long
    DatabaseFailure.CONTENDED: ("40", "55P03", "57014", "25P04"),
    # no such table, column, type, function, schema; 26000, 42P05: prepared statements of another client, as
    # behind a pooler in transaction mode
    DatabaseFailure.OUTDATED: ("42P01", "42703", "42704", "42883", "3F000", "26000", "42P05"),
    DatabaseFailure.SERVER_FAULT: ("58", "F0", "XX"),
}
_BY_SQLSTATE = {code: failure for failure, codes in _SQLSTATES.items() for code in codes}


def failure_of_sqlstate(sqlstate: str) -> DatabaseFailure:
    """Classify a SQLSTATE of five characters."""
    return _BY_SQLSTATE.get(sqlstate) or _BY_SQLSTATE.get(sqlstate[:2]) or DatabaseFailure.FAULT


def classify(error: BaseException | None) -> DatabaseFailure | None:
    """Classify an error, also if SQLAlchemy wraps it; None if it is no error of a database."""
    for each in _chain(error):
        found = _classify_one(each)
        if found is not None:
            return found
    return None


def _classify_one(error: BaseException) -> DatabaseFailure | None:
    found: DatabaseFailure | None = None
    match error:
        case asyncpg.InvalidCachedStatementError() | asyncpg.OutdatedSchemaCacheError():
            found = DatabaseFailure.OUTDATED
        case asyncpg.TargetServerAttributeNotMatched():
            found = DatabaseFailure.READ_ONLY
        case UnknownPostgresError():
            found = failure_of_sqlstate(error.sqlstate or "")
            found = found if found.is_temporary else DatabaseFailure.SERVER_FAULT
        case asyncpg.PostgresError():
            found = failure_of_sqlstate(error.sqlstate or "")
        case OSError() | TimeoutError() | asyncpg.InterfaceError() | asyncpg.InternalClientError():
            found = DatabaseFailure.UNREACHABLE
    return found


def shows_other_types(error: BaseException) -> bool:
    """Whether a statement was run with types that it no longer has.

    Its result cannot be decoded, or PostgreSQL cannot read its parameters: 22P03, or 08P01 without the end of the
    connection.
    """
    for each in _chain(error):
        if isinstance(each, BufferError | AssertionError):
            return True
        code, severity = getattr(each, "sqlstate", None), getattr(each, "severity", None)
        if code == "22P03" or (code == "08P01" and severity == "ERROR"):
            return True
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """The error, and the errors that it wraps."""
    while error is not None:
        yield error
        error = getattr(error, "orig", None) or error.__cause__


def _temporary_types() -> Iterator[type[BaseException]]:
    """The classes of asyncpg whose SQLSTATE is temporary."""
    for each in vars(asyncpg.exceptions).values():
        sqlstate = getattr(each, "sqlstate", None) if isinstance(each, type) else None
        if isinstance(sqlstate, str) and failure_of_sqlstate(sqlstate).is_temporary:
            yield each


# For `except`: every error that `classify` calls temporary, on a connection of `db.postgres`.
UNAVAILABLE: tuple[type[BaseException], ...] = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.InvalidCachedStatementError,
    UnknownPostgresError,
    *_temporary_types(),
)

_SENTENCES = {
    DatabaseFailure.UNREACHABLE: "PostgreSQL cannot be reached",
    DatabaseFailure.REFUSED: "PostgreSQL refuses the connection or a permission",
    DatabaseFailure.READ_ONLY: "PostgreSQL is read-only",
    DatabaseFailure.OUT_OF_RESOURCES: "PostgreSQL is out of resources",
    DatabaseFailure.CONTENDED: "a statement waited for a lock for too long, or was cancelled",
    DatabaseFailure.OUTDATED: "the schema has changed or is not migrated",
    DatabaseFailure.SERVER_FAULT: "PostgreSQL reports an internal error",
    DatabaseFailure.FAULT: "a statement of SuperIMAP is not valid",
}


def explain(error: BaseException) -> str:
    """Describe an error for operators: a sentence, and the SQLSTATE or the class. Never a value of a statement."""
    found = classify(error)
    if found is None:
        return f"unexpected {type(error).__name__}"
    codes = (code for each in _chain(error) if (code := getattr(each, "sqlstate", None)))
    names = (type(each).__name__ for each in _chain(error) if _classify_one(each) is not None)
    return f"{_SENTENCES[found]} ({next(codes, None) or next(names)})"
