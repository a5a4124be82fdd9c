"""Every defence in docs/threat-model.md has tests that exist, and every attacker has a defence."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent
TEXT = (TESTS.parent / "docs/threat-model.md").read_text()


def rows(heading: str) -> list[list[str]]:
    part = TEXT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in part.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_every_defence_names_tests_that_exist():
    for _, defence, named in rows("Defences"):
        tests = re.findall(r"`([^`]+)`", named)
        assert tests, defence
        for test in tests:
            path, _, name = test.partition("::")
            assert re.search(rf"^(async )?def {name}\b" if name else "^", (TESTS / path).read_text(), re.M), (
                test
            )


def test_every_attacker_has_a_defence_and_no_other():
    assert {row[0] for row in rows("Attackers")} == {row[0] for row in rows("Defences")}
