"""The command `superimap stress` on engines in use: it changes nothing of theirs."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from typer.testing import CliRunner

from superimap.cli import app
from superimap.db import migrate


@pytest.fixture
def migrated(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The databases whose schema was to be migrated; the attempt ends the command."""
    found: list[str] = []

    def upgrade(url: str) -> None:
        found.append(url)
        raise RuntimeError("no migration is expected")

    monkeypatch.setattr(migrate, "upgrade", upgrade)
    return found


def stress(folder: Path) -> str:
    """Run the command, which must fail; return what it says."""
    result = CliRunner().invoke(app, ["stress", "--report", str(folder)])
    assert result.exit_code == 1
    return result.stderr


def test_a_database_with_partners_is_refused_before_it_is_migrated(superimap, migrated, tmp_path):
    superimap("partners", "create", "acme")

    error = stress(tmp_path)

    assert "error: The database of DATABASE_URL has partners" in error
    assert migrated == []


def test_a_valkey_with_keys_is_refused(environment, redis_url, migrated, tmp_path):
    environment.delenv("DATABASE_URL")
    environment.setenv("REDIS_URL", redis_url)
    with Redis.from_url(redis_url) as redis:
        redis.set("wake-up", "of another")

    error = stress(tmp_path)

    assert "error: The database of REDIS_URL has keys" in error
    assert migrated == []


def test_a_valkey_that_does_not_answer_is_one_line(environment, migrated, tmp_path):
    environment.delenv("DATABASE_URL")
    environment.setenv("REDIS_URL", "redis://:secret@127.0.0.1:1/0")

    error = stress(tmp_path)

    assert error == "error: The server of REDIS_URL does not answer: ConnectionError\n"
    assert migrated == []
