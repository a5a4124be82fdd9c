"""The command line for tests: called in this process, on a database for each test."""

from __future__ import annotations

import functools
import json
import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer.main
import typer.testing
from click.testing import Result
from typer.testing import CliRunner

from fixtures.engines import as_role
from superimap.cli import app
from superimap.core import crypto
from superimap.db.privileges import Role

Superimap = Callable[..., Result]

OF_THE_OWNER = {"migrate", "purge-audit", "up", "demo"}


@pytest.fixture(scope="session", autouse=True)
def commands_are_built_once() -> Iterator[None]:
    """Build the tree of commands once: 50 ms of CPU for each call of the command line."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(typer.testing, "_get_command", functools.cache(typer.main.get_command))
        yield


@pytest.fixture
def environment(database_url: str, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Settings for an installation on an empty, migrated database."""
    monkeypatch.setenv("DATABASE_URL", database_url)
    monkeypatch.setenv("ENCRYPTION_KEY", crypto.generate_key())
    monkeypatch.setenv("ENVIRONMENT", "development")
    monkeypatch.setenv("BASE_URL", "https://superimap.example.com")
    monkeypatch.setenv("COLUMNS", "80")
    return monkeypatch


@pytest.fixture
def superimap(environment: pytest.MonkeyPatch, database_url: str) -> Superimap:
    """Call `superimap` with these words and assert its exit code, which is 0 unless `code` is given.

    Commands that need no owner of the tables have the privileges of an operator.
    """

    def call(*words: str, code: int = 0, stdin: str | None = None) -> Result:
        url = os.environ.get("DATABASE_URL", "")
        is_operator = url == database_url and words[0] not in OF_THE_OWNER
        with pytest.MonkeyPatch.context() as patch:
            if is_operator:
                patch.setenv("DATABASE_URL", as_role(url, Role.OPERATOR))
            result = CliRunner().invoke(app, list(words), input=stdin)
        assert result.exit_code == code, (words, result.output, result.exception)
        if code == 1:
            assert result.stdout == ""
            assert all(line.startswith("error: ") for line in result.stderr.splitlines())
        return result

    return call


@pytest.fixture
def ask(superimap: Superimap) -> Callable[..., Any]:
    """Call `superimap … --json` and parse the answer, which must be all of standard output."""

    def call(*words: str, stdin: str | None = None) -> Any:
        return json.loads(superimap(*words, "--json", stdin=stdin).stdout)

    return call
