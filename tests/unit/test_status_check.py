"""Decisions about an open mailbox: what STATUS tells, when missing mails are looked for, how it is opened."""

from __future__ import annotations

import math

import pytest

from superimap.idler.missing_mails import LONGEST_LOOK_PAUSE_SECONDS, Look, MissingMails
from superimap.idler.status_check import StatusCheck
from superimap.imap.framing import Response
from superimap.imap.server_state import ServerState
from superimap.imap.state import MailboxState
from superimap.imap.statuses import needs_select

KNOWN = {"MESSAGES": 10, "UIDNEXT": 12, "UIDVALIDITY": 7}


@pytest.mark.parametrize(
    ("changes", "differs"),
    [
        ({}, False),
        ({"MESSAGES": 11}, True),
        ({"MESSAGES": 9}, True),
        ({"UIDVALIDITY": 8}, True),
        ({"UIDNEXT": 11}, True),  # not above the last UID: numbered anew
        ({"UIDNEXT": 99}, False),  # the first report: gaps are allowed
    ],
)
def test_status_differs_where_it_tells_what_the_session_has_not_seen(changes, differs):
    check = StatusCheck()

    counts = KNOWN | changes
    assert check.differs(counts, exists=10, uid_validity=7, last_uid=11, arrivals=0) is differs
    check.accept(counts, arrivals=0)
    assert not check.differs(counts, exists=10, uid_validity=7, last_uid=11, arrivals=0)


def test_uidnext_that_grows_without_an_announcement_is_a_difference():
    check = StatusCheck()
    check.accept(KNOWN, arrivals=3)
    grown = KNOWN | {"UIDNEXT": 14}

    assert check.differs(grown, exists=10, uid_validity=7, last_uid=11, arrivals=3)
    assert not check.differs(grown, exists=10, uid_validity=7, last_uid=13, arrivals=5)


@pytest.mark.parametrize("counts", [{}, {"UIDVALIDITY": 7}, {"MESSAGES": 10}, KNOWN | {"UIDNEXT": 0}])
def test_a_status_without_uidnext_tells_nothing_so_that_the_mailbox_is_opened_again_each_time(counts):
    check = StatusCheck()
    for _ in range(3):
        assert check.differs(counts, exists=10, uid_validity=7, last_uid=11, arrivals=0)
        check.accept(counts, arrivals=0)


def test_a_status_without_a_count_of_messages_tells_enough_from_the_second_one_on():
    check, counts = StatusCheck(), {"UIDNEXT": 12}
    assert check.differs(counts, exists=10, uid_validity=7, last_uid=11, arrivals=0)
    check.accept(counts, arrivals=0)

    assert not check.differs(counts, exists=10, uid_validity=7, last_uid=11, arrivals=0)
    assert check.differs({"UIDNEXT": 13}, exists=10, uid_validity=7, last_uid=11, arrivals=0)


def test_missing_mails_are_looked_for_with_growing_pauses_until_a_last_look():
    missing, now, looks = MissingMails(), 0.0, []
    assert missing.note(1, found=0, now=now) is Look.NONE
    while missing.due < math.inf:
        pause = missing.due - now
        now = missing.due
        looks.append((pause, missing.note(1, found=0, now=now)))

    assert [pause for pause, _ in looks[:4]] == pytest.approx([0.1, 0.2, 0.4, 0.8])
    assert [look for _, look in looks].count(Look.BELOW) >= 3
    assert looks[1][1] is Look.BELOW
    assert looks[-1] == (pytest.approx(LONGEST_LOOK_PAUSE_SECONDS), Look.LAST)
    assert 100 < now < 300


def test_announcements_that_never_come_true_cause_one_look_a_minute():
    missing, now = MissingMails(), 0.0
    missing.note(1, found=0, now=now)
    looks = []
    while now < 3600:
        now += 1.0  # the counts change every second
        if now >= missing.due or missing.due == math.inf:
            looks.append(missing.note(1, found=0, now=now))

    assert looks.count(Look.LAST) < 60
    assert looks.count(Look.BELOW) < 6
    missing.note(0, found=1, now=now)
    missing.note(1, found=0, now=now)
    assert missing.due == pytest.approx(now + 0.1), "mail that is found at once restores the short pauses"


def test_nothing_is_looked_for_once_all_announced_mails_are_found():
    missing = MissingMails()
    missing.note(1, found=0, now=0.0)

    assert missing.note(0, found=1, now=0.05) is Look.NONE
    assert missing.due == math.inf


@pytest.mark.parametrize(
    ("responses", "found", "left"),
    [
        (["4 EXISTS"], 0, 1),
        (["4 EXISTS"], 1, 0),
        (["4 EXISTS", "4 EXPUNGE"], 0, 0),  # the new one was moved away
        (["4 EXISTS", "1 EXPUNGE"], 0, 1),  # an old one was deleted
        (["4 EXISTS", "3 EXISTS"], 0, 0),  # the count was wrong
        (["2 EXPUNGE", "3 EXISTS"], 0, 1),
        (["3 EXISTS"], 0, 0),
        (["6 EXISTS"], 2, 1),
    ],
)
def test_missing_mails_are_those_announced_neither_found_nor_expunged(responses, found, left):
    mailbox = MailboxState()
    mailbox.record_count(b"EXISTS", b"3", opening=True)
    mailbox.settle()
    for response in responses:
        digits, name = response.encode().split()
        mailbox.record_count(name, digits, opening=False)
    mailbox.settle(found)

    assert mailbox.missing == left


@pytest.mark.parametrize(
    ("uids", "exists"),
    [(b"1", 4), (b"1:3,9", 1), (b"3:1", 2), (b"(EARLIER) 1:3", 5), (b"1:4294967295", 0), (b"x,,", 5)],
)
def test_vanished_lowers_the_count_so_that_the_next_mail_is_an_arrival(uids, exists):
    state = ServerState()
    state.mailbox.record_count(b"EXISTS", b"5", opening=True)
    state.take_untagged(Response((b"* VANISHED " + uids,), ()), during="IDLE", selected=True)

    assert state.mailbox.exists == exists


def test_a_repeated_count_in_idle_causes_a_search_and_one_a_minute_while_nothing_is_found(monkeypatch):
    now = 1000.0
    monkeypatch.setattr("superimap.imap.state.time.monotonic", lambda: now)
    mailbox = MailboxState()
    mailbox.record_count(b"EXISTS", b"5", opening=True)
    mailbox.record_count(b"EXISTS", b"5", opening=False)  # not in IDLE
    assert not mailbox.has_news
    searches = 0
    for _ in range(300):  # one a second
        mailbox.record_count(b"EXISTS", b"5", opening=False, idling=True)
        if mailbox.has_news:
            searches += 1
            mailbox.mark_searched()
            mailbox.settle(0)
        now += 1
    assert searches == 5
    mailbox.settle(1)
    mailbox.record_count(b"EXISTS", b"5", opening=False, idling=True)
    assert mailbox.has_news


@pytest.mark.parametrize(
    ("greeting", "needed"),
    [
        ("Courier-IMAP ready. Copyright 1998-2022 Double Precision, Inc.  See COPYING.", True),
        ("mail.example.com IMAP4rev1 2007f.404 at Mon, 3 Feb 2020 10:00:00 +0100 (CET)", True),
        ("mail.example.com IMAP4rev1 v12.264 at Mon, 3 Feb 2000 10:00:00 +0100 (CET)", True),
        ("Dovecot (Debian) ready.", False),
        ("Gimap ready for requests from 192.0.2.1 abc", False),
        ("mail.example.com Cyrus IMAP 3.6.1 server ready", False),
        ("IMAP4rev1 server ready at 2026", False),
        ("", False),
    ],
)
def test_servers_that_need_select_are_known_by_their_greeting(greeting, needed):
    assert needs_select(greeting) is needed
