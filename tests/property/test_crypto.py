"""Encryption: values of any text and place decrypt; moved, damaged and foreign values do not."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from superimap.core.crypto import Place, Vault, VaultError

names = st.text("abcdefghijklmnopqrstuvwxyz_0123456789-", min_size=1, max_size=40)
places = st.builds(Place, names, names, st.integers(0, 2**63 - 1), names)
keys = st.binary(min_size=32, max_size=32)


@given(keys, places, st.binary(max_size=4096))
def test_every_encrypted_value_decrypts(key, place, text):
    vault = Vault([key])

    assert vault.open(vault.seal(text, place), place) == text


@given(keys, places, places, st.binary(max_size=64))
def test_no_value_decrypts_in_another_place(key, place, other, text):
    assume(place != other)
    vault = Vault([key])

    with pytest.raises(VaultError):
        vault.open(vault.seal(text, place), other)


@given(keys, places, st.binary(max_size=64), st.data())
def test_no_value_decrypts_after_a_changed_bit(key, place, text, data):
    vault = Vault([key])
    sealed = bytearray(vault.seal(text, place))
    bit = data.draw(st.integers(0, len(sealed) * 8 - 1))
    sealed[bit // 8] ^= 1 << bit % 8

    with pytest.raises(VaultError):
        vault.open(bytes(sealed), place)


@given(keys, places, st.binary(max_size=128))
def test_bytes_that_were_never_encrypted_do_not_decrypt(key, place, rubbish):
    with pytest.raises(VaultError):
        Vault([key]).open(rubbish, place)


@given(st.lists(keys, min_size=2, max_size=5, unique=True), places, st.binary(max_size=64))
def test_every_key_of_a_ring_decrypts_and_an_unknown_key_does_not(ring, place, text):
    stranger, *own = ring
    for key in own:
        assert Vault(own).open(Vault([key]).seal(text, place), place) == text
    with pytest.raises(VaultError):
        Vault(own).open(Vault([stranger]).seal(text, place), place)
