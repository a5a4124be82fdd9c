"""The command line for tests: called in this process, on a database for each test."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from click.testing import Result
from typer.testing import CliRunner

from superimap.cli import app
from superimap.core import crypto

Superimap = Callable[..., Result]


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
def superimap(environment: pytest.MonkeyPatch) -> Superimap:
    """Call `superimap` with these words and assert its exit code, which is 0 unless `code` is given."""

    def call(*words: str, code: int = 0, stdin: str | None = None) -> Result:
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
