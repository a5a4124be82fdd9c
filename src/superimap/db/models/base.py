"""What every table shares: names of constraints, column types, and the shape of a key."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    LargeBinary,
    MetaData,
    Text,
    func,
)
from sqlalchemy.orm import DeclarativeBase, mapped_column

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

Timestamp = DateTime(timezone=True)
Id = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
When = Annotated[datetime, mapped_column(Timestamp)]
Created = Annotated[datetime, mapped_column(Timestamp, server_default=func.now())]
Sealed = Annotated[bytes, mapped_column(LargeBinary, info={"sealed": True})]
Digest = Annotated[bytes, mapped_column(LargeBinary)]
Big = Annotated[int, mapped_column(BigInteger)]
Words = Annotated[str, mapped_column(Text)]


class Base(DeclarativeBase):
    """A row. `Sealed` columns hold what the vault made; nothing secret is stored otherwise."""

    metadata = MetaData(naming_convention=NAMING)


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """The column holds one of these words."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def uint32(column: str) -> CheckConstraint:
    """IMAP's nz-number and UIDs: unsigned 32 bits (RFC 9051 section 9), so never a signed int4."""
    return CheckConstraint(f"{column} BETWEEN 0 AND 4294967295", name=column)


def is_sealed(column: Column[Any]) -> bool:
    """The column was declared `Sealed`."""
    return column.info.get("sealed") is True
