"""Encryption: a value decrypts only in its own place and with its own key."""

from __future__ import annotations

import base64
import hashlib
import re

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from superimap.core import crypto
from superimap.core.crypto import Place, Vault, VaultError

KEY, OTHER = bytes(range(32)), bytes(range(32, 64))
PLACE = Place("users", "login_password", 1, "7")


def test_an_encrypted_value_decrypts_in_its_place():
    vault = Vault([KEY])

    assert vault.open_text(vault.seal_text("pässword", PLACE), PLACE) == "pässword"


@pytest.mark.parametrize(
    "place",
    [
        Place("connections", "login_password", 1, "7"),
        Place("users", "oauth2_refresh_token", 1, "7"),
        Place("users", "login_password", 2, "7"),
        Place("users", "login_password", 1, "8"),
    ],
)
def test_a_moved_value_does_not_decrypt(place):
    vault = Vault([KEY])
    sealed = vault.seal(b"secret", PLACE)

    with pytest.raises(VaultError, match="cannot be decrypted"):
        vault.open(sealed, place)


def test_the_same_text_never_gives_the_same_ciphertext():
    vault = Vault([KEY])

    assert len({vault.seal(b"secret", PLACE) for _ in range(100)}) == 100


def test_the_format_is_version_key_id_nonce_and_aes_gcm():
    sealed = Vault([KEY]).seal(b"secret", PLACE)

    assert sealed[0] == 1
    assert sealed[1:5] == hashlib.sha256(b"superimap key id\x00" + KEY).digest()[:4]
    aad = b"users\x1flogin_password\x1f1\x1f7"
    assert AESGCM(KEY).decrypt(sealed[5:17], sealed[17:], aad) == b"secret"


@pytest.mark.parametrize("text", [b"", b"x", b"a mail " * 1000, bytes(crypto.MAX_COMPRESSED_BYTES)])
def test_a_compressed_value_decrypts_to_the_same_text_and_is_never_longer(text):
    vault = Vault([KEY])
    sealed = vault.seal_compressed(text, PLACE)

    assert vault.open(sealed, PLACE) == text
    assert len(sealed) <= len(vault.seal(text, PLACE))


def test_a_text_with_repetitions_is_compressed_and_one_without_is_not():
    vault = Vault([KEY])

    assert len(vault.seal_compressed(b"a mail " * 1000, PLACE)) < 200
    assert (
        vault.seal_compressed(b"".join(hashlib.sha256(b"%d" % n).digest() for n in range(30)), PLACE)[0] == 1
    )


def test_a_text_that_would_hold_an_event_loop_for_long_is_not_compressed():
    assert Vault([KEY]).seal_compressed(bytes(crypto.MAX_COMPRESSED_BYTES + 1), PLACE)[0] == 1


@pytest.mark.parametrize(("seal", "version"), [("seal", 2), ("seal_compressed", 1)])
def test_a_value_whose_version_was_changed_does_not_decrypt(seal, version):
    vault = Vault([KEY])
    sealed = getattr(vault, seal)(b"a mail " * 1000, PLACE)

    with pytest.raises(VaultError, match="cannot be decrypted"):
        vault.open(bytes([version]) + sealed[1:], PLACE)


def test_the_first_key_encrypts_and_all_keys_decrypt():
    old, both = Vault([OTHER]), Vault([KEY, OTHER])

    assert both.open(old.seal(b"secret", PLACE), PLACE) == b"secret"
    assert crypto.sealing_key_id(both.seal(b"secret", PLACE)) == crypto.key_id(KEY)


def test_the_error_for_a_missing_key_names_its_id_and_no_plaintext():
    sealed = Vault([OTHER]).seal(b"a secret text", PLACE)

    with pytest.raises(VaultError) as refusal:
        Vault([KEY]).open(sealed, PLACE)

    assert crypto.key_id(OTHER).hex() in str(refusal.value)
    assert "a secret text" not in str(refusal.value)


@pytest.mark.parametrize("rubbish", [b"", b"\x01", b"plain text, never encrypted", b"\x02" + b"x" * 40])
def test_bytes_that_were_never_encrypted_are_rejected(rubbish):
    with pytest.raises(VaultError):
        Vault([KEY]).open(rubbish, PLACE)


def test_the_setting_accepts_both_alphabets_with_or_without_padding_and_several_keys():
    standard = base64.b64encode(KEY).decode()
    url_safe = base64.urlsafe_b64encode(OTHER).decode().rstrip("=")

    vault = Vault.from_setting(f" {standard} , {url_safe}")

    assert vault.describe() == f"{crypto.key_id(KEY).hex()}, {crypto.key_id(OTHER).hex()}"


@pytest.mark.parametrize(
    ("setting", "reason"),
    [
        ("", "exactly 32 bytes"),
        ("not base64!", "is not base64"),
        (base64.b64encode(b"x" * 16).decode(), "exactly 32 bytes"),
        (",".join([base64.b64encode(KEY).decode()] * 2), "the same key twice"),
        (base64.b64encode(KEY).decode() + ",", "exactly 32 bytes"),
    ],
)
def test_the_error_for_an_invalid_setting_does_not_contain_the_setting(setting, reason):
    with pytest.raises(VaultError, match=reason) as refusal:
        Vault.from_setting(setting)

    assert not setting or setting not in str(refusal.value)


def test_a_ring_without_keys_is_rejected():
    with pytest.raises(VaultError, match="at least one key"):
        Vault([])


def test_generated_keys_are_long_random_and_recognisable():
    api_keys = {crypto.generate_api_key() for _ in range(100)}
    secrets = {crypto.generate_signing_secret() for _ in range(100)}

    assert len(api_keys) == len(secrets) == 100
    assert all(key.startswith("sip_") and len(key) == 47 for key in api_keys)
    assert all(len(base64.b64decode(secret.removeprefix("whsec_"))) == 32 for secret in secrets)
    assert Vault.from_setting(crypto.generate_key())


def test_a_key_of_a_cell_begins_with_its_name_and_differs_from_every_other_key_in_length():
    """A key without a cell is as long whatever its random part, so an ingress never takes it for one of a cell."""
    key = crypto.generate_api_key("eu1")

    assert re.fullmatch(r"sip_eu1_[A-Za-z0-9_-]{43}", key)
    assert not any(
        re.fullmatch(r"sip_[a-z0-9]+_[A-Za-z0-9_-]{43}", crypto.generate_api_key()) for _ in range(500)
    )


def test_a_vault_does_not_reveal_its_keys():
    assert KEY.hex() not in repr(Vault([KEY])) + Vault([KEY]).describe()
    assert not hasattr(Vault([KEY]), "__dict__")


def test_digests_compare_and_accept_any_text():
    assert crypto.constant_time_equal(crypto.digest("sip_x"), hashlib.sha256(b"sip_x").digest())
    assert not crypto.constant_time_equal(crypto.digest("\ud800"), crypto.digest(""))
