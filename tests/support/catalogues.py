"""The catalogues in docs/catalogues: numbered conditions, each with the behaviour that tests require."""

from __future__ import annotations

import re
from pathlib import Path

FOLDER = Path(__file__).parents[2] / "docs/catalogues"


def catalogue(name: str, heading: str = "") -> dict[str, list[str]]:
    """The rows of a catalogue by number, each as its other cells; with `heading`, of that section only."""
    text = (FOLDER / f"{name}.md").read_text()
    if heading:
        text = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = [
        [cell.strip() for cell in line.strip("|").split(" | ")]
        for line in text.splitlines()
        if re.match(r"\| [A-Za-z]*\d+(-\w+)? \|", line)
    ]
    return {row[0]: row[1:] for row in rows}
