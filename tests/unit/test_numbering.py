"""Numberings of UIDs: which mails are the same, and under which number they are recorded."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from superimap.domain.numbering import (
    MAX_RECORDED,
    MAX_RESTARTS_AT_ONCE,
    RESTART_INTERVAL_SECONDS,
    Doubt,
    KnownMail,
    MailIdentity,
    find_doubt,
    first_numbering,
    identify,
    is_same_mail,
    is_same_numbering,
    judge_content,
    may_restart,
    next_numbering,
)

NOW = datetime(2026, 11, 23, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
SHIFTED = NOW - timedelta(hours=1)


@pytest.mark.parametrize(
    ("known", "seen", "same"),
    [
        (identify("<a@x>", NOW, 9), identify("<a@x>", NOW, 9), True),
        (identify("<a@x>", NOW, 9), identify("<a@x>", LATER, 10), False),  # a scanner's constant Message-ID
        (identify("<a@x>", NOW, 9), identify("<a@x>", NOW, 10), None),  # an estimated size?
        (identify("<a@x>", NOW, 9), identify("<a@x>", LATER, 9), None),  # a file that was touched?
        (identify("<a@x>", NOW, 9), identify("<a@x>", SHIFTED, 10), None),  # summer time?
        (identify("<a@x>", NOW, None), identify("<a@x>", LATER, 9), None),
        (identify("<a@x>", NOW, None), identify("<a@x>", NOW, 9), True),
        (identify("<a@x>", None, None), identify("<a@x>", NOW, 9), True),
        (identify("<a@x>", NOW, 9), identify("<b@x>", NOW, 9), False),
        (identify(None, NOW, 9), identify(None, NOW, 9), True),
        (identify("<a@x>", NOW, 9), identify(None, NOW, 9), True),  # the headers were not received
        (identify(None, NOW, 9), identify(None, LATER, 9), False),
        (identify(None, NOW, 9), identify(None, NOW, 10), False),
        (identify(None, NOW, 9), identify(None, SHIFTED, 9), None),
        (identify(None, NOW, 9), identify(None, SHIFTED, 10), False),
        (identify(None, NOW, 9), identify(None, NOW + timedelta(hours=27), 9), False),  # no zone is that far
        (identify(None, NOW, None), identify(None, NOW, 9), None),
        (identify(None, NOW, None), identify(None, LATER, 9), False),
        (identify(None, None, 9), identify(None, NOW, 9), None),
        (identify(None, None, None), identify("<a@x>", NOW, 9), None),
        (MailIdentity(None, None, None), MailIdentity(None, None, None), None),
    ],
)
def test_two_mails_are_one_if_nothing_tells_them_apart(known, seen, same):
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


ONE, OTHER = identify("<a@x>", NOW, 9), identify("<b@x>", NOW, 9)
TOUCHED = identify("<a@x>", LATER, 9)


@pytest.mark.parametrize(
    ("seen", "doubtful"),
    [
        ({1: ONE, 2: ONE, 3: ONE}, None),
        ({1: OTHER, 2: OTHER, 3: ONE}, 2),  # the last that seems to be another
        ({1: OTHER, 2: ONE, 3: TOUCHED}, 1),  # before one that leaves a doubt
        ({1: TOUCHED, 2: TOUCHED}, 2),
        ({1: ONE, 2: TOUCHED}, None),  # one is certain
        ({4: OTHER}, None),
        ({}, None),
    ],
)
def test_the_mail_that_contradicts_most_is_compared_by_its_content(seen, doubtful):
    known = [KnownMail(uid, ONE) for uid in (1, 2, 3)]

    doubt = find_doubt(known, [KnownMail(uid, identity) for uid, identity in seen.items()])

    assert (doubt and doubt.seen.uid) == doubtful


@pytest.mark.parametrize(
    ("shown", "by_metadata", "is_content_same", "same"),
    [
        (OTHER, False, True, True),  # a server that writes Message-IDs of its own
        (OTHER, False, False, False),
        (OTHER, False, None, False),
        (TOUCHED, None, True, True),
        (TOUCHED, None, False, False),  # a constant Message-ID
        (TOUCHED, None, None, None),
        (identify("<a@x>", NOW, 10), None, False, None),  # a mail that the server has rewritten?
    ],
)
def test_content_decides_where_metadata_leave_a_doubt(shown, by_metadata, is_content_same, same):
    doubt = Doubt(KnownMail(1, ONE), KnownMail(1, shown), by_metadata)

    assert judge_content(doubt, is_content_same=is_content_same) is same


@pytest.mark.parametrize("per_day", [1000, 10, 4])
def test_restarts_of_a_numbering_are_bounded_by_time(per_day):
    paid_at, made = 0.0, []
    for number in range(5 * per_day):
        now = number * 86_400 / per_day
        if may_restart(paid_at - now):
            paid_at = max(paid_at, now) + RESTART_INTERVAL_SECONDS
            made.append(now)

    assert len(made) <= MAX_RESTARTS_AT_ONCE + 5 * 86_400 / RESTART_INTERVAL_SECONDS
    assert max(later - now for now, later in pairwise(made)) < 86_400, "never for good"


parts = st.builds(
    identify,
    st.sampled_from([None, "<a@x>", "<b@x>"]),
    st.sampled_from([None, NOW, LATER, SHIFTED]),
    st.sampled_from([None, 9, 10]),
)
mailboxes = st.dictionaries(st.integers(1, 6), parts, max_size=6)


@settings(max_examples=100, deadline=None)
@given(before=mailboxes, now=mailboxes)
def test_a_numbering_goes_on_only_if_no_mail_contradicts_it(before, now):
    known = [KnownMail(*each) for each in before.items()]
    seen = [KnownMail(*each) for each in now.items()]
    pairs = [(before[uid], now[uid]) for uid in before.keys() & now.keys()]
    verdict, doubt = is_same_numbering(known, seen), find_doubt(known, seen)

    if verdict is not True:
        assert (doubt is None) == (not pairs), "whatever is doubtful has a mail whose content is compared"
    if verdict:
        assert doubt is None
        assert not any(is_same_mail(*pair) is False for pair in pairs)
    if doubt is not None:
        assert judge_content(doubt, is_content_same=False) is not True, (
            "another content is never the same mail"
        )
        assert judge_content(doubt, is_content_same=True) is True, "the same content is never read again"
    assert is_same_numbering(known, known) in (True, None)


@settings(max_examples=100, deadline=None)
@given(one=parts, other=parts)
def test_the_same_mail_is_never_another_and_the_order_does_not_matter(one, other):
    assert is_same_mail(one, one) is not False
    assert is_same_mail(one, other) is is_same_mail(other, one)
    if is_same_mail(one, other):
        known = [pair for pair in zip(one, other, strict=True) if None not in pair]
        assert all(a == b for a, b in known), "nothing that is known differs"


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
