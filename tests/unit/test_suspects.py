"""Suspects: which mails are fetched in one command after a failure, and when a session reconnects at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.idler import suspects as module
from superimap.idler.suspects import Pieces, Suspects
from superimap.imap.errors import Disconnected, LimitExceeded, Refused, TimedOut

CLOSED = Disconnected("closed by the server")


@pytest.fixture
def clock(monkeypatch):
    """The monotonic clock, as a list of one number."""
    now = [1000.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def logins_until_known(poison: int, uids: range) -> int:
    """Count the connections that end until the mail that ends them is known."""
    suspects, logins = Suspects(), 0
    done = 0
    while suspects.get(poison) is None:
        for piece in Pieces([uid for uid in uids if uid > done], suspects):
            if poison in piece:
                suspects.add_batch(piece, CLOSED)
                logins += 1
                break
            done = piece[-1]
    return logins


@pytest.mark.parametrize("poison", [1, 2, 50, 99, 100, 101, 555, 1000])
def test_three_connections_are_enough_to_find_the_mail_that_ends_them(poison):
    assert logins_until_known(poison, range(1, 1001)) <= 3


@given(st.sets(st.integers(1, 500)), st.sets(st.integers(1, 500)), st.sets(st.integers(1, 500)))
def test_pieces_have_every_mail_once_and_in_order(uids, failed, batch):
    suspects = Suspects()
    for uid in failed:
        suspects.add(uid, CLOSED)
    if len(batch) > 1:
        suspects.add_batch(batch, CLOSED)

    pieces = list(Pieces(sorted(uids), suspects))

    assert [uid for piece in pieces for uid in piece] == sorted(uids)
    assert all(len(piece) == 1 for piece in pieces if failed.intersection(piece))
    assert all(0 < len(piece) <= 100 for piece in pieces)


def test_a_refused_batch_is_put_back_in_smaller_pieces():
    suspects = Suspects()
    pieces = Pieces(range(1, 301), suspects)
    first = next(pieces)
    suspects.add_batch(first, Refused("FETCH", "NO", "internal error"))
    pieces.put_back(first)
    rest = list(pieces)

    assert [len(piece) for piece in rest] == [10] * 10 + [100, 100]
    assert [uid for piece in rest for uid in piece] == list(range(1, 301))


def test_a_literal_within_the_limit_is_read_again_with_more_room_before_the_mail_is_suspect():
    suspects = Suspects()
    suspects.add(5, LimitExceeded("a literal", announced=900), max_room=1000)
    assert suspects.get(5) is None
    assert suspects.room_for(5, 100) == 900

    suspects.add(5, LimitExceeded("a literal", announced=900), max_room=1000)
    assert suspects.get(5) is not None
    suspects.add(6, LimitExceeded("a literal", announced=2000), max_room=1000)
    assert suspects.get(6) is not None


def test_quick_reconnects_are_bounded_by_the_minute(clock):
    suspects = Suspects()

    def reconnects() -> int:
        done = 0
        for uid in range(100):
            suspects.add(uid, CLOSED)
            done += suspects.may_reconnect_at_once()
        return done

    assert reconnects() == 10
    clock[0] += 61
    assert reconnects() == 10


def test_a_session_that_found_nothing_out_does_not_reconnect_at_once(clock):
    suspects = Suspects()
    assert not suspects.may_reconnect_at_once()
    suspects.add(1, TimedOut("FETCH", 9))
    assert suspects.may_reconnect_at_once()
    assert not suspects.may_reconnect_at_once()


def test_a_server_at_fault_is_not_hurried_until_it_hands_over_a_mail(clock):
    suspects = Suspects()
    suspects.add(1, CLOSED)
    suspects.blame_server()
    assert suspects.get(1) is None
    suspects.add(1, CLOSED)
    assert not suspects.may_reconnect_at_once()

    suspects.record_read(2)
    suspects.add(1, CLOSED)
    assert suspects.may_reconnect_at_once()
