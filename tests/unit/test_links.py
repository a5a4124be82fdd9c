"""Validity of signed links."""

from urllib.parse import parse_qs, urlsplit

import pytest

from superimap.core.crypto import generate_key
from superimap.oauth.links import (
    LIFETIME_SECONDS,
    LinkValidity,
    Purpose,
    derive_keys,
    repaired_query,
    sign,
    url,
    verify,
)

KEYS = derive_keys(generate_key())
NOW_SECONDS = 1_790_000_000


def judged(*, purpose=Purpose.CONNECT, user_id=7, ts=NOW_SECONDS, sig=None, keys=KEYS, now=NOW_SECONDS):
    sig = sign(Purpose.CONNECT, 7, NOW_SECONDS, KEYS[0]) if sig is None else sig
    return verify(purpose, user_id, ts, sig, keys, now=now)


def test_a_link_is_valid_for_its_purpose_user_and_time():
    assert judged() is LinkValidity.VALID


@pytest.mark.parametrize(
    "changed",
    [
        {"purpose": Purpose.DISCONNECT},
        {"user_id": 8},
        {"ts": NOW_SECONDS + 1},
        {"sig": ""},
        {"sig": "ż"},
        {"sig": sign(Purpose.CONNECT, 7, NOW_SECONDS, KEYS[0])[:10]},
        {"keys": derive_keys(generate_key())},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_link_is_forged(changed):
    assert judged(**changed) is LinkValidity.FORGED


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (LIFETIME_SECONDS, LinkValidity.VALID),
        (LIFETIME_SECONDS + 1, LinkValidity.EXPIRED),
        (-300, LinkValidity.VALID),
        (-301, LinkValidity.FORGED),
    ],
)
def test_a_link_is_valid_for_half_an_hour(age, verdict):
    assert judged(now=NOW_SECONDS + age) is verdict


def test_a_forged_link_is_never_reported_as_expired():
    assert judged(sig="0" * 64, now=NOW_SECONDS + 10 * LIFETIME_SECONDS) is LinkValidity.FORGED


def test_a_link_stays_valid_after_a_key_rotation():
    old, new = generate_key(), generate_key()
    sig = sign(Purpose.CONNECT, 7, NOW_SECONDS, derive_keys(old)[0])

    assert judged(sig=sig, keys=derive_keys(f"{new}, {old}")) is LinkValidity.VALID


def test_link_keys_differ_from_the_vault_key():
    import base64

    key = generate_key()

    assert derive_keys(key)[0] != base64.b64decode(key)
    assert derive_keys(key.replace("+", "-").replace("/", "_").rstrip("=")) == derive_keys(key)


def test_the_parameters_of_a_url_verify():
    query = parse_qs(urlsplit(url("https://x", Purpose.DISCONNECT, 7, KEYS[0], now=NOW_SECONDS + 0.9)).query)

    sig = query["sig"][0]
    assert (
        verify(Purpose.DISCONNECT, 7, int(query["ts"][0]), sig, KEYS, now=NOW_SECONDS) is LinkValidity.VALID
    )


SIG = "0123456789abcdef" * 4
LINK = f"user_id=7&ts={NOW_SECONDS}&sig={SIG}"
URLS = "success=https%3A%2F%2Fapp.example.com%2Fok&failure=https%3A%2F%2Fapp.example.com%2Fno"


@pytest.mark.parametrize(
    ("given", "repaired"),
    [
        (LINK, LINK),
        (f"{LINK}&{URLS}", f"{LINK}&{URLS}"),
        (f"{LINK}?{URLS}", f"{LINK}&{URLS}"),  # as the original's documentation appends it
        (f"{LINK}?success=https://app.example.com/ok?page=1", f"{LINK}&success=https://app.example.com/ok?page=1"),
        (f"{LINK}?utm_source=mail", f"{LINK}&utm_source=mail"),
        (f"{LINK}?", LINK),
        (LINK.replace("&", "&amp;"), LINK),
        (f"{LINK}&amp;{URLS}", f"{LINK}&{URLS}"),
        *((f"{LINK}{junk}", LINK) for junk in (")", ".", ").", ">", "%3E", "%20", "%0D%0A", "'", "%E2%80%9D")),
        (f"{LINK})&{URLS}", f"{LINK}&{URLS}"),
        (f"{LINK}&success=https://a.example/ok)", f"{LINK}&success=https://a.example/ok)"),  # may be meant
        (f"{LINK}0", f"{LINK}0"),
        (f"{LINK}%41", f"{LINK}%41"),
        (f"{LINK}x.", f"{LINK}x."),
        (LINK[:-1] + ").", LINK[:-1] + ")."),
        ("", ""),
    ],
)  # fmt: skip
def test_a_link_is_read_without_what_was_added_on_its_way_if_one_reading_is_possible(given, repaired):
    assert repaired_query(given) == repaired
    assert repaired_query(repaired) == repaired
