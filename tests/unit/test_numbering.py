"""Numberings of UIDs: which mails are the same, and under which number they are recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from superimap.domain.numbering import (
    MAX_RECORDED,
    KnownMail,
    MailIdentity,
    first_numbering,
    identify,
    is_same_mail,
    is_same_numbering,
    next_numbering,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)


@pytest.mark.parametrize(
    ("known", "seen", "same"),
    [
        (identify("<a@x>", NOW, 9), identify("<a@x>", NOW, 9), True),
        (
            identify("<a@x>", NOW, 9),
            identify("<a@x>", LATER, 10),
            True,
        ),  # estimates, and files that are touched
        (identify("<a@x>", NOW, 9), identify("<b@x>", NOW, 9), False),
        (identify(None, NOW, 9), identify(None, NOW, 9), True),
        (identify("<a@x>", NOW, 9), identify(None, NOW, 9), True),  # the headers were not received
        (identify(None, NOW, 9), identify(None, LATER, 9), False),
        (identify(None, NOW, 9), identify(None, NOW, 10), False),
        (identify(None, NOW, None), identify(None, NOW, 9), None),
        (identify(None, NOW, None), identify(None, LATER, 9), False),
        (identify(None, None, 9), identify(None, NOW, 9), None),
        (identify(None, None, None), identify("<a@x>", NOW, 9), None),
        (MailIdentity(None, None, None), MailIdentity(None, None, None), None),
    ],
)
def test_message_ids_decide_whether_two_mails_are_one_else_date_and_size(known, seen, same):
    assert is_same_mail(known, seen) is same
    assert is_same_mail(seen, known) is same


def test_one_uid_with_another_mail_proves_another_numbering():
    one, other = identify("<a@x>", NOW, 9), identify("<b@x>", NOW, 9)
    known = [KnownMail(1, one), KnownMail(2, other)]

    assert is_same_numbering(known, known) is True
    assert is_same_numbering(known, [KnownMail(1, one)]) is True, "the other one may have been deleted"
    assert is_same_numbering(known, [KnownMail(1, one), KnownMail(2, one)]) is False
    assert is_same_numbering(known, [KnownMail(3, one)]) is None
    assert is_same_numbering(known, []) is None
    assert is_same_numbering(known, [KnownMail(1, MailIdentity(None, None, None))]) is None


@pytest.mark.parametrize("server_value", [0, 1, 7, 2**32 - 1, 1713632002544, MAX_RECORDED])
def test_a_uidvalidity_that_json_carries_is_recorded_as_it_is(server_value):
    assert first_numbering(server_value).recorded == server_value


@pytest.mark.parametrize("server_value", [MAX_RECORDED + 1, 2**63 - 1, 10**40])
def test_a_larger_uidvalidity_is_recorded_as_a_number_that_json_carries(server_value):
    numbering = first_numbering(server_value)

    assert 2**32 < numbering.recorded <= MAX_RECORDED
    assert numbering.recorded != first_numbering(server_value + 1).recorded
    assert numbering == first_numbering(server_value)


def test_any_number_of_restarts_has_a_number_each():
    numberings = [first_numbering(7)]
    for _ in range(500):
        numberings.append(next_numbering(7, restarts=numberings[-1].restarts))

    recorded = {each.recorded for each in numberings[1:]}
    assert len(recorded) == 500
    assert recorded.isdisjoint(first_numbering(value).recorded for value in range(100))
    assert all(0 <= number <= MAX_RECORDED for number in recorded)
