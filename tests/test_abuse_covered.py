"""Has every known abuse of what goes out a test that can be found by its name?"""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).parent

BAD_URL = "test_webhook_urls.py::test_a_bad_url_is_refused_by_field_and_reason"
IN_CLEAR = "test_nothing_in_clear.py::test_planted_secrets_are_in_no_dump_and_no_log"
RUBY = "test_recipes.py::test_abuse_31_and_32_ruby_tells_true_from_forged_and_old"

# By number: 1 to 15 addresses and answers, 31 to 39 signatures and secrets, 57 to 65 load and odd input.
COVERED = {
    1: ["test_sender.py::test_no_spelling_of_a_private_address_is_dialled"],
    2: ["test_sender.py::test_no_spelling_of_a_private_address_is_dialled"],
    3: ["test_sender.py::test_a_name_that_is_public_first_and_private_then_is_judged_by_each_address"],
    4: ["test_egress.py::test_private_and_special_addresses_are_refused"],
    5: ["test_sender.py::test_no_spelling_of_a_private_address_is_dialled"],
    6: ["test_sender.py::test_a_redirect_is_not_followed_and_no_cookie_is_kept"],
    7: ["test_sender.py::test_an_odd_url_is_not_dialled", BAD_URL],
    8: [BAD_URL],
    10: ["test_sender.py::test_an_answer_of_10_gb_is_read_for_16_kib_and_closed"],
    11: ["test_sender.py::test_a_body_that_trickles_is_cut_at_the_deadline_and_the_status_counts"],
    12: ["test_sender.py::test_a_compressed_answer_is_not_decompressed"],
    13: ["test_sender.py::test_a_head_that_never_ends_is_a_failure"],
    14: ["test_sender.py::test_ports_of_other_servers_are_not_dialled"],
    15: ["test_egress.py::test_abuse_15_our_own_addresses_are_refused_whatever_is_allowed"],
    31: ["test_docs.py::test_python_recipes_refuse_a_forged_webhook", RUBY],
    32: ["test_docs.py::test_the_recipe_in_webhooks_takes_either_key_and_no_old_webhook", RUBY],
    33: ["test_webhooks.py::test_abuse_33_after_a_rotation_both_secrets_sign_until_the_old_one_ends"],
    34: ["test_webhooks.py::test_abuse_34_a_secret_is_shown_once_and_never_listed"],
    35: [IN_CLEAR],
    36: ["test_vaults.py::test_ciphertexts_that_changed_places_do_not_open"],
    37: ["test_queue.py::test_jobs_that_we_did_not_make_do_nothing"],
    38: [IN_CLEAR],
    39: ["test_queue.py::test_many_rings_wait_as_one_job"],
    58: ["test_delivering.py::test_other_endpoints_do_not_wait_for_one_that_hangs"],
    59: [
        "test_breaker.py::test_abuse_59_an_endpoint_that_takes_turns_is_posted_to_as_rarely_as_one_that_only_fails"
    ],
    60: [
        "test_breaking.py::test_endpoints_that_hang_leave_the_lanes_to_those_that_answer",
        "test_breaking.py::test_abuse_60_a_partner_has_a_fifth_of_the_seats_however_many_of_its_endpoints_hang",
    ],
    61: [
        "test_deliveries.py::test_abuse_61_replays_are_counted_by_the_minute",
        "test_webhooks.py::test_abuse_61_test_webhooks_are_counted_by_the_minute",
    ],
    62: ["test_breaking.py::test_abuse_62_a_410_disables_this_endpoint_alone_and_everything_stays_owed"],
    63: ["test_verdict.py::test_abuse_63_a_pause_of_years_is_cut_to_an_hour"],
    64: ["test_delivering.py::test_an_answer_is_stored_sealed_without_nul_and_cut_to_1024_characters"],
    65: [
        "test_refusals.py::test_a_body_of_no_declared_length_is_bounded_while_it_is_read",
        "test_refusals.py::test_a_bad_body_is_refused_and_its_field_named",
        "test_serving.py::test_headers_are_bounded",
    ],
}


NOT_THERE = {
    9: "partners set no headers",
    57: "partners make no endpoints, each has one of each kind; quotas for users are not there",
}


def every_test() -> set[str]:
    """Every test function as `file::name`."""
    found = set()
    for path in TESTS.rglob("test_*.py"):
        for node in ast.parse(path.read_text(), str(path)).body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.add(f"{path.name}::{node.name}")
    return found


FOUND = every_test()


@pytest.mark.parametrize("number", sorted(COVERED))
def test_every_abuse_has_its_tests(number: int):
    assert COVERED[number]
    assert set(COVERED[number]) <= FOUND


def test_no_abuse_is_left_out():
    assert {*COVERED, *NOT_THERE} == {*range(1, 16), *range(31, 40), *range(57, 66)}
