"""Has every known hazard a test that can be found by its name?"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

# Cases of pure protocol whose tests bear the number of the client's hazard, beside those that bear their own.
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
}
SEED = ["test_every_mail_is_found_once_in_the_original_s_chaos"]


def functions(pattern: str = "**/test_*.py") -> Iterator[str]:
    """The names of all tests, of this folder and those below."""
    for path in TESTS.glob(pattern):
        for node in ast.parse(path.read_text(), str(path)).body:
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and node.name.startswith("test_"):
                yield node.name


NAMES = set(functions())


@pytest.mark.parametrize("number", range(1, 27))
def test_every_hazard_of_the_library_has_a_test(number):
    assert [name for name in NAMES if f"_h{number:02}_" in name]


@pytest.mark.parametrize("number", range(1, 27))
def test_every_hazard_is_shown_on_the_library_as_it_is(number):
    """Or else the test of our own that bears its number might pass without our doing."""
    shown = set(functions("unit/test_imap_stock_faults.py"))

    assert [name for name in shown if f"_h{number:02}_" in name]


@pytest.mark.parametrize("number", range(1, 41))
def test_every_way_of_going_wrong_has_a_test(number):
    case = f"C{number:02}"

    assert [name for name in NAMES if f"_{case}_" in name]
    assert set(ELSEWHERE.get(case, [])) <= NAMES


def test_the_original_s_chaos_has_a_test():
    assert set(SEED) <= NAMES
