"""Loader of the SQL statements that are run on asyncpg; they are in `.sql` files beside the modules that run them.

A file is in the format of aiosql. Each statement begins with `-- name: …` and has named parameters, `:user_id`;
the character after the name says what the statement returns: `^` one row, `$` one value, `!` nothing, none any
rows. aiosql reads the file and numbers the parameters once, when the module is imported. asyncpg then runs the
statement directly: aiosql's own methods, which wrap each call, are not used. docs/decisions/0033 gives the
figures.
"""

from pathlib import Path
from typing import Any

import aiosql


class Statement:
    """A statement in asyncpg's form: `$1`, `$2` …, with the names of its parameters in that order."""

    __slots__ = ("name", "parameters", "sql")

    def __init__(self, name: str, sql: str, parameters: tuple[str, ...]) -> None:
        self.name = name
        self.sql = sql
        self.parameters = parameters

    def bind(self, **values: object) -> tuple[Any, ...]:
        """Return the statement and its arguments in order: `await pool.fetch(*statement.bind(user_id=7))`.

        Raises TypeError if a parameter is missing or unknown.
        """
        if len(values) == len(self.parameters):
            try:
                return self.sql, *map(values.__getitem__, self.parameters)
            except KeyError:
                pass
        raise TypeError(f"{self.name} takes {sorted(self.parameters)}; got {sorted(values)}")


def load(module_file: str) -> dict[str, Statement]:
    """Return, by name, the statements of the `.sql` file beside a module; called with its `__file__`."""
    queries = aiosql.from_path(Path(module_file).with_suffix(".sql"), "asyncpg", mandatory_parameters=False)
    found = {}
    for name in queries.available_queries:
        if name.endswith("_cursor"):  # a second method that aiosql makes for each query
            continue
        query = getattr(queries, name)
        # In order of first use, as aiosql numbers them; the first parameter is the connection.
        _connection, *parameters = query.__signature__.parameters
        found[name] = Statement(name, query.sql, tuple(parameters))
    return found
