"""The `.sql` files: every statement is valid on the real schema, and repeated CTEs are the same everywhere."""

from __future__ import annotations

import importlib
import itertools
import re
from pathlib import Path

import asyncpg
import pytest

import superimap.db
from superimap.db import statements
from superimap.db.statements import Statement

FOLDER = Path(superimap.db.__file__).parent
FILES = sorted(FOLDER.glob("*/*.sql"))
ALL = {
    f"{file.parent.name}/{file.stem}:{name}": statement
    for file in FILES
    for name, statement in statements.load(str(file.with_suffix(".py"))).items()
}


@pytest.fixture
async def connection(database_url):
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.mark.parametrize("name", ALL)
async def test_statement_is_valid_and_takes_the_parameters_it_names(connection, name):
    prepared = await connection.prepare(ALL[name].sql)

    assert len(prepared.get_parameters()) == len(ALL[name].parameters)


@pytest.mark.parametrize("name", ALL)
def test_statement_is_loaded_by_the_module_beside_its_file(name):
    module, statement = name.split(":")
    loaded = importlib.import_module(f"superimap.db.{module.replace('/', '.')}")

    used = {value.name for value in vars(loaded).values() if isinstance(value, Statement)}

    assert statement in used


@pytest.mark.parametrize("name", ALL)
def test_comments_are_lines_of_their_own_and_do_not_reach_the_server(name):
    # aiosql removes whole lines only, and an apostrophe in any other comment would hide the parameters after it.
    assert "--" not in ALL[name].sql
    assert ":" not in ALL[name].sql.replace("::", "")


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_file_loads_without_a_warning(file, caplog):
    statements.load(str(file.with_suffix(".py")))

    assert not caplog.records


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_each_cte_has_a_comment(file):
    lines = file.read_text().splitlines()
    bare = [
        line
        for before, line in itertools.pairwise(lines)
        if re.match(r"\w+ AS (MATERIALIZED )?\($", line) and not before.startswith("-- ")
    ]

    assert not bare


def ctes(sql: str, name: str) -> set[str]:
    return set(re.findall(rf"(?m)^\s*{name} AS (?:MATERIALIZED )?\(\n.*?\n\s*\)", sql, re.DOTALL))


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("recorded_events", 5),
        ("event_deliveries", 5),
        ("fence", 9),
        ("given", 2),
        ("settled", 2),
        ("recorded", 2),
    ],
)
def test_cte_that_several_statements_repeat_is_the_same_in_each(name, count):
    of_one_file = [file.read_text() for file in FILES if f"\n{name} AS " in file.read_text()]
    if name == "recorded":  # intake has a CTE of the same name for the mails
        of_one_file = [text for text in of_one_file if "settle_attempts" in text]
    texts = "\n".join(of_one_file)

    assert texts.count(f"\n{name} AS ") == count
    assert len(ctes(texts, name)) == 1


def test_a_missing_or_unknown_parameter_is_an_error():
    statement = Statement("find", "SELECT $1, $2", ("first", "second"))

    assert statement.bind(second=2, first=1) == ("SELECT $1, $2", 1, 2)
    with pytest.raises(TypeError, match=r"find takes \['first', 'second'\]; got \['first'\]"):
        statement.bind(first=1)
    with pytest.raises(TypeError, match=r"got \['first', 'third'\]"):
        statement.bind(first=1, third=3)
    with pytest.raises(TypeError, match="got"):
        statement.bind(first=1, second=2, third=3)


def test_a_parameter_that_occurs_twice_is_passed_once():
    assert ALL["watching/intake:record_mails"].parameters[:4] == ("shard", "owner", "epoch", "user_id")
    assert len(ALL["watching/intake:record_mails"].parameters) == 39
