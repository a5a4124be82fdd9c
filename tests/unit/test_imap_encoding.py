"""Encoding of command arguments, and the counts of the open mailbox."""

from datetime import date

import pytest

from superimap.imap import encoding
from superimap.imap.state import MailboxState


@pytest.mark.parametrize(
    ("non_sync", "pieces"),
    [
        (False, [b'A1 LOGIN "a" {3}\r\n', b'\xc3\xa9x "b"\r\n']),
        (True, [b'A1 LOGIN "a" {3+}\r\n\xc3\xa9x "b"\r\n']),
    ],
)
def test_h21_a_literal_waits_for_a_plus_unless_it_is_non_synchronising(non_sync, pieces):
    arguments = [encoding.quote_string("a"), encoding.quote_string("éx"), encoding.quote_string("b")]

    assert encoding.split_command("A1 LOGIN", arguments, non_sync=non_sync) == pieces


def test_h22_a_literal_does_not_show_its_bytes():
    assert repr(encoding.quote_string("pässword")) == str(encoding.quote_string("pässword")) == "{9}"


@pytest.mark.parametrize(("uids", "sequence"), [([1], "1"), ([3, 1, 2, 9, 2], "1:3,9"), ([], "")])
def test_uid_sets_are_short(uids, sequence):
    assert encoding.format_uid_set(uids) == sequence


def test_search_dates_have_english_months():
    assert encoding.format_date(date(2026, 2, 1)) == "1-Feb-2026"


def test_h04_only_messages_above_the_count_are_arrivals():
    mailbox = MailboxState()
    responses = [
        (b"EXISTS", b"5", True),
        (b"EXISTS", b"5", False),
        (b"EXPUNGE", b"2", False),
        (b"EXISTS", b"6", False),
    ]
    for name, digits, opening in responses:
        mailbox.record_count(name, digits, opening=opening)

    assert (mailbox.exists, mailbox.arrivals) == (6, 2)
