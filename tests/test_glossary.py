"""The glossary names what exists: modules, classes, functions, constants, tables and columns."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from superimap.db.models import Base

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src/superimap"
GLOSSARY = ROOT / "docs/glossary.md"
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in GLOSSARY.read_text().splitlines()
    if line.startswith("| ") and not line.startswith("| Term ")
]
TABLES = Base.metadata.tables


def exists(kind: str, name: str) -> bool:
    """Whether this module, table, column, class, function or constant exists."""
    match kind:
        case "table":
            return name in TABLES
        case "column":
            table, _, column = name.partition(".")
            return table in TABLES and column in TABLES[table].columns
        case "class" | "function" | "constant":
            start = {"class": "class ", "function": "(async )?def ", "constant": ""}[kind]
            pattern = re.compile(rf"^{start}{name}\b", re.M)
            return any(pattern.search(path.read_text()) for path in SOURCE.rglob("*.py"))
        case _:
            return (SOURCE / name).is_file()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_code_named_by_a_term_exists(row):
    term, _, where = row
    named = re.findall(r"(?:(table|column|class|function|constant) )?`([\w./]+)`", where)

    assert named or where == "–", term
    for kind, name in named:
        assert exists(kind, name), f"{term}: {kind} {name}"


def test_every_database_table_has_a_term():
    named = set(re.findall(r"table `(\w+)`|column `(\w+)\.", GLOSSARY.read_text()))
    covered = {name for pair in named for name in pair if name}

    # The tables of credentials and counters have no concept of their own.
    assert set(TABLES) - covered == {
        "allowances",
        "api_keys",
        "login_tries",
        "signing_secrets",
        "vault_canaries",
    }


def test_terms_are_listed_once():
    terms = [row[0] for row in ROWS]

    assert len(terms) == len(set(terms))
