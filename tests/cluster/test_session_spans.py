"""Session spans: overlaps and gaps, which decide the cluster scenarios."""

from __future__ import annotations

from superimap.testing.imap.server import LogEntry
from trials.cluster.session_spans import gaps, overlaps, percentile, session_spans


def session(number: int, *, login: float, idle: float, logout: float | None) -> list[LogEntry]:
    """The log entries of one session of the user ann."""
    events = [
        LogEntry(login - 0.01, number, None, "connect", ""),
        LogEntry(login, number, None, "LOGIN", ""),
        LogEntry(login + 0.01, number, "ann", "EXAMINE", ""),
        LogEntry(idle, number, "ann", "IDLE", ""),
    ]
    if logout is not None:
        events += [
            LogEntry(logout, number, "ann", "LOGOUT", ""),
            LogEntry(logout + 0.5, number, "ann", "disconnect", ""),
        ]
    return events


def ledger(*sessions: list[LogEntry]) -> list[LogEntry]:
    return sorted(event for each in sessions for event in each)


def test_the_gap_between_two_sessions_is_from_logout_to_idle():
    found = session_spans(
        ledger(session(1, login=1, idle=2, logout=5), session(2, login=5.25, idle=6, logout=None))
    )

    assert overlaps(found) == []
    assert list(gaps(found)) == [1.0]
    assert list(gaps(found, since=5.5)) == []


def test_a_login_before_the_logout_of_the_previous_session_is_an_overlap():
    found = session_spans(
        ledger(session(1, login=1, idle=2, logout=5), session(2, login=4.9, idle=6, logout=None))
    )

    assert overlaps(found) == ["ann"]


def test_a_login_beside_a_session_that_never_ends_is_an_overlap():
    found = session_spans(
        ledger(session(1, login=1, idle=2, logout=None), session(2, login=9, idle=9.5, logout=None))
    )

    assert overlaps(found) == ["ann"]


def test_percentiles():
    assert percentile([], 0.95) == 0.0
    assert percentile(range(100), 0.95) == 95
    assert percentile([3.0], 1.0) == 3.0
