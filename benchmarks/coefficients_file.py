"""The file of coefficients: written by the benchmark, and compared with a new measurement."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from superimap.domain.coefficients import MEANINGS, Coefficients, read_coefficients

FILE = Path(__file__).with_name("coefficients.json")
MAX_FACTOR = 1.5
"""Factor by which a new measurement may differ from the file."""
INSIGNIFICANT = {
    "mib": 1.0,
    "connections": 1.0,
    "cpu_ms_per_s": 5.0,
    "cpu_ms_per_renewal": 0.05,
}
"""Differences that count for nothing, by the end of a name: below them a factor says nothing."""


COUNTED = ("_mib", "_kib", "_connections", "_bytes_per_mail", "_bytes_per_mail_byte")
"""Ends of the names of coefficients that are sizes and counts: a busy machine and a short phase give the same."""


def write(found: Coefficients, machine: dict[str, Any]) -> None:
    """Write the file."""
    text = json.dumps({"machine": machine, "coefficients": asdict(found), "meanings": MEANINGS}, indent=2)
    FILE.write_text(text + "\n")


def read() -> Coefficients:
    """Return the coefficients of the file."""
    return read_coefficients(json.loads(FILE.read_text())["coefficients"])


def deviations(
    known: Coefficients, found: Coefficients, *, counted_only: bool = False
) -> dict[str, tuple[float, float]]:
    """Return the coefficients that differ by more than MAX_FACTOR, with both values."""
    return {
        name: (value, measured)
        for (name, value), measured in zip(asdict(known).items(), asdict(found).values(), strict=True)
        if not _is_near(name, value, measured) and (not counted_only or name.endswith(COUNTED))
    }


def _is_near(name: str, value: float, measured: float) -> bool:
    tolerance = max((most for end, most in INSIGNIFICANT.items() if name.endswith(end)), default=0.0)
    if abs(value - measured) <= tolerance:
        return True
    return value <= measured * MAX_FACTOR and measured <= value * MAX_FACTOR
