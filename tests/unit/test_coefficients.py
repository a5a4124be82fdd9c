"""The file of coefficients: complete, and compared with a new measurement by a factor of 1.5."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from benchmarks import coefficients_file
from superimap.domain.coefficients import MEANINGS

KNOWN = coefficients_file.read()


def test_the_file_has_every_coefficient_with_its_meaning_the_machine_and_the_date():
    file = json.loads(coefficients_file.FILE.read_text())

    assert file["meanings"] == MEANINGS
    assert file["coefficients"].keys() == asdict(KNOWN).keys()
    assert file["machine"].keys() == {"date", "cpu", "cores", "system", "python", "postgresql"}


@pytest.mark.parametrize(
    ("factor", "is_reported"), [(1.49, False), (0.67, False), (1.51, True), (0.66, True)]
)
def test_a_measurement_that_differs_by_more_than_half_is_reported_with_both_values(factor, is_reported):
    found = replace(KNOWN, session_kib=KNOWN.session_kib * factor)

    reported = {"session_kib": (KNOWN.session_kib, found.session_kib)} if is_reported else {}
    assert coefficients_file.deviations(KNOWN, found) == reported


def test_a_difference_that_is_too_small_to_measure_is_not_reported():
    known = replace(KNOWN, api_base_cpu_ms_per_s=0.0, idler_connections=2.0)

    assert coefficients_file.deviations(known, replace(known, api_base_cpu_ms_per_s=4.0)) == {}
    assert coefficients_file.deviations(known, replace(known, api_base_cpu_ms_per_s=6.0))
    assert coefficients_file.deviations(known, replace(known, idler_connections=3.0)) == {}


def test_a_busy_machine_compares_sizes_and_counts_only():
    slow, large = replace(KNOWN, idler_cpu_ms_per_mail=99.0), replace(KNOWN, wal_bytes_per_mail=1e6)

    assert coefficients_file.deviations(KNOWN, slow, counted_only=True) == {}
    assert coefficients_file.deviations(KNOWN, large, counted_only=True).keys() == {"wal_bytes_per_mail"}


def test_what_is_measured_is_written_and_read_again(tmp_path, monkeypatch):
    monkeypatch.setattr(coefficients_file, "FILE", tmp_path / "coefficients.json")

    coefficients_file.write(KNOWN, {"date": "2026-01-01"})

    assert coefficients_file.read() == KNOWN
    assert json.loads(coefficients_file.FILE.read_text())["machine"] == {"date": "2026-01-01"}
