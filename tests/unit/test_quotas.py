"""Quotas: the rate of requests, and that no partner takes the requests of another."""

from __future__ import annotations

from superimap.domain.quotas import BURST_SECONDS, DEFAULT_QUOTAS, Quota, RequestBuckets


def test_a_burst_is_granted_and_then_the_rate():
    buckets = RequestBuckets()

    granted = [buckets.take(1, per_second=10, now=100.0) for _ in range(10 * BURST_SECONDS)]
    refused = buckets.take(1, per_second=10, now=100.0)

    assert set(granted) == {0.0}
    assert 0 < refused <= 0.1 + 1e-9
    assert buckets.take(1, per_second=10, now=100.0 + refused + 1e-9) == 0.0
    assert buckets.take(2, per_second=10, now=100.0) == 0.0


def test_a_partner_that_is_refused_uses_nothing_up():
    buckets = RequestBuckets()
    for _ in range(10_000):
        buckets.take(1, per_second=1, now=0.0)

    assert buckets.take(1, per_second=1, now=1.001) == 0.0


def test_idle_partners_are_forgotten():
    buckets = RequestBuckets(max_partners=3)
    for partner in range(1000):
        buckets.take(partner, per_second=1, now=float(10 * partner))

    assert len(buckets._full_at) <= 4


def test_every_quota_has_a_default_and_the_settings_have_the_same(monkeypatch):
    from tests.support.api import settings_for

    settings = settings_for("postgresql://localhost/x")

    assert settings.quotas == {quota.value: most for quota, most in DEFAULT_QUOTAS.items()}
    assert set(DEFAULT_QUOTAS) == set(Quota)
