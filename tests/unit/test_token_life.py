"""Replacement of access tokens: always in time, and never for all sessions at once."""

from __future__ import annotations

import heapq
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.db.accounts.validation.accounts import validate_account
from superimap.db.accounts.validation.providers import validate_provider
from superimap.db.errors import Invalid
from superimap.idler.token_pauses import (
    CLIENT_PAUSE_SECONDS,
    MAX_THROTTLED_PAUSE_SECONDS,
    SHARED_PAUSE_SECONDS,
    pause_after,
)
from superimap.oauth import token_lifetime
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_endpoint import token_url
from superimap.oauth.token_errors import TokenRefused, TokenUnavailable

CHANCE = st.floats(0, 1, exclude_max=True)
LIVES = st.floats(1, 86_400)


@given(LIVES, CHANCE, st.booleans(), st.booleans())
def test_a_session_reconnects_before_its_token_expires(seconds, chance, is_new, is_shared):
    pause = token_lifetime.roll_over_delay(seconds, seconds, chance, is_new=is_new, is_shared=is_shared)

    assert 0 <= pause <= token_lifetime.REPLACE_UNTIL_FRACTION * seconds * (1 + 1e-9)


@given(LIVES, st.floats(0, 1), CHANCE, st.booleans())
def test_the_elapsed_part_of_a_lifetime_is_not_waited_for_again(seconds, share, chance, is_shared):
    left = seconds * share

    pause = token_lifetime.roll_over_delay(seconds, left, chance, is_new=False, is_shared=is_shared)

    age = seconds - left
    assert pause >= 0 or pause == pytest.approx(0, abs=1e-6)
    assert age + pause <= max(token_lifetime.REPLACE_UNTIL_FRACTION * seconds, age) * (1 + 1e-9)


@pytest.mark.parametrize(("is_shared", "least"), [(False, 0.75), (True, 0.5)])
def test_a_stored_token_is_used_for_most_of_its_lifetime(is_shared, least):
    early, late = (
        token_lifetime.roll_over_delay(3600, 3600, chance, is_new=False, is_shared=is_shared)
        for chance in (0.0, 0.999999)
    )

    assert early == pytest.approx(3600 * least)
    assert late == pytest.approx(3600 * 0.92, rel=1e-4)
    assert not token_lifetime.is_aged(3600, 3600 * (1 - least) + 1, is_shared=is_shared)
    assert token_lifetime.is_aged(3600, 3600 * (1 - least), is_shared=is_shared)


def busiest(comebacks: list[float], *, first: float, last: float, bins: int) -> float:
    """The count in the busiest of `bins` intervals, divided by the mean."""
    counts = [0] * bins
    for at in comebacks:
        if first <= at < last:
            counts[int((at - first) / (last - first) * bins)] += 1
    return max(counts) * bins / sum(counts)


def test_sessions_started_together_do_not_reconnect_together():
    """10,000 of them within 100 s, tokens of an hour, for four hours: bins of a minute."""
    chance, comebacks = random.Random(7), []
    for _ in range(10_000):
        at = chance.uniform(0, 100)
        for is_new in itertools.chain([True], itertools.repeat(False)):
            at += token_lifetime.roll_over_delay(3600, 3600, chance.random(), is_new=is_new, is_shared=False)
            if at > 4 * 3600:
                break
            comebacks.append(at)

    assert busiest(comebacks, first=100, last=4 * 3600, bins=239) < 1.4


def test_sessions_that_share_a_token_do_not_reconnect_together():
    """The first session requests a new token; the others switch to it at moments of their own."""
    chance, comebacks, made = random.Random(7), [], [0.0]
    due = [
        token_lifetime.roll_over_delay(3600, 3600, chance.random(), is_new=False, is_shared=True)
        for _ in range(5000)
    ]
    heapq.heapify(due)
    while (at := due[0]) < 4 * 3600:
        comebacks.append(at)
        if at - made[-1] >= 1800:
            made.append(at)
        left = 3600 - (at - made[-1])
        heapq.heapreplace(
            due,
            at + token_lifetime.roll_over_delay(3600, left, chance.random(), is_new=False, is_shared=True),
        )

    assert busiest(comebacks, first=3600, last=4 * 3600, bins=60) < 2.0
    assert len(made) <= 9


@given(LIVES, CHANCE)
def test_the_next_attempt_is_soon_but_not_immediate(seconds, chance):
    assert 0.5 <= token_lifetime.token_retry_delay(seconds, chance) <= 0.03 * seconds + 1.5


@pytest.mark.parametrize(
    ("error", "for_one", "for_all"),
    [
        (TokenRefused("invalid_grant"), None, CLIENT_PAUSE_SECONDS),
        (TokenRefused("unauthorized_client", TokenRefusal.CLIENT), None, CLIENT_PAUSE_SECONDS),
        (TokenRefused("invalid_client", TokenRefusal.CLIENT), CLIENT_PAUSE_SECONDS, CLIENT_PAUSE_SECONDS),
        (TokenRefused("aadsts7000222", TokenRefusal.CLIENT), CLIENT_PAUSE_SECONDS, CLIENT_PAUSE_SECONDS),
        (TokenRefused("HTTP 400", TokenRefusal.UNCLEAR), None, CLIENT_PAUSE_SECONDS),
        (TokenUnavailable("HTTP 429", retry_after=30.0), 30.0, 30.0),
        (
            TokenUnavailable("HTTP 429", retry_after=3600.0),
            MAX_THROTTLED_PAUSE_SECONDS,
            MAX_THROTTLED_PAUSE_SECONDS,
        ),
        (TokenUnavailable("HTTP 500"), None, SHARED_PAUSE_SECONDS),
    ],
)
def test_the_failure_of_one_user_does_not_delay_the_others(error, for_one, for_all):
    """A wrong secret and throttling concern the whole connection, as does every error of a shared token."""
    for expected, is_shared in ((for_one, False), (for_all, True)):
        pause = pause_after(error, is_shared=is_shared)
        assert (pause and pause[0]) == expected


def test_a_tenant_appears_only_in_the_path():
    template = "https://login.example.com/{tenant}/oauth2/v2.0/token"

    assert token_url(template, "contoso") == "https://login.example.com/contoso/oauth2/v2.0/token"
    assert token_url("https://login.example.com/token", None) == "https://login.example.com/token"
    with pytest.raises(TokenRefused, match="tenant"):
        token_url(template, None)


@pytest.mark.parametrize(
    "tenant",
    ["evil.example.com/", "a@b", "..", "a..b", ".", "-", "a b", "%2e%2e", "a?b", "a#b", "a:b", "a\\b"],
)
def test_a_tenant_cannot_change_the_url(tenant):
    with pytest.raises(Invalid, match="oauth2_tenant"):
        validate_account({"oauth2_tenant": tenant})


@pytest.mark.parametrize(
    "tenant", ["contoso.onmicrosoft.com", "8eaef023-2b34-4da1-9baa-8bc8c9d6a490", "common"]
)
def test_a_tenant_is_an_id_or_a_domain(tenant):
    assert validate_account({"oauth2_tenant": tenant}) == {"oauth2_tenant": tenant}


@pytest.mark.parametrize(
    "url", ["https://{tenant}.example.com/token", "https://{tenant}/token", "https://x:{tenant}/token"]
)
def test_a_tenant_is_not_accepted_in_a_host(url):
    with pytest.raises(Invalid, match="only in its path"):
        validate_provider({"oauth2_token_url": url})
