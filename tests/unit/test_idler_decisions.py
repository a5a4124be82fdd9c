"""Decisions of sessions: how long to wait, and what a failure is about."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from superimap.idler import server_pauses
from superimap.idler.mailbox_memory import MailboxMemory
from superimap.idler.read_errors import Withheld
from superimap.imap.errors import Disconnected, LimitExceeded, ProtocolError, Refused, TimedOut
from superimap.imap.throttling import asks_for_pause
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


THROTTLED = [
    "Too many simultaneous connections. (Failure)", "Account exceeded command or bandwidth limits. (Failure)",
    "Request is throttled. Suggested Backoff Time: 92415 milliseconds", "LOGIN Rate limit hit",
    "Maximum number of connections from user+IP exceeded (mail_max_userip_connections=10)",
    "Too many bad login attempts.", "MAX_CONNECTIONS reached", "Connections exceeded", "Connection limit reached",
    "User has reached the maximum allowed connections", "Exceeded the number of connections", "rate exceeded",
    "Quota exceeded", "Your mailbox is over quota", "Your IP has been blocked", "Too many", "Greylisted",
    "Download limit for today reached", "concurrent session", "Zu viele Verbindungen", "Trop de connexions",
    "Demasiadas conexiones", "Troppe connessioni", "Muitas conexões", "Te veel verbindingen",
    "Слишком много соединений", "登录过于频繁", "接続数が多すぎます", "[THROTTLED] x",
]  # fmt: skip
NOT_THROTTLED = [
    "", "Session expired", "Message size exceeds limit", "Maximum message size exceeded", "Too many MIME parts",
    "Too many arguments", "Maximum line length exceeded", "FETCH failed: literal exceeds the size limit",
    "IDLE is not allowed", "Internal error", "Nesting depth limit exceeded", "Unlimited", "no such message",
    "The message has too many levels", "Server busy", "Command line too long: exceeds length limit",
]  # fmt: skip


def test_only_a_limit_on_the_account_or_address_asks_for_a_pause():
    assert [text for text in THROTTLED if not asks_for_pause(None, text)] == []
    assert [text for text in NOT_THROTTLED if asks_for_pause(None, text)] == []
    assert asks_for_pause("OVERQUOTA", "")
    assert not asks_for_pause("UNAVAILABLE", "")


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
