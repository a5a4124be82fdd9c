"""Declarative base of the tables: column types, constraint names and shared check constraints."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from sqlalchemy import (
    ARRAY,
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

CONSTRAINT_NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}

_TIMESTAMPTZ = DateTime(timezone=True)

IdentityKey = Annotated[int, mapped_column(BigInteger, Identity(), primary_key=True)]
TimestampDefaultNow = Annotated[datetime, mapped_column(_TIMESTAMPTZ, server_default=func.now())]
SealedBytes = Annotated[bytes, mapped_column(LargeBinary, info={"sealed": True})]
FolderList = Annotated[list[str], mapped_column(ARRAY(Text))]
DigestBytes = Annotated[bytes, mapped_column(LargeBinary)]


class Base(DeclarativeBase):
    """Base class of every table. Secrets are stored in `SealedBytes` columns only, encrypted by the vault."""

    metadata = MetaData(naming_convention=CONSTRAINT_NAMES)
    type_annotation_map: ClassVar = {str: Text, datetime: _TIMESTAMPTZ}


def one_of(column: str, words: type[StrEnum]) -> CheckConstraint:
    """Check constraint: the column holds one of the values of this enum."""
    listed = ", ".join(f"'{word}'" for word in words)
    return CheckConstraint(f"{column} IN ({listed})", name=column)


def non_negative(column: str) -> CheckConstraint:
    """Check constraint: the column holds no negative number.

    IMAP's UIDs have 32 bits (RFC 9051 section 9); some servers exceed them, so a bigint has no other bound.
    """
    return CheckConstraint(f"{column} >= 0", name=column)


def is_sealed(column: Column[Any]) -> bool:
    """Whether the column was declared as `SealedBytes`."""
    return column.info.get("sealed") is True
