"""Privileges of the database roles: decided for every table, and never more than reading for what others own."""

from __future__ import annotations

import ast
import re

from fixtures import privileges as derived
from superimap.db.models import Base
from superimap.db.monitoring import cluster_status
from superimap.db.privileges import FIXED_FOR_API, HIDDEN_FROM_API, TABLES, Role, statements


def granted(role: Role) -> dict[str, str]:
    """Privileges of a role by table."""
    pattern = re.compile(rf"GRANT (.*) ON (\w+) TO {role};?$")
    return {found[2]: found[1] for line in statements([role]) if (found := pattern.match(line))}


def test_privileges_are_decided_for_every_table():
    tables = {*Base.metadata.tables, "alembic_version"}

    assert tables == TABLES.keys(), (
        "decide what the API and operators may do with it: superimap.db.privileges"
    )


def test_hidden_and_fixed_columns_exist():
    for table, columns in [*HIDDEN_FROM_API.items(), *FIXED_FOR_API.items()]:
        assert columns <= {column.name for column in Base.metadata.tables[table].columns}


def test_without_roles_nothing_is_changed():
    assert list(statements([])) == []


def test_only_operators_may_change_partners_and_providers():
    for role in Role:
        rights = granted(role)
        assert ("INSERT" in rights.get("providers", "")) is (role is Role.OPERATOR)
        assert ("DELETE" in rights.get("partners", "")) is (role is Role.OPERATOR)


def test_the_privileges_of_workers_are_derived_from_all_of_their_statements():
    """A statement in a `.sql` file is found by `make privileges`; one in a module only if it is listed there."""
    tables = "|".join([*Base.metadata.tables, "alembic_version"])
    statement = re.compile(rf"\b(FROM|INTO|UPDATE|JOIN|TABLE)\s+({tables})\b")
    known = {*derived.EVERY_WORKER, cluster_status.QUERY}
    for path in {path for worker in derived.WORKERS for path in derived.reachable(worker)}:
        for node in ast.walk(ast.parse(path.read_text())):
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            assert not statement.search(text) or text in known, f"{path}: {text}"


def test_no_role_may_truncate_or_reference_or_change_the_schema():
    for role in Role:
        for privileges in granted(role).values():
            words = set(re.findall(r"[A-Z]+", re.sub(r"\([^)]*\)", "", privileges)))
            assert words <= {"SELECT", "INSERT", "UPDATE", "DELETE"}
