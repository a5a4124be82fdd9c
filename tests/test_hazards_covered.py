"""Every number of the catalogues in docs/catalogues has a test, and every number in a test name has a row."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.catalogues import catalogue

TESTS = Path(__file__).parent

# Tests of a number that do not have it in their names.
ELSEWHERE = {
    "C01": ["test_h03_a_black_hole_is_detected_by_an_unanswered_done"],
    "C05": ["test_h01_a_lost_connection_wakes_idle_at_once_with_the_text_of_its_bye"],
    "C08": ["test_L2_a_gap_of_many_uids_hides_nothing"],
    "C11": ["test_a_search_beyond_the_last_uid_drops_the_last_message"],
    "C12": ["test_h04_expunge_flags_and_a_shrinking_count_do_not_end_idle"],
    "C17": ["test_C16_C17_a_throttled_fetch_makes_no_mail_unreadable"],
    "C22": ["test_a_server_without_a_greeting_times_out"],
    "C24": ["test_h17_preauth_needs_no_login", "test_h20_preauth_is_refused_where_starttls_is_required"],
    "C25": [
        "test_h20_a_stripped_starttls_is_refused_before_any_login",
        "test_h20_responses_injected_before_tls_are_dropped",
    ],
    "C26": ["test_h13_a_flood_ends_the_session"],
    "C27": ["test_h13_a_flood_ends_the_session"],
    "C28": ["test_h09_fifty_thousand_lines_in_one_burst_take_under_a_second"],
    "C29": ["test_h13_a_dripped_literal_does_not_prolong_the_deadline"],
    "C32": ["test_h14_a_response_to_another_command_ends_the_session"],
    "C34": ["test_h24_an_untrusted_certificate_is_refused"],
    "C35": ["test_dead_addresses_leave_time_for_a_live_one"],
    "C38": ["test_seen_flags_stay_untouched"],
    "L1": [
        "test_kill_9_of_an_idler_loses_nothing_and_repeats_nothing",
    ],
    "L6": [
        "test_behaviour_has_the_schedule_of_retries",
        "test_a_replay_is_delivered_under_the_same_webhook_id",
    ],
    "L8": [
        "test_a_user_archived_by_403_reconnects_by_link_and_continues_from_its_cursor",
    ],
    "L9": [
        "test_excess_users_move_to_idlers_with_room_and_an_empty_idler_relieves_all",
        "test_users_of_dead_idlers_free_shards_and_full_idlers_are_unserved",
    ],
}
SEED = ["test_every_mail_is_found_once_under_the_faults_of_the_original_server"]


def functions(pattern: str = "**/test_*.py") -> Iterator[str]:
    """The names of all tests in the files that match."""
    for _, name in functions_by_file(pattern):
        yield name


def functions_by_file(pattern: str = "**/test_*.py") -> Iterator[tuple[str, str]]:
    """Every test function with its file, relative to this folder."""
    for path in sorted(TESTS.glob(pattern)):
        for node in ast.parse(path.read_text(), str(path)).body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                yield path.relative_to(TESTS).as_posix(), node.name


TESTS_BY_FILE = list(functions_by_file())
NAMES = {name for _, name in TESTS_BY_FILE}
HAZARDS, CASES, FAULTS = (catalogue(name) for name in ("imap-hazards", "chaos-cases", "original-faults"))


def find_tests(number: str) -> list[tuple[str, str]]:
    """File and name of every test of this number."""
    return [
        (file, name)
        for file, name in TESTS_BY_FILE
        if f"_{number}_" in name or name in ELSEWHERE.get(number, [])
    ]


@pytest.mark.parametrize("number", [*HAZARDS, *CASES, *FAULTS])
def test_every_number_of_a_catalogue_has_the_tests_that_its_row_names(number):
    row = {**HAZARDS, **CASES, **FAULTS}[number]
    files = set(re.findall(r"`([\w/]+\.py)`", row[-1]))

    assert files == {file for file, _ in find_tests(number)}
    assert files


def test_every_number_in_a_test_name_is_in_a_catalogue():
    used = {number for name in NAMES for number in re.findall(r"_(h\d\d|C\d\d|L\d+)(?=_)", name)}

    assert used <= {**HAZARDS, **CASES, **FAULTS}.keys()


def test_the_catalogues_are_complete():
    assert list(HAZARDS) == [f"h{number:02}" for number in range(1, 27)]
    assert list(CASES) == [f"C{number:02}" for number in range(1, 41)]
    assert list(FAULTS) == [f"L{number}" for number in range(1, 11)]


@pytest.mark.parametrize("number", HAZARDS)
def test_every_hazard_is_demonstrated_on_the_unchanged_library(number):
    """Otherwise our own test of this number might pass without our code."""
    shown = set(functions("unit/test_imap_stock_faults.py"))

    assert [name for name in shown if f"_{number}_" in name]


def test_every_assigned_test_exists():
    assert {name for names in ELSEWHERE.values() for name in names} <= NAMES


def test_the_original_s_chaos_has_a_test():
    assert set(SEED) <= NAMES


def test_the_catalogue_of_faults_lists_those_that_can_be_applied():
    source = (TESTS.parent / "trials/faults/catalogue.py").read_text()

    assert list(catalogue("faults")) == re.findall(r'^ +"(F[\w-]+)": \w+\(', source, re.M)
