"""The Grafana dashboard has what Grafana needs to show each panel, and shows every metric that an alert is about.

Its queries are checked in test_alerts.py, and by a real Prometheus in tests/e2e/test_prometheus.py.
"""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.support.monitoring import DASHBOARD, RECORDED, metrics_in, panels, queries, samples

COLUMNS = 24
UNITS = {"short", "s", "cps", "reqps", "bytes", "percentunit"}
DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}

# Metrics without a panel: `superimap cluster`, the dashboard of SuperIMAP or a runbook has them.
NOT_SHOWN = {
    "superimap_attempts_unrecorded", "superimap_breakers_opened", "superimap_content_store_errors",
    "superimap_cursors_reread", "superimap_endpoints_disabled", "superimap_key_seals", "superimap_mails_ahead",
    "superimap_read_replica_used", "superimap_sessions_blind",
    "superimap_tracer_mailboxes", "superimap_users_archived",
    "superimap_users_unserved",
}  # fmt: skip


def test_the_dashboard_can_be_imported_beside_others():
    assert (DASHBOARD["title"], DASHBOARD["uid"], DASHBOARD["schemaVersion"]) == (
        "SuperIMAP",
        "superimap",
        39,
    )
    assert "id" not in DASHBOARD  # Grafana chooses it
    (variable,) = DASHBOARD["templating"]["list"]
    assert (variable["name"], variable["type"], variable["query"]) == (
        "datasource",
        "datasource",
        "prometheus",
    )
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(ids)) == len(ids)


def test_panels_do_not_overlap():
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        own = set(
            itertools.product(
                range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
            )
        )
        assert place["x"] + place["w"] <= COLUMNS
        assert not own & cells, panel["title"]
        cells |= own


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_a_panel_has_a_unit_a_data_source_and_named_series(panel: dict[str, Any]):
    assert panel["type"] in {"timeseries", "stat"}
    assert panel["fieldConfig"]["overrides"] == []
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    assert [target["refId"] for target in panel["targets"]] == list("ABCDEFGH"[: len(panel["targets"])])
    assert all(target["legendFormat"] for target in panel["targets"])
    for each in (panel, *panel["targets"]):
        assert each["datasource"] == DATASOURCE
    steps = panel["fieldConfig"]["defaults"].get("thresholds", {"steps": [{"value": None}]})["steps"]
    values = [step["value"] for step in steps]
    assert values[0] is None
    assert values[1:] == sorted(values[1:])


def test_every_metric_and_objective_has_a_panel():
    shown = " ".join(target["expr"] for panel in panels() for target in panel["targets"])
    names = {name for name, _ in metrics_in(shown)}
    known = {
        name for name in samples() if not name.endswith(("_total", "_bucket", "_count", "_sum", "_created"))
    }
    budgets = {name for name in RECORDED if name.endswith("budget28d")}

    def is_shown(metric: str) -> bool:
        return bool(
            names & {metric, f"{metric}_total", f"{metric}_bucket", f"{metric}_count", f"{metric}_sum"}
        )

    assert {metric for metric in known if not is_shown(metric)} == NOT_SHOWN
    assert [name for name in budgets if name not in shown] == []
    assert len(queries()) > len(panels())
