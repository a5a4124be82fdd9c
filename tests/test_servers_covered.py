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
    "S002": ["test_a_mail_that_cannot_be_read_waits_and_is_delivered_once_it_can"],
    "S003": ["test_a_mail_that_cannot_be_read_waits_and_is_delivered_once_it_can"],
    "S019": ["test_claimed_uids_without_mails_take_few_rows_and_suspend_the_server"],
    "S004": [
        "test_id_is_said_where_it_is_offered_and_a_server_that_dislikes_it_is_watched_without",
        "test_id_is_said_after_login_if_the_server_offers_it_before_or_after",
    ],
    "S005": ["test_a_uidvalidity_of_any_size_is_watched"],
    "S006": ["test_a_mail_is_delivered_whatever_the_server_knows_of_it"],
    "S007": ["test_mail_of_unknown_date_is_judged_by_its_date_header_at_the_first_visit"],
    "S011": ["test_a_mailbox_whose_idle_fails_each_time_is_polled_on_the_same_connection"],
    "S012": ["test_a_mail_that_is_visible_only_after_its_announcement_is_found_within_seconds"],
    "S017": [
        "test_a_mailbox_opened_by_select_is_watched_and_its_mails_stay_unread",
        "test_servers_that_need_select_are_known_by_their_greeting",
    ],
    "S021": ["test_no_sequence_of_claims_exceeds_the_pool_or_leaks"],
    "S023": ["test_a_mail_that_appears_below_the_cursor_is_found"],
    "S024": ["test_names_that_people_entered_take_half_of_the_seats_at_most"],
    "S025": ["test_a_known_mail_under_another_uid_proves_that_the_numbering_is_another"],
    "S026": ["test_mail_that_only_status_or_another_opening_shows_is_found_at_the_next_renewal"],
    "S027": ["test_a_folder_that_is_deleted_and_created_again_is_watched_again"],
    "S028": ["test_webhook_and_table_and_metadata_have_one_message_id"],
    "S029": ["test_a_header_is_read_however_it_is_written"],
    "S030": ["test_addresses_are_read_from_what_mails_contain"],
    "S031": ["test_webhook_and_table_and_metadata_have_one_message_id"],
    "S033": ["test_a_body_has_every_documented_field"],
    "S032": ["test_addresses_are_read_from_what_mails_contain"],
    "S008": ["test_the_refusals_of_known_servers_are_told_apart"],
    "S009": ["test_only_a_text_that_names_the_credentials_refuses_them_without_a_tagged_answer"],
    "S010": ["test_the_order_of_methods_follows_what_the_server_offers"],
    "S014": ["test_uids_beyond_32_bits_are_delivered"],
    "S015": ["test_old_mail_of_a_mailbox_that_was_empty_at_first_causes_no_webhook"],
    "S016": ["test_a_folder_is_watched_whatever_its_name_is_listed_as"],
    "S018": ["test_all_responses_of_a_command_share_one_budget"],
    "S020": ["test_twice_the_input_takes_about_twice_the_time"],
    "S022": ["test_uids_used_again_while_no_session_ran_lose_no_mail"],
    "S127": ["test_an_answer_of_which_a_part_cannot_be_read_is_rejected"],
    "S128": ["test_an_unambiguous_answer_is_read_however_it_is_written"],
    "S130": ["test_a_connection_that_ends_within_seconds_of_idle_leads_to_polling_after_few_logins"],
    "S137": ["test_idle_goes_on_in_shorter_rounds_where_silence_ends_the_connection"],
    "S138": ["test_an_announced_mechanism_that_is_refused_by_no_is_followed_by_login"],
    "S139": ["test_an_exchange_that_ends_the_connection_is_left_out_where_login_works"],
    "S140": [
        "test_a_wrong_password_that_the_server_invites_to_try_again_is_told_after_hours",
        "test_refusals_are_told_apart_by_their_words",
    ],
    **{f"S{number}": ["test_addresses_are_read_from_what_mails_contain"] for number in range(141, 147)},
    "S147": ["test_headers_are_found_whatever_the_line_ends_and_what_precedes_them"],
    "S148": ["test_an_id_in_in_reply_to_equals_the_message_id_of_its_mail"],
    "S047": ["test_L7_a_mail_between_search_and_idle_is_found"],
    "S149": ["test_uids_used_again_are_noticed_whatever_tells_the_mails_apart"],
    "S150": ["test_a_uidvalidity_that_returns_hides_no_mail_under_uids_of_its_earlier_use"],
    "S151": [
        "test_a_mail_whose_identity_is_unsteady_is_no_other_mail",
        "test_restarts_that_follow_one_another_are_held_back_and_mail_is_delivered_meanwhile",
    ],
    "S152": [
        "test_the_first_mails_of_an_empty_mailbox_are_delivered_however_slow_its_clock_is",
        "test_mail_that_arrives_while_a_slow_server_renumbers_is_delivered",
    ],
    "S153": ["test_mail_that_only_status_or_another_opening_shows_is_found_at_the_next_renewal"],
    "S154": ["test_a_status_without_uidnext_tells_nothing_so_that_the_mailbox_is_opened_again_each_time"],
    "S181": ["test_h14_a_tagged_response_that_is_sent_twice_ends_one_command"],
    "S184": ["test_h14_a_few_lines_that_are_no_responses_are_passed_over_where_no_mail_is_at_stake"],
    "S186": ["test_parentheses_that_do_not_match_hide_no_mail"],
    "S187": ["test_parentheses_that_do_not_match_hide_no_mail"],
    "S155": ["test_counts_of_a_status_that_are_no_numbers_are_left_out"],
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
