"""Obstacles to distributing the tables by partner, as Citus does: found in the models and statements."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import ForeignKeyConstraint, Table, UniqueConstraint

import superimap.db
from superimap.db import statements
from superimap.db.models import Base

COLUMN = "partner_id"
TABLES = Base.metadata.tables
PARTNER_TABLES = {name for name, table in TABLES.items() if COLUMN in table.c}
FOLDER = Path(superimap.db.__file__).parent
_TABLE = re.compile(r"\b(?:FROM|JOIN|UPDATE|INTO)\s+([a-z_]+)")


def obstacles() -> Iterator[tuple[str, str]]:
    """Yield each kind of obstacle, and where it is."""
    yield f"Tables of partners, with a column `{COLUMN}`", _list(PARTNER_TABLES)
    yield "Tables without it", _list(TABLES.keys() - PARTNER_TABLES)
    yield "Unique keys of the former without it, which Citus refuses", "; ".join(unique_keys())
    yield (
        "Foreign keys between tables of partners without it, which Citus refuses",
        "; ".join(foreign_keys()) or "none",
    )
    scattered = scattered_statements()
    shown = "; ".join(f"{file}: {_list(names)}" for file, names in sorted(scattered.items()))
    count = sum(map(len, scattered.values()))
    yield f"Statements on tables of partners that do not name it ({count} of {len(_statements())})", shown


def unique_keys() -> Iterator[str]:
    """Yield the primary keys and unique keys of tables of partners that lack the column."""
    for name in sorted(PARTNER_TABLES):
        keys = {tuple(key): None for key in _keys(TABLES[name])}
        if found := [f"({', '.join(key)})" for key in keys if COLUMN not in key]:
            yield f"`{name}` {' '.join(sorted(found))}"


def foreign_keys() -> Iterator[str]:
    """Yield the foreign keys between tables of partners that lack the column."""
    for name in sorted(PARTNER_TABLES):
        for key in TABLES[name].constraints:
            if isinstance(key, ForeignKeyConstraint):
                target = key.referred_table.name
                if target in PARTNER_TABLES and COLUMN not in key.column_keys:
                    yield f"`{name}` ({', '.join(key.column_keys)}) to `{target}`"


def scattered_statements() -> dict[str, set[str]]:
    """Return statements that use tables of partners and do not name the column, by file."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for (file, name), sql in _statements().items():
        if COLUMN not in sql and PARTNER_TABLES & set(_TABLE.findall(sql)):
            found[file].add(name)
    return dict(found)


def _statements() -> dict[tuple[str, str], str]:
    return {
        (str(file.relative_to(FOLDER).with_suffix("")), name): each.bind(**dict.fromkeys(each.parameters))[0]
        for file in sorted(FOLDER.rglob("*.sql"))
        if file.name != "worker_privileges.sql"
        for name, each in statements.load(str(file.with_suffix(".py"))).items()
    }


def _keys(table: Table) -> Iterator[list[str]]:
    yield [column.name for column in table.primary_key.columns]
    for each in table.constraints:
        if isinstance(each, UniqueConstraint):
            yield [column.name for column in each.columns]
    for index in table.indexes:
        if index.unique:
            yield [re.sub(r"^\w+\.", "", str(part)) for part in index.expressions]


def _list(names: set[str]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))
