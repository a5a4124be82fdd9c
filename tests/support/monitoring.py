"""What is shipped for Prometheus and Grafana: rules, alerts and queries; and the metrics of the code."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import prometheus_client
import yaml

import superimap.core.metrics  # noqa: F401 - registers them
from tests.support import needs

ROOT = Path(__file__).parents[2]
RULE_FILES = sorted((ROOT / "deploy/prometheus").glob("*.yaml"))
RULE_TESTS = sorted((ROOT / "deploy/prometheus/tests").glob("*.yaml"))
DASHBOARD = json.loads((ROOT / "deploy/grafana/superimap.json").read_text())
RULES: list[dict[str, Any]] = [
    rule
    for path in RULE_FILES
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
ALERTS = [rule for rule in RULES if "alert" in rule]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}


@dataclass(frozen=True, slots=True)
class Query:
    """A query, and where it is: a rule or a panel."""

    place: str
    expression: str


def panels() -> list[dict[str, Any]]:
    """All panels of the dashboard, also those in rows."""
    return [
        panel
        for outer in DASHBOARD["panels"]
        for panel in (outer, *outer.get("panels", ()))
        if panel["type"] != "row"
    ]


def queries() -> list[Query]:
    """All queries of rules and panels."""
    rules = [Query(rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES]
    return rules + [Query(each["title"], target["expr"]) for each in panels() for target in each["targets"]]


def metrics_in(expression: str) -> list[tuple[str, str]]:
    """Our metrics in an expression, each with its matchers."""
    return re.findall(r"(?<![:\w])(superimap_\w+)(?:\{([^}]*)\})?", expression)


def samples() -> dict[str, set[str]]:
    """Every sample name of our metrics, with its labels."""
    found: dict[str, set[str]] = {}
    for collector in prometheus_client.REGISTRY._collector_to_names:
        labels = set(getattr(collector, "_labelnames", ()))
        for name in prometheus_client.REGISTRY._collector_to_names[collector]:
            found[name] = labels | ({"le"} if name.endswith("_bucket") else set())
    return {name: labels for name, labels in found.items() if name.startswith("superimap_")}


def families() -> set[str]:
    """The names of our metrics as they are exported: those of counters end in `_total`."""
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in prometheus_client.REGISTRY.collect()
        if family.name.startswith("superimap_")
    }


def program(name: str) -> str:
    """The path of `prometheus` or `promtool`."""
    return shutil.which(name) or needs(f"{name}: apt-get install prometheus")
