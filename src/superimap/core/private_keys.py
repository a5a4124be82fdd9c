"""Private keys of OAuth 2.0 clients: a JWK, a Google service account's, or PEM with or without its certificate."""

import hashlib
import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from joserfc.errors import JoseError
from joserfc.jwk import ECKey, Key, OKPKey, RSAKey, import_key

from superimap.core.errors import SuperImapError

_ALGORITHMS = {"P-256": "ES256", "P-384": "ES384", "P-521": "ES512"}
_MIN_RSA_BITS = 2048
# What joserfc and cryptography raise for a text that is no key.
_ERRORS = (JoseError, ValueError, KeyError, TypeError, UnsupportedAlgorithm)


class UnusableKey(SuperImapError):
    """The text is not a private key that can sign."""


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key with the algorithm and the header of what it signs."""

    key: Key = field(repr=False)
    algorithm: str
    header: dict[str, str]


def read_signing_key(text: str) -> SigningKey:
    """Read a private key: a JWK as JSON, the JSON file of a Google service account, or PEM. Raises UnusableKey.

    A `kid`, `alg` or `x5t#S256` of a JWK is used. A certificate in the PEM gives `x5t#S256`, which Microsoft
    requires (learn.microsoft.com, "Application authentication certificate credentials").
    """
    try:
        written = json.loads(text) if text.lstrip().startswith("{") else {}
        if "private_key" in written:
            written, text = {"kid": written["private_key_id"]}, written["private_key"]
        key = import_key(written) if "kty" in written else _from_pem(text)
        if not key.is_private:
            raise UnusableKey
        return SigningKey(key, _algorithm(key, written), _header(key, text, written))
    except _ERRORS:
        raise UnusableKey from None


def _from_pem(text: str) -> Key:
    for kind in (RSAKey, ECKey, OKPKey):
        try:
            return kind.import_key(text)
        except _ERRORS:
            continue
    raise UnusableKey


def _algorithm(key: Key, written: dict[str, Any]) -> str:
    match key:
        case RSAKey():
            if key.raw_value.key_size < _MIN_RSA_BITS:
                raise UnusableKey
            return written["alg"] if written.get("alg") in {"RS256", "PS256"} else "RS256"
        case ECKey():
            return _ALGORITHMS[key.curve_name]
        case OKPKey() if key.curve_name == "Ed25519":
            return "EdDSA"
    raise UnusableKey


def _header(key: Key, text: str, written: dict[str, Any]) -> dict[str, str]:
    if "-----BEGIN CERTIFICATE" in text:
        der = x509.load_pem_x509_certificate(text.encode()).public_bytes(Encoding.DER)
        return {"x5t#S256": urlsafe_b64encode(hashlib.sha256(der).digest()).decode().rstrip("=")}
    named = {name: written[name] for name in ("kid", "x5t#S256", "x5t") if isinstance(written.get(name), str)}
    return named or {"kid": key.thumbprint()}
