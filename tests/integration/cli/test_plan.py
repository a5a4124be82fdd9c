"""`superimap plan`: no settings are needed, the output fits 80 columns, and errors name the option."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from typer.testing import CliRunner

from superimap.cli import app, plan
from tests.support.pages import ROOT

LARGE = ("plan", "--mailboxes", "10000000", "--mails-per-day", "200000000")


def run(*words: str, code: int = 0) -> str:
    result = CliRunner().invoke(app, list(words), env={"DATABASE_URL": "", "COLUMNS": "80"})
    assert result.exit_code == code, result.output
    return result.stdout if code == 0 else result.stderr


@pytest.mark.parametrize(
    "words", [LARGE, ("plan", "--mailboxes", "10", "--mails-per-day", "9", "--zones", "1")], ids=["10M", "10"]
)
def test_a_plan_fits_80_columns_and_names_its_bottleneck_and_coefficients(words):
    said = run(*words)

    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"\de[-+]\d", said)
    assert "First bottleneck: " in said
    for name in ("idlers", "CPU of PostgreSQL", "memory of idlers", "PostgreSQL connections", "WAL per day"):
        assert sum(line.startswith(name) for line in said.splitlines()) == 1
    assert "session_kib " in said
    assert "disk_bytes_per_mail " in said


def test_more_cells_than_partners_are_named():
    said = run(*LARGE, "--partners", "1", "--postgres-cores", "1")

    assert re.search(r"plan \d+ cells", said)
    assert "at least as many partners as cells" in said.replace("\n", " ")
    assert "as many partners" not in run(*LARGE, "--postgres-cores", "64")


def test_json_has_the_same_needs_with_units_and_bases():
    found = json.loads(run(*LARGE, "--json"))

    assert found["demand"]["mailboxes"] == 10_000_000
    assert found["needs"].keys() >= {"idlers", "connections", "wal_gb_per_day", "disk_gb", "logins_per_s"}
    assert all(each["from"] and each["amount"] >= 0 for each in found["needs"].values())
    uses = [each["use"] for each in found["bottlenecks"] if each["is_hard"]]
    assert uses == sorted(uses, reverse=True)
    assert found["machine"]["date"]


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (("--mailboxes", "0"), "--mailboxes must be from 1 to"),
        (("--mailboxes", "99999999999"), "--mailboxes must be from 1 to"),
        (("--mail-kib", "nan"), "--mail-kib must be from"),
        (("--max-sessions", "10"), "--max-sessions must be at least 2,442"),
        (("--partners", "99999999"), "--partners must be from 1 to"),
    ],
)
def test_an_absurd_value_is_one_line_that_names_the_option(words, error):
    said = run(*LARGE, *words, code=1)

    assert said.startswith(f"error: {error}")
    assert len(said.splitlines()) == 1


def test_the_wheel_has_the_file_of_the_benchmark_where_the_command_looks_first(tmp_path, monkeypatch):
    forced = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
        "wheel"
    ]
    packaged = tmp_path / "superimap" / "domain" / "coefficients.json"
    monkeypatch.setattr(plan, "__file__", str(tmp_path / "superimap" / "cli" / "plan.py"))

    assert forced["force-include"]["benchmarks/coefficients.json"] == "superimap/domain/coefficients.json"
    packaged.parent.mkdir(parents=True)
    packaged.write_text("{}")
    assert plan.coefficients_file() == packaged
