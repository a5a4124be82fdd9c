"""Every abuse case of docs/catalogues/abuse-cases.md has a test."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from tests.support.catalogues import catalogue

TESTS = Path(__file__).parent

BAD_URL = "test_webhook_urls.py::test_an_invalid_url_is_rejected_with_field_and_reason"
IN_CLEAR = "test_nothing_in_clear.py::test_planted_secrets_are_in_no_dump_and_no_log"
RUBY = "test_recipes.py::test_abuse_31_and_32_ruby_rejects_forged_and_old_webhooks"

CONNECT_PAGE = "test_connect_pages.py::test_no_secret_of_a_link_or_consent_leaks_to_other_sites"

# Tests by the number of the abuse case in docs/catalogues/abuse-cases.md.
COVERED = {
    1: ["test_webhook_client.py::test_no_spelling_of_a_private_address_is_dialled"],
    2: ["test_webhook_client.py::test_no_spelling_of_a_private_address_is_dialled"],
    3: [
        "test_webhook_client.py::test_a_name_that_changes_from_public_to_private_is_checked_at_each_connection"
    ],
    4: ["test_egress.py::test_private_and_special_addresses_are_refused"],
    5: ["test_webhook_client.py::test_no_spelling_of_a_private_address_is_dialled"],
    6: ["test_webhook_client.py::test_a_redirect_is_not_followed_and_no_cookie_is_kept"],
    7: ["test_webhook_client.py::test_a_malformed_url_is_not_dialled", BAD_URL],
    8: [BAD_URL],
    10: ["test_webhook_client.py::test_an_answer_of_10_gb_is_read_for_16_kib_and_closed"],
    11: ["test_webhook_client.py::test_a_slow_body_is_cut_at_the_deadline_and_the_status_counts"],
    12: ["test_webhook_client.py::test_a_compressed_answer_is_not_decompressed"],
    13: ["test_webhook_client.py::test_endless_headers_are_read_for_a_bounded_length"],
    14: ["test_webhook_client.py::test_ports_of_other_servers_are_not_dialled"],
    15: ["test_egress.py::test_abuse_15_own_addresses_are_refused_even_if_allowed"],
    16: [
        "test_own_server.py::test_abuse_16_an_internal_mail_server_is_not_dialled_in_any_spelling",
        "test_own_servers.py::test_abuse_16_an_internal_server_is_not_dialled",
        "test_own_servers.py::test_abuse_16_production_accepts_only_imap_ports_and_tls",
        "test_password.py::test_a_forbidden_server_is_reported_like_an_unreachable_one",
    ],
    17: [
        "test_own_server.py::test_abuse_17_the_form_cannot_be_used_as_a_port_scanner",
        "test_own_server.py::test_abuse_17_tries_are_limited_across_all_servers",
        "test_password.py::test_17_a_link_allows_five_tries",
        "test_password.py::test_17_an_address_allows_ten_tries_a_minute_across_all_links",
    ],
    18: ["test_imap_client_hazards.py::test_h13_a_flood_ends_the_session"],
    19: [
        "test_c21_c30.py::test_C27_an_endless_line_ends_only_its_session",
        "test_c21_c30.py::test_C28_three_hundred_thousand_lines_delay_no_other_session",
    ],
    20: ["test_c21_c30.py::test_C30_hostile_mail_is_recorded_and_delays_nothing"],
    21: [
        "test_imap_client_hazards.py::test_h20_a_stripped_starttls_is_refused_before_any_login",
        "test_imap_client_hazards.py::test_h20_responses_injected_before_tls_are_dropped",
    ],
    22: ["test_imap_client_hazards.py::test_h24_an_untrusted_certificate_is_refused"],
    23: ["test_imap_client_hazards.py::test_h21_line_ends_and_nul_raise_and_nothing_is_sent"],
    24: [
        "test_deliveries.py::test_abuse_24_and_27_deliveries_of_another_partner_are_404",
        "test_errors.py::test_a_partner_cannot_reach_the_rows_of_another",
    ],
    25: ["test_api_keys.py::test_abuse_25_a_key_reaches_no_key_of_another_partner"],
    26: ["test_api_keys.py::test_abuse_26_further_fields_set_no_internal_columns"],
    27: [
        "test_deliveries.py::test_abuse_24_and_27_deliveries_of_another_partner_are_404",
        "test_users.py::test_a_cursor_reveals_nothing_and_works_for_one_connection_only",
    ],
    28: ["test_schemathesis.py::test_no_request_gets_an_undocumented_response"],
    29: ["test_errors.py::test_a_partner_cannot_reach_the_rows_of_another"],
    30: ["test_rules.py::test_a_copy_of_another_users_mail_is_delivered"],
    31: ["test_docs_webhooks.py::test_python_recipes_refuse_a_forged_webhook", RUBY],
    32: [
        "test_docs_webhooks.py::test_the_recipe_in_webhooks_accepts_either_key_and_rejects_old_webhooks",
        RUBY,
    ],
    33: ["test_webhooks.py::test_abuse_33_after_a_rotation_both_secrets_sign_until_the_old_one_ends"],
    34: ["test_webhooks.py::test_abuse_34_a_secret_is_shown_once_and_never_listed"],
    35: [IN_CLEAR],
    36: ["test_vaults.py::test_ciphertexts_moved_to_another_column_do_not_decrypt"],
    37: ["test_doorbells.py::test_foreign_jobs_have_no_effect"],
    38: [IN_CLEAR],
    39: ["test_doorbells.py::test_many_rings_wait_as_one_job"],
    40: [
        "test_consent.py::test_40_a_missing_or_forged_state_connects_no_user",
        "test_consent.py::test_40_a_state_is_accepted_once_even_if_a_later_step_fails",
        "test_consent.py::test_40_another_browser_cannot_finish_a_consent",
    ],
    41: [
        "test_consent.py::test_41_a_code_from_another_consent_is_refused",
        "test_consent.py::test_the_code_leaves_the_address_bar_at_once_and_is_in_no_response",
        CONNECT_PAGE,
    ],
    42: ["test_provider_failures.py::test_42_an_account_other_than_the_expected_one_is_refused"],
    43: ["test_consent.py::test_43_a_link_returns_people_to_registered_origins_only"],
    44: [
        "test_consent.py::test_44_a_guessed_link_is_404",
        "test_consent.py::test_44_a_link_that_is_older_than_half_an_hour_is_410",
        "test_consent.py::test_44_a_link_that_has_connected_a_user_is_410",
        "test_disconnect.py::test_44_a_disconnect_link_works_once",
    ],
    45: ["test_password.py::test_45_the_form_cannot_be_framed_and_leads_only_to_us_and_the_partner"],
    46: [
        "test_password.py::test_46_a_form_from_another_site_is_403",
        "test_disconnect.py::test_46_a_form_from_another_site_disconnects_no_user",
    ],
    47: ["test_consent.py::test_47_names_are_escaped_on_every_page"],
    53: ["test_serving.py::test_a_key_in_the_query_reaches_no_log"],
    54: ["test_partners.py::test_an_api_key_alone_identifies_its_partner"],
    55: ["test_errors.py::test_an_expired_key_is_refused"],
    56: [
        "test_api_keys.py::test_abuse_56_a_key_without_the_scope_gets_a_403_that_names_it_on_every_route",
        "test_api_keys.py::test_a_key_works_from_its_networks_only",
        "test_api_keys.py::test_no_key_creates_or_changes_a_key_with_more_rights_than_its_own",
    ],
    57: [
        "test_quotas.py::test_abuse_57_concurrent_creations_never_exceed_the_quota",
        "test_quotas.py::test_a_backlog_holds_its_partner_at_the_quota_and_frees_it_below_nine_tenths",
        "test_quotas.py::test_a_full_backlog_loses_no_mail_and_the_rest_is_recorded_once_it_is_smaller",
    ],
    58: ["test_delivering.py::test_other_endpoints_do_not_wait_for_one_that_hangs"],
    59: [
        "test_breaker.py::test_abuse_59_an_endpoint_that_alternates_is_probed_as_rarely_as_one_that_only_fails"
    ],
    60: [
        "test_breaking.py::test_endpoints_that_hang_leave_the_lanes_to_those_that_answer",
        "test_breaking.py::test_abuse_60_a_partner_has_a_fifth_of_the_slots_however_many_of_its_endpoints_hang",
    ],
    61: [
        "test_deliveries.py::test_abuse_61_replays_are_limited_per_minute",
        "test_webhooks.py::test_abuse_61_test_webhooks_are_limited_per_minute",
        "test_quotas.py::test_the_api_names_the_quota_in_a_409_and_a_429_and_counts_both",
    ],
    62: ["test_breaking.py::test_abuse_62_a_410_disables_only_this_endpoint_and_its_deliveries_stay_pending"],
    63: ["test_answers.py::test_abuse_63_a_pause_of_years_is_cut_to_an_hour"],
    64: ["test_delivering.py::test_an_answer_is_stored_sealed_without_nul_and_cut_to_1024_characters"],
    65: [
        "test_errors.py::test_a_body_without_declared_length_is_limited_while_it_is_read",
        "test_errors.py::test_a_bad_body_is_refused_and_its_field_named",
        "test_serving.py::test_the_size_of_headers_is_limited",
    ],
    67: ["test_errors.py::test_a_bad_body_is_refused_and_its_field_named"],
    68: ["test_watching.py::test_L10_a_reused_message_id_does_not_suppress_another_mail"],
    69: ["test_watching.py::test_L5_a_forged_tracer_subject_suppresses_no_mail"],
    70: ["test_log.py::test_70_input_cannot_forge_a_line_or_colour_the_terminal"],
    73: ["test_imap_uid_ranges.py::test_a_claim_of_all_uids_takes_no_memory_and_is_walked_lazily"],
    74: [
        "test_hostile_servers.py::test_claimed_uids_without_mails_take_few_rows_and_suspend_the_server",
        "test_hostile_servers.py::test_invented_mails_suspend_the_server_and_honest_ones_are_recorded_later",
    ],
    75: ["test_imap_linear.py::test_twice_the_input_takes_about_twice_the_time"],
    76: [
        "test_rooms.py::test_a_full_pool_ends_the_largest_connection_of_the_host_that_holds_most",
        "test_rooms.py::test_no_sequence_of_claims_exceeds_the_pool_or_leaks",
    ],
    77: ["test_resolver.py::test_names_that_people_entered_take_half_of_the_seats_at_most"],
    78: [
        "test_imap_read_budget.py::test_a_group_of_floods_gets_its_share_and_none_of_its_connections_starves"
    ],
    79: [
        "test_changed_destinations.py::test_another_server_port_or_login_name_without_a_password_clears_the_password",
        "test_changed_destinations.py::test_another_address_without_a_token_clears_the_refresh_token",
        "test_changed_destinations.py::test_another_client_id_needs_its_secret",
        "test_destinations.py::test_every_field_that_can_be_set_says_which_secrets_it_directs",
        "test_own_servers.py::test_a_stolen_api_key_sends_no_stored_password_to_another_server",
    ],
    80: ["test_no_cookies.py::test_a_cookie_of_one_users_refresh_does_not_go_with_the_next"],
    81: [
        "test_consent.py::test_opening_a_link_starts_nothing_and_does_not_invalidate_it",
        "test_consent.py::test_the_page_names_the_partner_the_user_and_the_provider",
        "test_consent.py::test_only_the_button_of_our_page_starts_a_consent",
    ],
    82: [
        "test_throttling.py::test_many_links_give_no_more_tries_for_a_mailbox",
        "test_throttling.py::test_the_tries_for_a_mailbox_are_limited_over_all_partners",
        "test_throttling.py::test_a_mail_server_is_counted_under_all_of_its_names",
        "test_try_limits.py::test_all_spellings_of_a_mailbox_are_counted_as_one",
    ],
    83: ["test_throttling.py::test_neither_a_partner_nor_strangers_lock_out_the_owner_of_a_mailbox"],
    84: [
        "test_hostile_server.py::test_four_tries_at_a_hostile_server_take_little_memory_and_time",
        "test_throttling.py::test_beyond_the_logins_at_once_a_person_is_asked_to_wait",
    ],
    85: ["test_client_address.py::test_the_last_hop_that_is_not_a_proxy_is_the_client"],
    86: [
        "test_prefix.py::test_a_forwarded_prefix_that_is_no_path_is_refused",
        "test_prefix.py::test_the_prefixes_of_several_proxies_are_joined",
    ],
    87: [
        "test_http_connections.py::test_a_connection_whose_request_does_not_arrive_is_closed",
        "test_http_connections.py::test_a_header_that_drips_is_cut_off",
        "test_http_connections.py::test_an_answer_that_is_not_read_is_cut_off",
        "test_http_connections.py::test_strangers_are_displaced_when_there_are_too_many_connections",
    ],
    88: [
        "test_changed_destinations.py::test_the_database_itself_keeps_a_password_with_its_server",
        "test_privileges.py::test_a_role_may_not_do_what_its_process_never_does",
        "test_privileges.py::test_the_function_that_runs_as_the_owner_reads_no_table_of_its_caller",
    ],
    89: [
        "test_api_keys.py::test_a_key_that_may_not_write_gets_no_link_that_connects_or_disconnects_the_user"
    ],
    90: [
        "test_changed_providers.py::test_a_code_is_not_sent_to_a_url_that_was_set_after_the_consent_began",
        "test_changed_providers.py::test_a_token_of_the_previous_provider_is_not_stored_for_the_next_one",
        "test_changed_providers.py::test_a_password_that_one_server_accepted_is_not_stored_for_another",
    ],
    91: ["test_quotas.py::test_a_key_that_is_used_from_elsewhere_uses_up_no_requests_of_its_partner"],
    92: [
        "test_quotas.py::"
        "test_a_partner_at_its_quota_is_counted_once_a_second_and_may_go_on_at_once_after_archiving"
    ],
    94: ["test_users.py::test_an_api_key_cannot_guess_the_password_of_a_mailbox_through_the_idlers"],
    93: [
        "test_id_tokens.py::test_a_public_key_is_no_shared_secret_and_no_signature_is_none",
        "test_id_tokens.py::test_claims_of_another_application_provider_time_or_consent_are_refused",
    ],
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


def test_the_catalogue_lists_the_abuse_cases_with_their_tests():
    tested = catalogue("abuse-cases", "Cases")
    files = {number: set(re.findall(r"`(\w+\.py)`", cells[-1])) for number, cells in tested.items()}

    assert files == {
        str(number): {name.partition("::")[0] for name in names} for number, names in COVERED.items()
    }
    assert not tested.keys() & catalogue("abuse-cases", "Not applicable").keys()


def test_no_abuse_case_is_left_out():
    listed = {**catalogue("abuse-cases", "Cases"), **catalogue("abuse-cases", "Not applicable")}
    used = {
        number
        for name in FOUND
        for number in re.findall(r"^test_(?:abuse_)?(\d\d)_", name.partition("::")[2])
    }

    assert listed.keys() == {str(number) for number in range(1, 95)}
    assert used <= listed.keys()
