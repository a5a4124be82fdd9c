"""Metrics of a process about itself: delay of its event loop, errors in its log, and series that begin at 0."""

from __future__ import annotations

import logging
import sys

import pytest
from prometheus_client import REGISTRY

from superimap.core import logged_errors
from superimap.core.logged_errors import MAX_CLASSES, count_error, error_class
from superimap.core.loop_lag import WINDOW_SECONDS, LoopLag
from superimap.idler.tracer_job import begin_series


def test_a_delay_is_shown_for_at_least_one_interval_of_scrapes_and_then_forgotten():
    lag = LoopLag(began=0.0)
    lag.record(0.2, now=1.0)
    lag.record(0.01, now=2.0)
    shown = []
    for second in range(3, int(3 * WINDOW_SECONDS)):
        lag.record(0.001, now=float(second))
        shown.append((second, lag.seconds))

    large = [second for second, seconds in shown if seconds == 0.2]
    assert large == [*range(3, int(2 * WINDOW_SECONDS))]
    assert shown[-1][1] == pytest.approx(0.01, abs=0.01)


def record(sentence: str, *arguments: object, **fields: object) -> logging.LogRecord:
    found = logging.LogRecord(
        "superimap.x", logging.WARNING, "", 0, sentence, arguments, fields.pop("exc_info", None)
    )
    vars(found).update(fields)
    return found


def test_the_class_of_an_error_is_that_of_the_traceback_an_argument_or_a_field():
    try:
        {}["x"]
    except KeyError:
        with_traceback = record("request failed", exc_info=sys.exc_info())

    assert error_class(with_traceback) == "KeyError"
    assert error_class(record("round failed: %s", TimeoutError())) == "TimeoutError"
    assert error_class(record("session ended: %s", "closed", error="TimedOut")) == "TimedOut"
    assert error_class(record("stopping", signal="SIGTERM")) is None
    assert error_class(record("refused: %s", "x", error="a text of the server")) is None


def test_the_number_of_classes_is_bounded(monkeypatch):
    monkeypatch.setattr(logged_errors, "_classes", set())

    def counted(name: str) -> float:
        return REGISTRY.get_sample_value("superimap_errors_total", {"error": name}) or 0.0

    others = counted("other")
    for number in range(MAX_CLASSES + 5):
        count_error(record("failed: %s", type(f"Invented{number}", (Exception,), {})()))

    assert counted("Invented0") == 1
    assert counted(f"Invented{MAX_CLASSES}") == 0
    assert counted("other") == others + 5


def test_the_series_of_a_provider_with_tracers_begin_at_0():
    begin_series("BEGUN")

    for result in ("sent", "detected", "late", "missing", "unsendable"):
        labels = {"provider": "BEGUN", "result": result}
        assert REGISTRY.get_sample_value("superimap_tracers_total", labels) == 0
