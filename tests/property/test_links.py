"""A link is valid for exactly what it was signed for."""

from hypothesis import given
from hypothesis import strategies as st

from superimap.oauth.links import LIFETIME_SECONDS, LinkValidity, Purpose, sign, verify

keys = st.binary(min_size=32, max_size=32)
purposes = st.sampled_from(Purpose)
numbers = st.integers(min_value=0, max_value=2**63)
facts = st.tuples(purposes, numbers, numbers, keys)


@given(signed=facts, shown=facts, age=st.integers(min_value=0, max_value=2 * LIFETIME_SECONDS))
def test_a_link_is_valid_only_for_the_purpose_and_user_that_it_was_signed_for(signed, shown, age):
    sig = sign(*signed)
    purpose, user_id, ts, key = shown

    verdict = verify(purpose, user_id, ts, sig, (key,), now=ts + age)

    if signed != shown:
        assert verdict is LinkValidity.FORGED
    else:
        assert verdict is (LinkValidity.VALID if age <= LIFETIME_SECONDS else LinkValidity.EXPIRED)


@given(signed=facts, age=st.integers(min_value=0, max_value=2 * LIFETIME_SECONDS))
def test_a_genuine_link_is_valid_until_it_expires(signed, age):
    purpose, user_id, ts, key = signed

    verdict = verify(purpose, user_id, ts, sign(*signed), (b"0" * 32, key), now=ts + age)

    assert verdict is (LinkValidity.VALID if age <= LIFETIME_SECONDS else LinkValidity.EXPIRED)


@given(signed=facts, sig=st.text())
def test_any_text_as_a_signature_is_checked_without_an_error(signed, sig):
    purpose, user_id, ts, key = signed

    verdict = verify(purpose, user_id, ts, sig, (key,), now=ts)

    assert verdict is (LinkValidity.VALID if sig == sign(*signed) else LinkValidity.FORGED)
