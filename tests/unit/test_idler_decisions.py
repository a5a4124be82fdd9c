"""Decisions of sessions: how long to wait, and which mails to give up."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from superimap.domain.mails import GivenUp
from superimap.idler import server_pauses
from superimap.idler.mailbox import MailboxMemory
from superimap.idler.read_failures import ReadFailures
from superimap.imap.errors import Disconnected, LimitExceeded, OutOfSync, ProtocolError, Refused, TimedOut
from superimap.imap.types import MessageMeta, Uid

NOW = datetime(2026, 11, 23, 12, tzinfo=UTC)
META = MessageMeta(Uid(6), NOW, 9, None)


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (Refused("LOGIN", "NO", "Request is throttled. Suggested Backoff Time: 92415 milliseconds"), 92.415),
        (Refused("LOGIN", "NO", "Suggested Backoff Time: 99999999999"), server_pauses.MAX_PAUSE_SECONDS),
        (Refused("FETCH", "NO", "slow down", "THROTTLED"), 60),
        (Refused("LOGIN", "NO", "[ALERT] Too many simultaneous connections. (Failure)"), 60),
        (Refused("LOGIN", "NO", "Account exceeded command or bandwidth limits", "OVERQUOTA"), 60),
        (Disconnected("refused at the greeting", "Maximum number of connections from user+IP exceeded"), 60),
        (Disconnected("closed by the server", "Session expired"), None),
        (Refused("FETCH", "NO", "no such message"), None),
        (TimedOut("FETCH", 9), None),
        (OSError("too many connections"), None),
    ],
)
def test_the_pause_that_a_server_requests(error, seconds):
    assert server_pauses.requested_pause(error, ordinary=60) == seconds


def test_a_mail_is_given_up_after_three_faulty_answers_or_twelve_broken_connections():
    failures = ReadFailures()
    for _ in range(2):
        failures.record(5, ProtocolError("no mail"))
    for _ in range(11):
        failures.record(6, TimedOut("FETCH", 120), META)
        failures.record(7, OutOfSync("not an answer"), META)

    assert not any(map(failures.given_up, (4, 5, 6, 7)))
    for uid in (5, 6, 7):
        failures.record(uid, Refused("FETCH", "NO", "internal error"))
        assert failures.given_up(uid) == GivenUp()


def test_a_mail_announced_as_too_big_each_time_is_given_up_with_its_size():
    failures = ReadFailures()
    for _ in range(3):
        failures.record(5, LimitExceeded("a literal of more than 2 bytes", announced=90))
        failures.record(6, LimitExceeded("a line of more than 2 bytes"))

    assert failures.given_up(5) == GivenUp(literal_size=90)
    assert failures.given_up(6) == GivenUp()


def test_a_mail_deferred_for_days_is_given_up(monkeypatch):
    failures, put_off = ReadFailures(), Refused("FETCH", "NO", "try again later", "UNAVAILABLE")
    for _ in range(100):
        failures.record(5, put_off)
    assert not failures.given_up(5)

    monkeypatch.setattr("superimap.idler.read_failures.DEFERRAL_SECONDS", 0.0)
    for _ in range(3):
        failures.record(5, put_off)
    assert failures.given_up(5)


def test_connections_that_break_during_a_batch_cut_the_batch_too(monkeypatch):
    failures = ReadFailures()
    for _ in range(6):
        failures.record_batch(list(range(1, failures.batch_size + 1)), Disconnected("closed by the server"))
    assert failures.batch_size == 1
    for _ in range(100):  # an outage in which FETCH hangs costs no mail
        failures.record_batch([9], TimedOut("FETCH", 60))
    assert not failures.given_up(9)

    monkeypatch.setattr("superimap.idler.read_failures.DEFERRAL_SECONDS", 0.0)
    for _ in range(12):
        failures.record_batch([9], Disconnected("closed by the server"))
    assert failures.given_up(9)


def test_a_new_numbering_forgets_the_mails_of_the_old_one():
    memory = MailboxMemory()
    memory.begin_numbering(7)
    for _ in range(3):
        memory.failures.record(5, ProtocolError("no mail"))
    memory.add_recorded([(7, 5, 1)])
    memory.begin_numbering(7)
    assert memory.failures.given_up(5)
    assert memory.is_recorded((7, 5, 1))

    memory.begin_numbering(8)
    assert not memory.failures.given_up(5)
    assert not memory.is_recorded((7, 5, 1))


def test_a_failing_batch_is_cut_until_the_faulty_mail_is_known():
    failures = ReadFailures()
    sizes = [failures.batch_size]
    for _ in range(2):
        failures.record_batch(list(range(1, failures.batch_size + 1)), ProtocolError("cannot parse"))
        sizes.append(failures.batch_size)
    for _ in range(3):
        failures.record_batch([9], ProtocolError("cannot parse"))

    assert sizes == [100, 10, 1]
    assert failures.given_up(9)
    failures.forget_mails()
    assert failures.batch_size == 100
