"""The benchmarks run, and sessions stay within generous bounds; exact figures need a quiet machine."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks import measure
from benchmarks.__main__ import app
from superimap.testing.dovecot import server as dovecot
from tests.support import needs

pytestmark = pytest.mark.slow


def bench(*words: str) -> dict[str, Any]:
    """Run a benchmark in a process of its own; returns its line of JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", *words],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (line,) = done.stdout.splitlines()
    return json.loads(line)


@pytest.mark.parametrize(("tls", "most", "most_after_mail"), [(("--tls",), 60, 90), ((), 25, 90)])
def test_an_idle_session_stays_small_after_a_big_mail(tls, most, most_after_mail):
    """For comparison: asyncio's own TLS takes 300 KiB, and 640 KiB after the mail."""
    found = bench("sessions", "--count", "300", "--seconds", "0.5", "--mail-bytes", "500000", *tls)

    assert 1 < found["kib_per_session"] < most
    assert found["kib_after_mail"] < most_after_mail
    assert (found["dropped"], found["files_left"]) == (0, 0)
    assert found["mib_left"] < 20
    assert {"connect_cpu_ms", "lag_p99_ms", "idle_cpu_s", "gc_ms", "gc_frozen_ms"} <= found.keys()


def test_every_wake_up_reads_its_mail():
    found = bench("wake", "--count", "200", "--sessions", "50", "--tls")

    assert found["count"] == 200
    assert found["dropped"] == 0
    assert 0 < found["cpu_ms_per_wake"] < 10  # generous: machines differ
    assert found["wakes_per_cpu_s"] > 100


def test_a_hostile_server_ends_only_its_own_session_and_takes_little_memory():
    found = bench("hostile", "--sessions", "10", "--wakes", "10", "--mib", "60")

    assert found["ended_only_it"] is True
    assert found["ended_by"] == dict.fromkeys(("literal", "line", "untagged"), "LimitExceeded")
    assert max(found["rss_growth_mib"].values()) < 50
    assert found["others_p95_ratio"].keys() == found["ended_by"].keys()


def test_many_sessions_of_a_hostile_server_take_bounded_memory_and_end_no_other():
    attacks = ("held", "esearch")
    words = [word for name in attacks for word in ("--attack", name)]

    found = bench("hostile", "--sessions", "10", "--wakes", "10", "--hostile", "10", *words)

    assert found["ended_only_it"] is True
    assert found["rss_growth_mib"].keys() == set(attacks)
    assert max(found["rss_growth_mib"].values()) < 96  # BYTES_IN_FLIGHT and the pool


def test_a_backlog_is_delivered_once_and_others_are_measured_beside_a_hanging_endpoint():
    found = bench(
        "deliver",
        "--count",
        "200",
        "--endpoints",
        "10",
        "--answer-ms",
        "5",
        "--hanging",
        "30",
        "--seconds",
        "1",
    )

    assert (found["webhooks"], found["lost"], found["duplicates"]) == (200, 0, 0)
    assert found["webhooks_per_s"] > 10  # generous: machines differ
    assert 0 < found["cpu_ms_per_webhook"] < 50
    assert found["p95_alone_ms"] > 0 < found["p95_beside_ms"]
    assert (found["p95_ratio"] > 0, found["samples"]) == (True, 100)


@pytest.mark.parametrize("server", ["own", "dovecot"])
def test_mails_are_measured_from_imap_to_webhook_and_none_is_lost(server):
    if server == "dovecot" and dovecot.DOVECOT_PROGRAM is None:
        needs("Dovecot: apt-get install dovecot-imapd")

    found = bench(
        *("mail", "--server", server, "--singly", "5", "--idle", "20"),
        *("--burst", "100", "--burst-users", "10", "--partners", "2"),
    )

    assert (found["server"], found["lost"], found["duplicates"]) == (server, 0, 0)
    assert 0 < found["latency_p50_ms"] <= found["latency_p95_ms"]
    assert found["mails_per_s"] > 1  # generous: machines differ
    assert found["cpu_s_per_1000_by_process"].keys() == {
        *("idler", "dispatcher", "postgres", "valkey"),
        *("mail_server", "receiver"),
    }
    assert 0 < found["cpu_s_per_1000"] < 100


def test_sessions_reconnect_before_their_tokens_expire_and_nothing_is_lost():
    found = bench(
        "tokens",
        "--users",
        "20",
        "--life",
        "5",
        "--seconds",
        "6",
        "--mails-per-second",
        "10",
        "--idlers",
        "1",
    )

    assert (found["lost"], found["duplicates"], found["mails"]) == (0, 0, 60)
    assert (found["cut_by_server"], found["logins_refused"]) == (0, 0)
    assert found["expiries"] > 10
    # One refresh for each session that reconnects; at either end some are between the two.
    assert abs(found["refreshes"] - found["expiries"]) <= 3
    assert 0 < found["reconnects_per_s_mean"] <= found["reconnects_per_s_max"]


def test_without_dovecot_or_inotify_instances_the_error_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(dovecot, "DOVECOT_PROGRAM", None)
    missing = CliRunner().invoke(app, ["mail", "--server", "dovecot"])
    monkeypatch.setattr(dovecot, "DOVECOT_PROGRAM", "/usr/sbin/dovecot")
    monkeypatch.setattr(dovecot, "INOTIFY_INSTANCES", tmp_path / "not there")
    narrow = CliRunner().invoke(app, ["mail", "--server", "dovecot", "--idle", "1000"])

    assert (missing.exit_code, narrow.exit_code) == (1, 1)
    assert "apt-get install dovecot-imapd" in missing.stderr
    assert "sysctl fs.inotify.max_user_instances=1128" in narrow.stderr


def test_a_limit_of_open_files_that_is_too_low_is_reported(monkeypatch):
    def refuse(*_arguments: object) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (100, 200))
    monkeypatch.setattr(resource, "setrlimit", refuse)

    result = CliRunner().invoke(app, ["sessions", "--count", "1000"])

    assert result.exit_code == 1
    assert "1000 sessions need 1256 open files and 200 are allowed" in result.stderr


def test_the_limit_of_open_files_is_raised_only_if_needed(monkeypatch):
    asked = []
    monkeypatch.setattr(resource, "setrlimit", lambda _kind, limits: asked.append(limits))
    monkeypatch.setattr(resource, "getrlimit", lambda _kind: (1024, 4096))

    measure.allow_files(500)
    measure.allow_files(2000)

    assert asked == [(2256, 4096)]


def test_a_quiet_round_is_one_query_and_a_join_or_death_moves_one_share():
    found = bench("rebalance", "--users", "4000", "--idlers", "5")

    assert found["queries_per_round"] == 1
    assert found["max_over_mean"] <= 1.2
    assert found["moved_on_join"] <= 1.1
    assert found["moved_on_leave"] <= 1.1


def test_a_whole_idler_starts_and_stops_with_every_user_signed_in_once():
    found = bench("idler", "--users", "100", "--tls", "--seconds", "1", "--logins-per-second", "500")

    assert found["logins"] == 100
    assert found["stop_s"] < 25


def test_users_that_the_api_creates_are_measured_until_all_are_watched():
    found = bench("onboard", "--users", "20", "--tls")

    processes = {"api", "idler", "dispatcher", "postgres", "valkey"}
    assert (found["users"], found["tls"]) == (20, True)
    assert found["cpu_s_per_1000_by_process"].keys() == processes
    assert 0 < found["cpu_s_per_1000"] < 500  # generous: machines differ
    assert found["transactions_per_user"] > 0
