"""Signatures of ID tokens, and the keys of a provider's JWKS, read one by one (RFC 7515, RFC 7517). Pure."""

import json
from base64 import urlsafe_b64decode
from collections.abc import Iterator, Mapping
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import Key, import_key

from superimap.core.errors import SuperImapError

# Neither "none" nor algorithms with shared secrets. Each with the type of its keys.
ALGORITHMS = {
    "RS256": "RSA", "RS384": "RSA", "RS512": "RSA", "PS256": "RSA", "PS384": "RSA", "PS512": "RSA",
    "ES256": "EC", "ES384": "EC", "ES512": "EC", "EdDSA": "OKP", "Ed25519": "OKP",
}  # fmt: skip
MAX_KEYS = 100
"""Keys of a JWKS that are looked at; providers have up to about ten."""
MAX_TRIED_KEYS = 10
"""Keys with which a token is verified, if its header does not name one."""
MAX_RSA_DIGITS = 1400
"""Base64 digits of an RSA modulus: 8,192 bits. Larger ones take too long."""
MAX_EXPONENT_DIGITS = 8

# A key or token that is malformed in any way: joserfc and cryptography raise all of these.
_ERRORS = (JoseError, ValueError, KeyError, TypeError, AttributeError, RecursionError, UnsupportedAlgorithm)


class UntrustedToken(SuperImapError):
    """The ID token is malformed, or no key of the provider verifies it."""


def verified_claims(id_token: str, jwks: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the claims of an ID token that a key of the JWKS has signed. Raises UntrustedToken.

    Keys that cannot be used are skipped, as RFC 7517 section 5 requires: one unknown curve must not stop all
    consents.
    """
    header = _header(id_token)
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise UntrustedToken("its algorithm is not accepted")
    cause = "no key of the provider matches it"
    for key in _candidates(jwks, header):
        try:
            return jwt.decode(id_token, key, algorithms=[algorithm]).claims
        except _ERRORS as error:
            cause = type(error).__name__
    raise UntrustedToken(cause)


def _candidates(jwks: Mapping[str, Any], header: Mapping[str, Any]) -> list[Key]:
    """Return the keys that the header names by `kid`, else those that have no name or are all there are."""
    listed = jwks.get("keys")
    usable = [
        each
        for each in (listed[:MAX_KEYS] if isinstance(listed, list) else ())
        if isinstance(each, dict) and _is_usable(each, ALGORITHMS[header["alg"]])
    ]
    kid = header.get("kid")
    if kid is not None:
        usable = [each for each in usable if each.get("kid") == kid] or [
            each for each in usable if "kid" not in each
        ]
    return list(_imported(usable[:MAX_TRIED_KEYS]))


def _is_usable(key: Mapping[str, Any], key_type: str) -> bool:
    sizes = ((key.get("n", ""), MAX_RSA_DIGITS), (key.get("e", ""), MAX_EXPONENT_DIGITS))
    is_small = all(isinstance(digits, str) and len(digits) <= most for digits, most in sizes)
    return key.get("kty") == key_type and key.get("use", "sig") == "sig" and is_small


def _imported(keys: list[dict[str, Any]]) -> Iterator[Key]:
    for key in keys:
        try:
            yield import_key(key)
        except _ERRORS:
            continue


def _header(id_token: str) -> dict[str, Any]:
    head = id_token.partition(".")[0]
    try:
        header = json.loads(urlsafe_b64decode(head + "=" * (-len(head) % 4)))
    except (ValueError, RecursionError):
        raise UntrustedToken("it is malformed") from None
    if not isinstance(header, dict):
        raise UntrustedToken("it is malformed")
    return header
