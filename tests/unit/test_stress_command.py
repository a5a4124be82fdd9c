"""The command `superimap stress`: what it deletes, and exit codes that are no verdict."""

from __future__ import annotations

from typer.testing import CliRunner

from superimap.cli import stress
from superimap.cli.app import app
from superimap.launch.stress.journal import EVENTS, FETCHED, GENERATED, RESOURCES, STORES, processed


def test_of_the_folder_for_the_report_only_what_an_earlier_test_wrote_is_deleted(tmp_path):
    written = {
        GENERATED,
        FETCHED,
        EVENTS,
        RESOURCES,
        STORES,
        processed(0),
        processed(9),
        "report.html",
        "verdict.json",
    }
    written |= {"api1.log", "idler3.log", "dispatcher12.log"}
    others = {"customers.csv", "syslog.log", "idler.log", "my-report.html", "notes.txt"}
    for name in written | others:
        (tmp_path / name).touch()

    stress._prepare_folder(tmp_path)

    assert {path.name for path in tmp_path.iterdir()} == others


def test_wrong_options_do_not_exit_with_the_code_for_a_machine_that_is_too_slow():
    wrong = [
        CliRunner().invoke(app, ["stress", *options]) for options in (["--minuts", "3"], ["--minutes", "0"])
    ]
    right = CliRunner().invoke(app, ["stress", "--help"])

    assert [each.exit_code for each in (*wrong, right)] == [1, 1, 0]
    assert "--minuts" in wrong[0].output
