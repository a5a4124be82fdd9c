"""How secrets are kept: the vault (AES-256-GCM, a ring of keys), and the digest of API keys."""

import base64
import hashlib
import hmac
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from superimap.core.errors import SuperImapError

_VERSION = 1
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER = 1 + _ID_BYTES + _NONCE_BYTES


class VaultError(SuperImapError):
    """A key is malformed or missing, or a ciphertext does not open. Never carries key or text."""


class UnknownKey(VaultError):
    """A ciphertext is of a key that the ring lacks: another process may have a newer ENCRYPTION_KEY."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a ciphertext lives; part of what is authenticated, so a moved ciphertext does not open."""

    table: str
    column: str
    partner: int
    row: str

    def aad(self) -> bytes:
        """The place as additional authenticated data (RFC 5116)."""
        return "\x1f".join((self.table, self.column, str(self.partner), self.row)).encode()


class Vault:
    """A ring of AES-256-GCM keys: the first seals, all open.

    A sealed value is `version (1) | key id (4) | nonce (12) | ciphertext and tag`.
    """

    __slots__ = ("_ring", "primary")

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise VaultError("holds no key")
        if any(len(key) != 32 for key in keys):
            raise VaultError("must be base64 of exactly 32 bytes; `superimap generate-key` makes one")
        self._ring = {key_id(key): AESGCM(key) for key in keys}
        if len(self._ring) != len(keys):
            raise VaultError("holds the same key twice")
        self.primary = key_id(keys[0])

    @classmethod
    def from_setting(cls, text: str) -> "Vault":
        """Read ENCRYPTION_KEY: base64 keys (either alphabet), comma-separated."""
        keys = []
        for part in (part.strip() for part in text.split(",")):
            try:
                keys.append(
                    base64.b64decode(
                        part.replace("-", "+").replace("_", "/") + "=" * (-len(part) % 4), validate=True
                    )
                )
            except ValueError:
                raise VaultError("is not base64; `superimap generate-key` makes one") from None
        return cls(keys)

    def seal(self, text: bytes, place: Place) -> bytes:
        """Encrypt for this place under the first key."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ring[self.primary].encrypt(nonce, text, place.aad())
        return b"".join((bytes((_VERSION,)), self.primary, nonce, sealed))  # lets other threads run meanwhile

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Decrypt what was sealed for this very place; raises VaultError otherwise."""
        if len(sealed) < _HEADER or sealed[0] != _VERSION:
            raise VaultError(f"{place.table}.{place.column} of row {place.row} holds no sealed value")
        cipher = self._ring.get(sealing_key_id(sealed))
        if cipher is None:
            raise UnknownKey(
                f"{place.table}.{place.column} of row {place.row} was sealed with key "
                f"{sealing_key_id(sealed).hex()}, which ENCRYPTION_KEY does not hold"
            )
        nonce = sealed[1 + _ID_BYTES : _HEADER]
        try:
            return cipher.decrypt(nonce, sealed[_HEADER:], place.aad())
        except InvalidTag:
            raise VaultError(
                f"{place.table}.{place.column} of row {place.row} does not open: it was changed or moved"
            ) from None

    def seal_text(self, text: str, place: Place) -> bytes:
        """`seal` for a string."""
        return self.seal(text.encode(), place)

    def open_text(self, sealed: bytes, place: Place) -> str:
        """`open` for a string."""
        return self.open(sealed, place).decode()

    def describe(self) -> str:
        """The ids of the ring's keys, the first one first; ids are no secret."""
        return ", ".join(known.hex() for known in self._ring)


def key_id(key: bytes) -> bytes:
    """The 4-byte public name of a key: the start of a domain-separated SHA-256 of it."""
    return hashlib.sha256(b"superimap key id\x00" + key).digest()[:_ID_BYTES]


def sealing_key_id(sealed: bytes) -> bytes:
    """The id of the key that sealed this value."""
    return sealed[1 : 1 + _ID_BYTES]


def derive_keys(encryption_key: str, *, info: bytes) -> tuple[bytes, ...]:
    """Keys of 32 bytes for one use, one per key of ENCRYPTION_KEY (already checked by the settings).

    HKDF with an info of its own (RFC 5869): such a key tells nothing of the vault key, nor serves as one.
    """
    parts = (part.strip().replace("-", "+").replace("_", "/") for part in encryption_key.split(","))
    roots = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    return tuple(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(root) for root in roots)


def generate_key() -> str:
    """A new vault key, as ENCRYPTION_KEY wants it."""
    return base64.b64encode(os.urandom(32)).decode()


def generate_api_key() -> str:
    """A new API key: 256 random bits, with a prefix that secret scanners can find."""
    return "sip_" + secrets.token_urlsafe(32)


def generate_signing_secret() -> str:
    """A new Standard Webhooks secret: `whsec_` and base64 of 32 random bytes."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def digest(api_key: str) -> bytes:
    """What an API key is looked up by. A plain SHA-256 does: the key has 256 random bits."""
    return hashlib.sha256(api_key.encode(errors="surrogatepass")).digest()


def constant_time_equal(left: bytes, right: bytes) -> bool:
    """Compare in constant time."""
    return hmac.compare_digest(left, right)
