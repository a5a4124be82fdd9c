"""A command that a server does not bear is left out for a time; silence is limited before a command is blamed."""

from __future__ import annotations

import pytest

from superimap.imap.command_memory import (
    FIRST_PERIOD_SECONDS,
    LONGEST_PERIOD_SECONDS,
    MAX_ENDED_SESSIONS,
    MAX_PAUSES,
    SHORTEST_WAIT_SECONDS,
    SILENCE,
    CommandMemory,
)
from superimap.imap.errors import Refused
from superimap.imap.idle import MAX_IDLE_FAILURES

ROUND_SECONDS = 300.0


@pytest.mark.parametrize("most", [MAX_ENDED_SESSIONS, MAX_IDLE_FAILURES])
def test_a_command_is_left_out_for_an_hour_and_then_twice_as_long_up_to_a_day(most):
    memory, now, periods = CommandMemory(), 0.0, []
    for _ in range(most - 1):
        memory.fail("IDLE", now, most=most)
        assert memory.is_usable("IDLE", now)
    for _ in range(7):
        memory.fail("IDLE", now, most=most)
        assert memory.left_out(now) == ["IDLE"]
        begin = now
        while not memory.is_usable("IDLE", now):
            now += 60.0
        periods.append(now - begin)

    assert periods[:3] == [FIRST_PERIOD_SECONDS, 2 * FIRST_PERIOD_SECONDS, 4 * FIRST_PERIOD_SECONDS]
    assert periods[-1] == LONGEST_PERIOD_SECONDS
    memory.succeed("IDLE")
    memory.fail("IDLE", now, most=most)
    assert memory.is_usable("IDLE", now)


def test_one_command_that_fails_leaves_the_others_in_use():
    memory = CommandMemory()
    for _ in range(MAX_ENDED_SESSIONS):
        memory.fail("NOOP", 0.0)

    assert not memory.is_usable("NOOP", 0.0)
    assert memory.is_usable("UID SEARCH", 0.0)


def test_a_request_for_a_pause_is_respected_a_few_times_and_then_the_command_is_left_out():
    memory, error = CommandMemory(), Refused("SEARCH", "NO", "Search rate limit exceeded", "LIMIT")
    for _ in range(MAX_PAUSES - 1):
        with pytest.raises(Refused):
            memory.tolerate("UID SEARCH", error, 0.0)
    memory.tolerate("UID SEARCH", error, 0.0)

    assert not memory.is_usable("UID SEARCH", 0.0)


def test_a_refusal_that_asks_for_no_pause_is_passed_over_each_time():
    memory = CommandMemory()
    for _ in range(10):
        memory.tolerate("NOOP", Refused("NOOP", "BAD", "what"), 0.0)

    assert memory.is_usable("NOOP", 0.0)


def ends(memory: CommandMemory, cut_after: float, *, seconds: float = ROUND_SECONDS) -> int:
    """Play rounds of IDLE with a server that ends silence after some time; return how often it did."""
    now, count = 0.0, 0
    for _ in range(30):
        if not memory.is_usable("IDLE", now):
            break
        wait = memory.longest_wait(seconds, now)
        now += min(wait, cut_after)
        if wait < cut_after:
            memory.succeed("IDLE", silent=wait)
            break
        memory.blame("IDLE", cut_after, now, most=MAX_IDLE_FAILURES)
        count += 1
    return count


@pytest.mark.parametrize("cut_after", [21.0, 30.0, 45.0, 60.0, 120.0, 200.0, 290.0])
def test_idle_goes_on_in_shorter_rounds_where_silence_ends_the_connection(cut_after):
    memory = CommandMemory()

    assert ends(memory, cut_after) == MAX_ENDED_SESSIONS
    assert memory.left_out(0.0) == [SILENCE]
    assert SHORTEST_WAIT_SECONDS <= memory.longest_wait(ROUND_SECONDS, 0.0) < cut_after


@pytest.mark.parametrize("cut_after", [0.1, 4.0, 5.0, 10.0, 19.0])
def test_a_connection_that_ends_within_seconds_of_idle_leads_to_polling_after_few_logins(cut_after):
    memory = CommandMemory()

    assert ends(memory, cut_after) <= MAX_ENDED_SESSIONS + MAX_IDLE_FAILURES
    assert "IDLE" in memory.left_out(0.0)


def test_a_device_on_the_way_that_grows_more_impatient_is_followed():
    memory = CommandMemory()
    for cut_after in (280.0, 100.0, 60.0, 30.0):
        ends(memory, cut_after)

    assert memory.longest_wait(ROUND_SECONDS, 0.0) <= 30.0
    assert memory.is_usable("IDLE", 0.0)


def test_silence_is_no_longer_limited_once_a_long_round_has_ended_well():
    memory = CommandMemory()
    ends(memory, 60.0)
    memory.succeed("IDLE", silent=ROUND_SECONDS)

    assert memory.left_out(0.0) == []
    assert memory.longest_wait(ROUND_SECONDS, 0.0) == ROUND_SECONDS


def test_a_server_that_bears_everything_takes_no_memory():
    memory = CommandMemory()
    memory.succeed("IDLE", silent=ROUND_SECONDS)

    assert memory._troubles is None
