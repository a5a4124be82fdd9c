"""Built-in array types are known without a query, and described as the server describes them."""

from __future__ import annotations

import datetime
import uuid

import asyncpg
import pytest

from superimap.db import postgres
from superimap.db.array_types import BUILT_IN_ARRAYS

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
VALUES = {
    "bool": [True, None],
    "bytea": [b"\0\xff"],
    "name": ["users"],
    "int2": [1, -2],
    "int4": [1, -2],
    "int8": [2**62],
    "float8": [0.5],
    "timestamptz": [EPOCH],
    "uuid": [uuid.UUID(int=7)],
}


async def test_descriptions_equal_those_of_the_server(database_url: str):
    db = await asyncpg.connect(database_url)
    rows, _ = await db._introspect_types(list(BUILT_IN_ARRAYS), 10.0)
    await db.close()
    columns = next(iter(BUILT_IN_ARRAYS.values()))
    described = {row["oid"]: {column: row[column] for column in columns} for row in rows}
    assert {oid: described[oid] for oid in BUILT_IN_ARRAYS} == BUILT_IN_ARRAYS


@pytest.mark.parametrize("name", VALUES)
async def test_an_array_needs_one_query(database_url: str, name):
    queries: list[str] = []
    db = await postgres.connect(database_url)
    with db.query_logger(lambda query: queries.append(query.query)):
        assert await db.fetchval(f"SELECT $1::{name}[]", VALUES[name]) == VALUES[name]
    await db.close()
    assert len(queries) == 1


async def test_rows_in_an_array_need_one_query(database_url: str):
    queries: list[str] = []
    db = await postgres.connect(database_url)
    with db.query_logger(lambda query: queries.append(query.query)):
        assert await db.fetchval("SELECT array_agg(ROW(1::bigint, 'a'::text))") == [(1, "a")]
    await db.close()
    assert len(queries) == 1


async def test_another_type_is_described_by_the_server(database_url: str):
    db = await postgres.connect(database_url)
    await db.execute("CREATE TYPE colour AS ENUM ('red', 'green')")
    assert await db.fetchval("SELECT $1::colour[]", ["red"]) == ["red"]
    assert await db.fetchval("SELECT ROW($1::int8[], $2::colour)", [1], "green") == ([1], "green")
    await db.close()
