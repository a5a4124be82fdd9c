"""Decisions of sessions: how long to wait, and what a failure is about."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from superimap.idler import server_pauses
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.read_errors import Withheld
from superimap.imap.errors import Disconnected, LimitExceeded, ProtocolError, Refused, TimedOut
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


def test_only_a_refusal_without_a_pause_concerns_the_mail_that_was_requested():
    assert server_pauses.is_about_mail(Refused("FETCH", "NO", "[SERVERBUG] internal error"))
    assert server_pauses.is_about_mail(Refused("FETCH", "NO", "try again later", "UNAVAILABLE"))
    assert server_pauses.is_about_mail(Withheld())
    assert not server_pauses.is_about_mail(Refused("FETCH", "NO", "slow down", "THROTTLED"))
    for error in (
        ProtocolError("not IMAP"),
        TimedOut("FETCH", 9),
        Disconnected("closed"),
        LimitExceeded("long"),
    ):
        assert not server_pauses.is_about_mail(error)


def test_a_new_numbering_forgets_the_mails_of_the_old_one():
    memory = MailboxMemory()
    memory.begin_numbering(7)
    memory.suspects.add(5, ProtocolError("no mail"))
    memory.add_recorded([(7, 5, 1)])
    memory.begin_numbering(7)
    assert memory.suspects.get(5)
    assert memory.is_recorded((7, 5, 1))

    memory.begin_numbering(8)
    assert not memory.suspects.get(5)
    assert not memory.is_recorded((7, 5, 1))
