"""Table of the facts about a mail and the outcome and reason that they give."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.mails import REASONS, GivenUp, MailFacts, MailOutcome, judge

CONNECTED = datetime(2026, 11, 1, 12, 0, 0, 700_000, tzinfo=UTC)
WHOLE_SECOND = CONNECTED.replace(microsecond=0)
LONG_AGO = CONNECTED - timedelta(days=900)
EARLIER = {"by_date": True, "internal_date": WHOLE_SECOND - timedelta(seconds=1)}
SLOW = {"by_date": True, "tolerance": timedelta(days=1)}
TOO_LARGE = b"x" * 101
GIVEN_UP = GivenUp(literal_size=999)


def facts(**known: Any) -> MailFacts:
    return MailFacts(CONNECTED, 100, **known)


def dated(*values: bytes) -> dict[str, Any]:
    """Facts of a mail that is read and has these Date headers."""
    return {"raw": b"x", "headers": {"date": list(values)}}


TABLE = [
    # what is known in addition to a limit of 100 bytes; the outcome; a part of its reason
    ({}, "delivered", None),
    (EARLIER, "before_connect", "arrived before the user was connected (2026-11-01 12:00:00Z)"),
    ({"by_date": True, "internal_date": WHOLE_SECOND}, "delivered", None),
    ({"by_date": False, "internal_date": LONG_AGO}, "delivered", None),
    ({**SLOW, "internal_date": WHOLE_SECOND - timedelta(days=1)}, "delivered", None),
    ({**SLOW, "internal_date": WHOLE_SECOND - timedelta(days=1, seconds=1)}, "before_connect", "arrived"),
    ({**SLOW, "internal_date": LONG_AGO, **dated(b"Sun, 1 Nov 2026 12:00:00 +0000")}, "delivered", None),
    ({**SLOW, "internal_date": LONG_AGO, **dated(b"1 Nov 2006 12:00:00")}, "before_connect", "arrived"),
    ({**SLOW, "internal_date": LONG_AGO, **dated(b"yesterday")}, "before_connect", "arrived"),
    ({"labels": ("\\Sent",)}, "own_mail", "sent by the user, or a draft"),
    ({"labels": ("\\Draft",)}, "own_mail", "draft"),
    ({"labels": ("\\DRAFTS", "work")}, "own_mail", "draft"),
    ({"labels": ("\\Sent", "\\Inbox")}, "delivered", None),
    ({"labels": ("sent", "\\Important")}, "delivered", None),
    ({"announced_size": 100}, "delivered", None),
    ({"announced_size": 101}, "too_big", "101 bytes; MAX_EMAIL_SIZE is 100"),
    ({"given_up": GIVEN_UP}, "too_big", "the mail server announced 999 bytes"),
    ({"given_up": GivenUp()}, "unreadable", "failed for two days"),
    ({"is_gone": True}, "gone", "deleted or moved before it could be read"),
    ({"raw": b"x" * 100}, "delivered", None),
    ({"raw": TOO_LARGE, "announced_size": 7}, "too_big", "101 bytes; MAX_EMAIL_SIZE is 100"),
    ({"raw": b"x", "has_twin": True}, "duplicate", None),
    ({"raw": b"x", "is_copy": True}, "duplicate", None),
    ({"raw": b"x", "is_tracer": True}, "tracer", None),
    ({"raw": b"x", "has_endpoint": False}, "no_webhook", None),
    # Without an INTERNALDATE, the mail's own Date decides once it is read.
    ({"by_date": True}, "delivered", None),
    ({"by_date": True, **dated(b"Sun, 1 Nov 2026 11:59:59 +0000")}, "before_connect", "arrived"),
    ({"by_date": True, **dated(b"Sun, 1 Nov 2026 12:00:00 +0000")}, "delivered", None),
    ({"by_date": True, **dated(b"Sun, 1 Nov 2026 12:00:00 +0100")}, "before_connect", "arrived"),
    ({"by_date": True, **dated(b"1 Nov 2026 11:00:00")}, "before_connect", "arrived"),
    ({"by_date": True, **dated(b"soon")}, "delivered", None),
    ({"by_date": True, **dated(b"")}, "delivered", None),
    ({"by_date": True, **dated(b"Thu, 1 Jan 1970 00:00:00 +0000")}, "delivered", None),
    (
        {"by_date": True, **dated(b"Sun, 1 Nov 2026 12:00:00 +0000", b"1 Nov 2020 00:00:00")},
        "delivered",
        None,
    ),
    ({"by_date": True, "internal_date": CONNECTED, **dated(b"1 Nov 2020 00:00:00 +0000")}, "delivered", None),
    ({"by_date": False, **dated(b"1 Nov 2020 00:00:00 +0000")}, "delivered", None),
    # Where two rules apply, the first decides.
    ({**EARLIER, "labels": ("\\Sent",)}, "before_connect", "arrived"),
    ({"labels": ("\\Sent",), "announced_size": 101}, "own_mail", "sent"),
    ({"announced_size": 101, "given_up": GIVEN_UP}, "too_big", "101 bytes"),
    ({"given_up": GivenUp(), "is_gone": True}, "unreadable", "failed"),
    ({"raw": TOO_LARGE, "has_twin": True}, "too_big", "101 bytes"),
    ({"is_copy": True, "is_tracer": True}, "duplicate", None),
    ({"is_copy": True, "has_endpoint": False}, "duplicate", None),
    ({"has_twin": True, "has_endpoint": False}, "no_webhook", None),  # the twin has no webhook either
    ({"is_tracer": True, "has_endpoint": False}, "tracer", None),
]


@pytest.mark.parametrize(("known", "outcome", "reason"), TABLE)
def test_the_first_rule_that_applies_gives_outcome_and_reason(known, outcome, reason):
    found, detail = judge(facts(**known))

    assert found == outcome
    assert (detail is None) if reason is None else (reason in detail)


def test_C8_own_mail_in_all_mail_is_skipped_unless_sent_to_oneself():
    assert judge(facts(labels=("\\Sent",)))[0] == MailOutcome.OWN_MAIL
    assert judge(facts(labels=("\\Sent", "\\Inbox")))[0] == MailOutcome.DELIVERED


@given(
    st.fixed_dictionaries(
        {
            "internal_date": st.none() | st.sampled_from([LONG_AGO, WHOLE_SECOND, CONNECTED]),
            "announced_size": st.sampled_from([0, 100, 101]),
            "labels": st.sampled_from([(), ("\\Sent",), ("\\Sent", "\\Inbox")]),
            "given_up": st.sampled_from([None, GivenUp(), GIVEN_UP]),
            "raw": st.sampled_from([None, b"", TOO_LARGE]),
            **{
                name: st.booleans()
                for name in ("by_date", "is_gone", "has_twin", "is_copy", "is_tracer", "has_endpoint")
            },
        }
    )
)
def test_every_combination_of_facts_has_an_outcome_that_later_facts_do_not_lift(known):
    """A mail that is skipped by its metadata would be skipped after reading it, for the same reason."""
    outcome, reason = judge(facts(**known))
    before = {
        name: known[name] for name in ("internal_date", "announced_size", "labels", "given_up", "by_date")
    }
    early = judge(facts(**before))

    assert outcome in REASONS
    assert reason is None or reason.isprintable()
    assert early[0] == MailOutcome.DELIVERED or early == (outcome, reason)


def test_the_size_is_the_most_reliable_one_known():
    assert facts(announced_size=7).size == 7
    assert facts(announced_size=7, given_up=GIVEN_UP).size == 999
    assert facts(announced_size=7, given_up=GivenUp()).size == 7
    assert facts(announced_size=7, raw=b"four").size == 4


def test_every_outcome_has_a_reason_and_facts_are_shown_without_content():
    assert set(REASONS) == set(MailOutcome)
    assert "secret" not in repr(facts(raw=b"secret", headers={"subject": [b"secret"]}))
