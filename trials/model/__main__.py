"""Explore the model of the protocol. One line per check; exit code 1 if a result is not as expected."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from trials.model.checker import CheckerError, Exploration, ModelCheck, explore, missing_programs
from trials.model.checks import GUARDS, LARGER_GUARDS, LARGER_PROPERTIES, PROPERTIES

CHECKS = (*PROPERTIES, *LARGER_PROPERTIES, *GUARDS, *LARGER_GUARDS)


def main(names: list[str], *, shows_trail: bool) -> int:
    """Run the checks whose names contain all `names`; returns the exit code."""
    if missing := missing_programs():
        print(f"not installed: {', '.join(missing)} (apt-get install spin gcc libc6-dev)", file=sys.stderr)
        return 2
    failed = 0
    for check in CHECKS:
        if not all(name in check.name.split() for name in names):
            continue
        with tempfile.TemporaryDirectory(prefix="superimap-model-") as folder:
            try:
                found = explore(check, Path(folder))
            except CheckerError as error:
                print(f"{check.name}: {error}", file=sys.stderr)
                failed = 1
                continue
        print(line_of(check, found), flush=True)
        if shows_trail:
            print(table_of(found))
        failed |= (found.violation is not None) != check.fails
    return failed


def line_of(check: ModelCheck, found: Exploration) -> str:
    """Return the result of a check in one line."""
    verdict = "ok" if (found.violation is not None) == check.fails else "NOT AS EXPECTED"
    end = "no violation" if found.violation is None else f"{len(found.steps)} steps to: {found.violation}"
    figures = f"{found.states:>9,} states  {found.seconds:5.1f} s  {found.mebibytes:5.0f} MiB"
    return f"{verdict}  {check.name:<46} {figures}  {end}"


def table_of(found: Exploration) -> str:
    """Return the steps of a counterexample as a Markdown table; the state only where it changes."""
    rows, last = ["| Who | Step | State after it |", "|---|---|---|"], ""
    for who, step, state in found.steps:
        rows.append(f"| {who} | {step} | {'' if state == last else state} |")
        last = state
    return "\n".join(rows)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m trials.model", description=__doc__)
    parser.add_argument("names", nargs="*", help="model, bounds or guards of the checks to run, as printed")
    parser.add_argument("--trail", action="store_true", help="show the steps of counterexamples")
    return parser.parse_args()


if __name__ == "__main__":
    given = _arguments()
    sys.exit(main(given.names, shows_trail=given.trail))
