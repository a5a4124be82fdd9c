"""Every number of docs/catalogues/servers.md has a test, and every numbered dialogue has a row."""

from __future__ import annotations

import re

from tests.support.catalogues import catalogue
from tests.support.dialogues import BY_CLASS
from tests.test_hazards_covered import TESTS_BY_FILE

PLAYED_BY = "test_mail_is_delivered_despite_reported_behaviour_of_servers"
PLAYED = [dialogue.number for dialogues in BY_CLASS.values() for dialogue in dialogues]

# Tests of numbers that no dialogue plays.
ELSEWHERE = {
    "S047": ["test_L7_a_mail_between_search_and_idle_is_found"],
}


def files_of(number: str) -> set[str]:
    """The files of the tests of this number."""
    names = [*ELSEWHERE.get(number, []), *([PLAYED_BY] if number in PLAYED else [])]
    return {file for file, name in TESTS_BY_FILE if name in names}


def test_every_row_names_the_files_of_its_tests():
    rows = catalogue("servers")

    named = {number: set(re.findall(r"`([\w/]+\.py)`", cells[-1])) for number, cells in rows.items()}

    assert named == {number: files_of(number) for number in rows}
    assert all(named.values())


def test_every_number_with_a_test_has_a_row():
    assert catalogue("servers").keys() == {*PLAYED, *ELSEWHERE}
    assert len(set(PLAYED)) == len(PLAYED)


def test_every_assigned_test_exists():
    names = {name for _, name in TESTS_BY_FILE}

    assert {name for tests in ELSEWHERE.values() for name in tests} <= names
