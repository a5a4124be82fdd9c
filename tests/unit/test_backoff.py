"""Backoff: waits double up to a maximum and start again after a success."""

from __future__ import annotations

from superimap.core.backoff import Backoff


def test_ceilings_double_up_to_the_maximum():
    backoff = Backoff(first=1.0, longest=10.0, chance=lambda: 1.0)

    assert [backoff.next() for _ in range(6)] == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert backoff.failures == 6


def test_each_wait_is_a_random_part_of_its_ceiling():
    chances = iter([0.0, 0.5, 0.25])
    backoff = Backoff(first=4.0, longest=100.0, chance=lambda: next(chances))

    assert [backoff.next() for _ in range(3)] == [0.0, 4.0, 4.0]


def test_a_success_resets_the_backoff():
    backoff = Backoff(first=1.0, longest=60.0, chance=lambda: 1.0)
    for _ in range(5):
        backoff.next()

    backoff.reset()

    assert backoff.failures == 0
    assert backoff.next() == 1.0


def test_years_of_failures_do_not_overflow():
    backoff = Backoff(first=1.0, longest=300.0, chance=lambda: 1.0)

    assert {backoff.next() for _ in range(5000)} >= {300.0}
    assert backoff.next() == 300.0


def test_clients_that_failed_together_do_not_retry_together():
    waits = {Backoff(first=60.0, longest=60.0).next() for _ in range(50)}

    assert len(waits) == 50
    assert all(0 <= wait < 60 for wait in waits)


def test_a_least_part_and_another_factor_bound_the_waits_from_below():
    backoff = Backoff(first=4.0, longest=100.0, factor=3.0, least=0.5, chance=lambda: 0.0)

    assert [backoff.next() for _ in range(5)] == [2.0, 6.0, 18.0, 50.0, 50.0]
