"""Encryption of secrets (the vault: AES-256-GCM with a ring of keys), key generation and digests."""

import base64
import hashlib
import hmac
import itertools
import os
import secrets
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from superimap.core.errors import SuperImapError

_PLAIN_VERSION = 1
_COMPRESSED_VERSION = 2
_ID_BYTES = 4
_NONCE_BYTES = 12
_HEADER = 1 + _ID_BYTES + _NONCE_BYTES

MAX_COMPRESSED_BYTES = 256 * 1024
"""Longer texts are not compressed: that would hold an event loop for milliseconds, and most of them are
attachments, of which compression leaves three quarters."""

MAX_SEALS_PER_KEY = 2**32
"""Values that one key may encrypt, because the nonces are random (NIST SP 800-38D, section 8.3)."""

OPERATOR_TOKEN_PREFIX = "sio_"  # noqa: S105 - public
"""Beginning of the tokens of operators, for secret scanners."""


class VaultError(SuperImapError):
    """A key is malformed or missing, or a value cannot be decrypted. The text contains no key and no plaintext."""


class UnknownKey(VaultError):
    """A value was encrypted with a key that the ring lacks. Another process may have a newer ENCRYPTION_KEY."""


@dataclass(frozen=True, slots=True)
class Place:
    """Table, column, partner and row of a ciphertext; authenticated, so a moved ciphertext is rejected."""

    table: str
    column: str
    partner: int
    row: str

    def aad(self) -> bytes:
        """Return the place as additional authenticated data (RFC 5116)."""
        return "\x1f".join((self.table, self.column, str(self.partner), self.row)).encode()


class Vault:
    """A ring of AES-256-GCM keys: the first encrypts, all decrypt.

    An encrypted ("sealed") value is `version (1) | key id (4) | nonce (12) | ciphertext and tag`. In version 2 the
    text was compressed (RFC 1950) before it was encrypted.
    """

    __slots__ = ("_ring", "_seals", "_taken", "primary")

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise VaultError("must contain at least one key")
        if any(len(key) != 32 for key in keys):
            raise VaultError("must be base64 of exactly 32 bytes; `superimap generate-key` generates a key")
        self._ring = {key_id(key): AESGCM(key) for key in keys}
        if len(self._ring) != len(keys):
            raise VaultError("must not contain the same key twice")
        self.primary = key_id(keys[0])
        self._seals = itertools.count()  # counts without a lock when several threads encrypt
        self._taken = 0

    @classmethod
    def from_setting(cls, text: str) -> "Vault":
        """Parse ENCRYPTION_KEY: comma-separated keys in base64 (standard or URL-safe). Raises VaultError."""
        keys = []
        for part in (part.strip() for part in text.split(",")):
            try:
                keys.append(
                    base64.b64decode(
                        part.replace("-", "+").replace("_", "/") + "=" * (-len(part) % 4), validate=True
                    )
                )
            except ValueError:
                raise VaultError("is not base64; `superimap generate-key` generates a key") from None
        return cls(keys)

    def seal(self, text: bytes, place: Place) -> bytes:
        """Encrypt `text` for this place with the first key."""
        return self._seal(_PLAIN_VERSION, text, place)

    def seal_compressed(self, text: bytes, place: Place) -> bytes:
        """Encrypt `text` as `seal` does, compressed where that makes it shorter.

        Its length then tells something about its content: not for a text that contains a secret of ours.
        """
        if len(text) <= MAX_COMPRESSED_BYTES:
            packed = zlib.compress(text, 1)
            if len(packed) < len(text):
                return self._seal(_COMPRESSED_VERSION, packed, place)
        return self.seal(text, place)

    def _seal(self, version: int, text: bytes, place: Place) -> bytes:
        next(self._seals)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = self._ring[self.primary].encrypt(nonce, text, _aad(version, place))
        # join lets other threads run meanwhile.
        return b"".join((bytes((version,)), self.primary, nonce, sealed))

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Decrypt a value that was encrypted for this place. Raises VaultError for every other value."""
        if len(sealed) < _HEADER or sealed[0] not in (_PLAIN_VERSION, _COMPRESSED_VERSION):
            raise VaultError(
                f"{place.table}.{place.column} of row {place.row} does not contain an encrypted value"
            )
        cipher = self._ring.get(sealing_key_id(sealed))
        if cipher is None:
            raise UnknownKey(
                f"{place.table}.{place.column} of row {place.row} was encrypted with key "
                f"{sealing_key_id(sealed).hex()}, which ENCRYPTION_KEY does not contain"
            )
        nonce = sealing_nonce(sealed)
        try:
            text = cipher.decrypt(nonce, sealed[_HEADER:], _aad(sealed[0], place))
        except InvalidTag:
            raise VaultError(
                f"{place.table}.{place.column} of row {place.row} cannot be decrypted: it was changed or moved"
            ) from None
        return text if sealed[0] == _PLAIN_VERSION else zlib.decompress(text)  # as long as what was sealed

    def take_seals(self) -> int:
        """Return how many values were encrypted since the last call. Only one task may call it."""
        reached = next(self._seals)  # the only way to read a count; it counts this reading too
        taken = reached - self._taken
        self._taken = reached + 1
        return taken

    def return_seals(self, count: int) -> None:
        """Let the next `take_seals` return these as well, because they could not be recorded."""
        self._taken -= count

    def seal_text(self, text: str, place: Place) -> bytes:
        """Encrypt a string as `seal` does."""
        return self.seal(text.encode(), place)

    def open_text(self, sealed: bytes, place: Place) -> str:
        """Decrypt a string as `open` does."""
        return self.open(sealed, place).decode()

    def role_of(self, key_id: str) -> str:
        """Return what this vault does with a key: `encrypts`, `decrypts`, or `missing`. The id is in hex."""
        known = bytes.fromhex(key_id)
        return "encrypts" if known == self.primary else "decrypts" if known in self._ring else "missing"

    def describe(self) -> str:
        """Return the ids of the ring's keys, the first key first. Ids are not secret."""
        return ", ".join(known.hex() for known in self._ring)


def _aad(version: int, place: Place) -> bytes:
    """The additional authenticated data of a value. A value whose version was changed is rejected."""
    return place.aad() if version == _PLAIN_VERSION else place.aad() + b"\x1fcompressed"


def key_id(key: bytes) -> bytes:
    """Return the public id of a key: the first 4 bytes of a domain-separated SHA-256."""
    return hashlib.sha256(b"superimap key id\x00" + key).digest()[:_ID_BYTES]


def sealing_key_id(sealed: bytes) -> bytes:
    """Return the id of the key that encrypted this value."""
    return sealed[1 : 1 + _ID_BYTES]


def sealing_nonce(sealed: bytes) -> bytes:
    """Return the nonce of a sealed value, 12 random bytes."""
    return sealed[1 + _ID_BYTES : _HEADER]


def derive_keys(encryption_key: str, *, info: bytes) -> tuple[bytes, ...]:
    """Derive a key of 32 bytes for one purpose from each key of ENCRYPTION_KEY, which the settings have checked.

    HKDF with the purpose as `info` (RFC 5869): a derived key does not reveal the vault key and cannot replace it.
    """
    parts = (part.strip().replace("-", "+").replace("_", "/") for part in encryption_key.split(","))
    roots = (base64.b64decode(part + "=" * (-len(part) % 4)) for part in parts)
    return tuple(HKDF(algorithm=SHA256(), length=32, salt=None, info=info).derive(root) for root in roots)


def generate_key() -> str:
    """Generate a vault key in the format of ENCRYPTION_KEY."""
    return base64.b64encode(os.urandom(32)).decode()


def generate_api_key(cell: str = "") -> str:
    """Generate an API key: 256 random bits, with a prefix that secret scanners can find.

    With a cell the prefix names it, so that an ingress can route by it: `sip_eu1_`.
    """
    return api_key_prefix(cell) + secrets.token_urlsafe(32)


def api_key_prefix(cell: str) -> str:
    """Return the public beginning of the API keys of a cell; of an installation without cells if it is empty."""
    return f"sip_{cell}_" if cell else "sip_"


def generate_operator_token() -> str:
    """Generate a token of an operator: 256 random bits, with a prefix that secret scanners can find."""
    return OPERATOR_TOKEN_PREFIX + secrets.token_urlsafe(32)


def generate_signing_secret() -> str:
    """Generate a Standard Webhooks secret: `whsec_` and base64 of 32 random bytes."""
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def digest(api_key: str) -> bytes:
    """Return the SHA-256 under which an API key is stored. No salt is needed: the key has 256 random bits."""
    return hashlib.sha256(api_key.encode(errors="surrogatepass")).digest()


def constant_time_equal(left: bytes, right: bytes) -> bool:
    """Compare two byte strings in constant time."""
    return hmac.compare_digest(left, right)
