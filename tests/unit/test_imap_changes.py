"""Reports of changed flags and of expunges: when they are news, and flags as servers write them."""

import math
import time

import pytest

from superimap.imap.flags import _Reader
from superimap.imap.framing import Framer
from superimap.imap.response import Response
from superimap.imap.server_state import ServerState
from superimap.imap.types import Limits


def one(line: bytes) -> Response:
    (response,) = Framer(Limits()).feed(line + b"\r\n")
    return response


def state_after(*lines: bytes, during: str = "IDLE", since: float = 0.0) -> ServerState:
    state = ServerState()
    state.mailbox.changes_from = since
    state.mailbox.exists = 9
    for line in lines:
        state.take_untagged(one(line), during=during, selected=True)
    return state


@pytest.mark.parametrize(
    ("line", "during", "is_news"),
    [
        (b"* 3 FETCH (FLAGS (\\Seen))", "IDLE", True),
        (b"* 3 FETCH (UID 7 MODSEQ (12) FLAGS (\\Seen))", "NOOP", True),
        (b"* 3 FETCH (FLAGS (\\Seen))", "FETCH", True),
        (b"* 3 FETCH (UID 7 RFC822.SIZE 5)", "FETCH", False),
        (b"* 3 EXPUNGE", "IDLE", True),
        (b"* VANISHED 4:5", "IDLE", True),
        (b"* 3 EXISTS", "SEARCH", False),
        (b"* OK still here", "IDLE", False),
    ],
)
def test_only_flags_and_expunges_are_news_of_changes(line, during, is_news):
    assert state_after(line, during=during).mailbox.has_changes is is_news
    assert not state_after(line, during=during, since=math.inf).mailbox.has_changes


def test_changes_are_news_only_after_the_pause_and_until_they_are_looked_at():
    mailbox = state_after(b"* 3 EXPUNGE", since=time.monotonic() + 60).mailbox
    assert not mailbox.has_changes
    mailbox.changes_from = time.monotonic()
    assert mailbox.has_changes and mailbox.has_news
    mailbox.changes_seen = mailbox.changes

    assert not mailbox.has_news


def test_expunges_are_counted_until_another_mailbox_is_opened():
    mailbox = state_after(b"* 3 EXPUNGE", b"* VANISHED 4:5,8").mailbox
    assert mailbox.expunged == 4
    mailbox.reset()

    assert mailbox.expunged == 0


@pytest.mark.parametrize(
    ("line", "flags"),
    [
        (b"* 1 FETCH (UID 5 FLAGS ())", {5: ()}),
        (b"* 1 FETCH (FLAGS (\\Seen $x NonJunk) UID 5)", {5: ("\\Seen", "$x", "NonJunk")}),
        (b"* 1 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (7))", {5: ("\\Seen",)}),
        (b'* 1 FETCH (UID 5 FLAGS ("a b" 7))', {5: ("a b", "7")}),
        (b"* 1 FETCH (UID 6 FLAGS (\\Seen))", {}),
        (b"* 1 FETCH (FLAGS (\\Seen))", {}),
        (b"* 1 FETCH (UID 5 FLAGS \\Seen)", {}),
        (b"* 1 FETCH (UID 5 FLAGS NIL)", {}),
        (b"* 1 FETCH (UID 5 FLAGS (", {}),
    ],
)
def test_flags_are_read_of_the_wanted_mails_alone(line, flags):
    found: dict[int, tuple[str, ...]] = {}
    _Reader(frozenset({5}), found).read(one(line))

    assert found == flags


def test_the_last_answer_about_a_mail_counts():
    found: dict[int, tuple[str, ...]] = {}
    reader = _Reader(frozenset({5}), found)
    for flags in (b"\\Seen", b""):
        reader.read(one(b"* 1 FETCH (UID 5 FLAGS (%s))" % flags))

    assert found == {5: ()}
