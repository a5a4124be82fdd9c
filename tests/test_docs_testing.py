"""The examples of docs/testing.md run as they are written."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

from superimap.testing import Chaos

PAGE = Path(__file__).parents[1] / "docs" / "testing.md"
TEXT = PAGE.read_text()
EXAMPLES = re.findall(r"^## ([^\n]+)$(?:(?!^## ).)*?^```python\n(.*?)^```$", TEXT, re.M | re.S)


def test_the_page_has_an_example_of_every_listed_name():
    assert [heading for heading, _ in EXAMPLES] == [
        "A webhook receiver", "A webhook sender", "An IMAP client", "Misbehaviour by name", "Hooks",
        "Exact bytes", "The network", "OAuth", "Dovecot", "Fixtures",
    ]  # fmt: skip


@pytest.mark.parametrize(("heading", "source"), EXAMPLES, ids=[heading for heading, _ in EXAMPLES])
def test_example_runs(heading, source, open_folder):
    done = subprocess.run(
        [sys.executable, "-c", source],
        cwd=open_folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 0, done.stderr


def test_listed_names_are_public():
    listed = re.findall(r"^\| `([\w.]+)` \|", TEXT, re.M)

    assert len(listed) == 8
    for name in listed:
        package, _, short = f"superimap.testing.{name}".rpartition(".")
        assert short in importlib.import_module(package).__all__, name


def test_the_page_states_the_number_of_cases_in_round_figures():
    [stated] = re.findall(r"`Chaos` \| (\d+) named", TEXT)

    assert 0 <= len(Chaos.names()) - int(stated) < 10
