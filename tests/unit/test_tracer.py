"""A tracer token is valid only if it was signed for this user, within its lifetime."""

import base64

import pytest

from superimap.core.crypto import generate_key
from superimap.mail import message, tracer

# Fixed, because the tokens are part of test names, which must be the same in every worker.
KEY, OTHER_KEY = tracer.derive_keys(f"{'A' * 43}=,{'B' * 42}A=")
NOW_SECONDS = 1_790_000_000.0
NONCE = b"123456789"
TOKEN = tracer.make_token(7, KEY, now=NOW_SECONDS, nonce=NONCE)


def is_ours(
    token: str, *, user_id: int = 7, keys: tuple[bytes, ...] = (KEY,), now: float = NOW_SECONDS
) -> bool:
    return tracer.is_valid(token, user_id, keys, now=now)


def test_a_token_is_valid_for_five_days_and_only_for_its_user():
    assert len(f"Subject: TRACER: {TOKEN}") < 78
    assert is_ours(TOKEN)
    assert is_ours(TOKEN, keys=(OTHER_KEY, KEY)), "while keys are being rotated"
    assert is_ours(TOKEN, now=NOW_SECONDS + tracer.TOKEN_LIFETIME_SECONDS)
    assert is_ours(TOKEN, now=NOW_SECONDS - tracer.CLOCK_SKEW_SECONDS)
    assert not is_ours(TOKEN, now=NOW_SECONDS + tracer.TOKEN_LIFETIME_SECONDS + 1)
    assert not is_ours(TOKEN, now=NOW_SECONDS - tracer.CLOCK_SKEW_SECONDS - 1)
    assert not is_ours(TOKEN, user_id=8)
    assert not is_ours(TOKEN, keys=(OTHER_KEY,))
    assert not is_ours(TOKEN, keys=())


def test_changing_any_bit_makes_a_token_invalid():
    for bit in range(240):
        raw = bytearray(base64.urlsafe_b64decode(TOKEN))
        raw[bit // 8] ^= 1 << bit % 8

        assert not is_ours(base64.urlsafe_b64encode(raw).decode()), bit


def test_the_tracer_key_differs_from_the_keys_of_vault_and_links():
    from superimap.oauth import links

    encryption_key = generate_key()
    keys = {
        tracer.derive_keys(encryption_key)[0],
        links.derive_keys(encryption_key)[0],
        base64.b64decode(encryption_key),
    }

    assert len(keys) == 3


@pytest.mark.parametrize(
    ("raw", "is_found"),
    [
        (f"Subject: TRACER: {TOKEN}", True),
        (f"subject: [EXTERNAL] TRACER: {TOKEN} (seen)", True),
        (f"X-SuperIMAP-Tracer: {TOKEN}\r\nSubject: something else", True),
        (f"X-SUPERIMAP-TRACER:\r\n {TOKEN}", True),
        (f"Subject: {TOKEN}", False),
        (f"Subject: TRACER: {TOKEN}A", False),
        (f"Subject: TRACER: {TOKEN[:-1]}", False),
        (f"Subject: TRACER: {TOKEN[:-1]}é", False),
        ("Subject: TRACER: 0123456789abcdef0123", False),
        (f"Comments: TRACER: {TOKEN}", False),
        (f"Subject: hello\r\n\r\nX-SuperIMAP-Tracer: {TOKEN}", False),
    ],
)
def test_a_token_is_found_in_the_header_or_the_subject(raw, is_found):
    found = tracer.token_in(message.parse(f"{raw}\r\n\r\nbody\r\n".encode()).headers)

    assert found == (TOKEN if is_found else None)
