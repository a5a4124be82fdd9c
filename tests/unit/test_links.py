"""Which connect links are good?"""

from urllib.parse import parse_qs, urlsplit

import pytest

from superimap.core.crypto import generate_key
from superimap.oauth.links import LIFETIME, Purpose, Verdict, derive, sign, url, verify

KEYS = derive(generate_key())
NOW = 1_790_000_000


def judged(*, purpose=Purpose.CONNECT, user_id=7, ts=NOW, sig=None, keys=KEYS, now=NOW):
    sig = sign(Purpose.CONNECT, 7, NOW, KEYS[0]) if sig is None else sig
    return verify(purpose, user_id, ts, sig, keys, now=now)


def test_a_link_is_good_for_its_purpose_user_and_time():
    assert judged() is Verdict.VALID


@pytest.mark.parametrize(
    "changed",
    [
        {"purpose": Purpose.DISCONNECT},
        {"user_id": 8},
        {"ts": NOW + 1},
        {"sig": ""},
        {"sig": "ż"},
        {"sig": sign(Purpose.CONNECT, 7, NOW, KEYS[0])[:10]},
        {"keys": derive(generate_key())},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_a_link_that_was_changed_is_forged(changed):
    assert judged(**changed) is Verdict.FORGED


@pytest.mark.parametrize(
    ("age", "verdict"),
    [
        (LIFETIME, Verdict.VALID),
        (LIFETIME + 1, Verdict.EXPIRED),
        (-300, Verdict.VALID),
        (-301, Verdict.FORGED),
    ],
)
def test_a_link_lives_for_half_an_hour(age, verdict):
    assert judged(now=NOW + age) is verdict


def test_a_forged_link_is_never_called_expired():
    assert judged(sig="0" * 64, now=NOW + 10 * LIFETIME) is Verdict.FORGED


def test_a_link_outlives_the_rotation_of_the_key():
    old, new = generate_key(), generate_key()
    sig = sign(Purpose.CONNECT, 7, NOW, derive(old)[0])

    assert judged(sig=sig, keys=derive(f"{new}, {old}")) is Verdict.VALID


def test_a_link_key_is_not_the_vault_key():
    import base64

    key = generate_key()

    assert derive(key)[0] != base64.b64decode(key)
    assert derive(key.replace("+", "-").replace("/", "_").rstrip("=")) == derive(key)


def test_a_url_carries_what_verifies_it():
    query = parse_qs(urlsplit(url("https://x", Purpose.DISCONNECT, 7, KEYS[0], now=NOW + 0.9)).query)

    sig = query["sig"][0]
    assert verify(Purpose.DISCONNECT, 7, int(query["ts"][0]), sig, KEYS, now=NOW) is Verdict.VALID
