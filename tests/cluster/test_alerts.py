"""Rules, alerts and their tests: checked by promtool, and compared with the code and the documentation."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from superimap.db.monitoring.cluster_status import IDLER_STATES
from superimap.dispatcher.cluster_metrics import TROUBLED_STATES
from superimap.domain.quotas import Quota
from superimap.idler.sweep_run import INTERNAL
from tests.support.monitoring import (
    ALERTS,
    RECORDED,
    RULE_FILES,
    RULE_TESTS,
    Query,
    metrics_in,
    program,
    queries,
    samples,
)
from tests.support.pages import OPERATIONS

DOCUMENTATION = "https://docs.example.com/superimap/docs/operations.html#"


def promtool(*arguments: str | Path) -> None:
    """Run promtool; its output is the reason of a failure."""
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_all_rules():
    promtool("check", "rules", *RULE_FILES)


@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_silent_as_their_tests_say(path: Path):
    promtool("test", "rules", path)


def test_every_alert_has_a_test_in_which_it_fires_and_one_in_which_it_is_silent():
    fires: set[str] = set()
    is_silent: set[str] = set()
    for path in RULE_TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for each in test.get("alert_rule_test", ()):
                (fires if each["exp_alerts"] else is_silent).add(each["alertname"])
    names = {rule["alert"] for rule in ALERTS}

    assert (names - fires, names - is_silent) == (set(), set())


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.place)
def test_queries_use_existing_metrics_and_labels(query: Query):
    known = samples()
    asked = metrics_in(query.expression)
    recorded = set(re.findall(r"superimap:\w+:\w+", query.expression))

    assert asked or recorded
    assert recorded <= RECORDED
    for name, matchers in asked:
        assert name in known, name
        assert not name.endswith(("_total", "_bucket", "_count", "_sum")) or re.search(
            rf"(rate|increase|absent)\({name}", query.expression
        )
        assert set(re.findall(r"(\w+)[!=]", matchers)) <= known[name]
    grouped = {
        label.strip()
        for by in re.findall(r"(?:by|on) \(([^)]*)\)", query.expression)
        for label in by.split(",")
    }
    assert grouped - {"", "instance", "provider"} <= set().union(*(known[name] for name, _ in asked))


def test_label_values_in_queries_are_values_that_are_set():
    matchers = [text for query in queries() for _, text in metrics_in(query.expression)]
    values = {
        value
        for text in matchers
        for label, given in re.findall(r'(\w+)[!=]~?=?"([^"]+)"', text)
        if label != "le"
        for value in given.split("|")
    }

    assert values <= {
        *IDLER_STATES, *TROUBLED_STATES, INTERNAL, "owned", "free", "expired", "wanted", "watched", "unserved",
        "taken", "returned", "lost", "given", "api", "up", "5xx", "failed", "backlog_.+",
        "detected", "late", "missing", "sent", "unsendable",
        "provider", "recording", "sending", "receiver", "arrival",
    }  # fmt: skip
    assert [each for each in Quota if re.fullmatch("backlog_.+", each.value)]


def slug(heading: str) -> str:
    """The anchor of a heading."""
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_every_alert_has_a_severity_a_summary_and_a_runbook(rule: dict[str, Any]):
    text = OPERATIONS.read_text()
    anchors = {slug(heading) for heading in re.findall(r"^#{2,3} (.+)$", text, re.M)}
    address = rule["annotations"]["runbook_url"]

    assert rule["labels"]["severity"] in {"critical", "warning"}
    assert rule["annotations"]["summary"]
    assert address.startswith(DOCUMENTATION)
    assert address.removeprefix(DOCUMENTATION) in anchors
    assert f"| `{rule['alert']}` |" in text


def test_the_runbooks_name_no_other_alert():
    assert set(re.findall(r"`(Superimap[A-Z]\w+)`", OPERATIONS.read_text())) == {
        rule["alert"] for rule in ALERTS
    }
