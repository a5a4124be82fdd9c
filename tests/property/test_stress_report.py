"""The report of a stress test is drawn for whatever was observed, and needs no other file."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.launch.stress import report, resource_charts
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.records import FaultRecord, ProcessSample, RunRecord
from superimap.launch.stress.verdict import judge_run
from tests.property.test_stress import mails, times

faults = st.builds(
    FaultRecord,
    kind=st.sampled_from(["kill", "outage", "<verb>"]),
    target=st.sampled_from(["idler1", "failing", "mailbox", "webhook"]),
    start=times,
    end=times,
    user=st.none() | st.integers(-1, 20),
    recovered=st.none() | times,
)
samples = st.builds(
    ProcessSample,
    at=times,
    process=st.sampled_from(["idler1", "idler2", "api1"]),
    life=st.integers(1, 3),
    resident_mib=st.floats(0, 1e4),
    descriptors=st.integers(0, 9999),
    cpu_seconds=st.floats(0, 1e4),
)
observations = st.builds(
    RunRecord,
    mails=mails(),
    faults=st.lists(faults, max_size=8),
    samples=st.lists(samples, max_size=20),
    strikes=st.lists(st.tuples(times, st.integers(-1, 20), st.sampled_from(["no", "bad"])), max_size=8),
    settled_at=st.none() | times,
    ended_at=times,
)


@settings(max_examples=40, deadline=None)
@given(observations)
def test_the_report_is_whole_for_any_observation(observed):
    plan = StressPlan()
    verdict = judge_run(plan, observed)

    page = report.render(plan, observed, verdict)

    figures = [each.chart for each in report.figures(plan, observed, verdict)]
    figures += [each.chart for each in resource_charts.resource_charts(plan, observed)]
    for chart in figures:
        ElementTree.fromstring(chart.svg)
        assert "nan" not in chart.svg.lower()
        assert all(len(row) == len(chart.headings) for row in chart.rows)
    assert not re.search(r"""(?:src|href)=|url\((?!#)|@import""", page)
    assert report.as_json(plan, observed, verdict)["verdict"] == verdict.word
