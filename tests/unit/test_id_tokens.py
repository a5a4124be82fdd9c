"""ID tokens and the keys of a JWKS: what cannot be used is skipped, and only the right key is trusted."""

from __future__ import annotations

import functools
from typing import Any

import pytest
from joserfc import jws, jwt
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from superimap.oauth.id_tokens import MAX_TRIED_KEYS, UntrustedToken, verified_claims
from superimap.oauth.identity import IdentitySources, account_of, claims_fault

CLAIMS = {"sub": "ann"}


@functools.cache
def rsa(kid: str) -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": kid})


@functools.cache
def ec(kid: str, curve: str = "P-256") -> ECKey:
    return ECKey.generate_key(curve, {"kid": kid})


def public(key: Any, **changes: Any) -> dict[str, Any]:
    shown = {**key.as_dict(private=False), **changes}
    return {name: value for name, value in shown.items() if value is not None}


def signed(key: Any, algorithm: str = "RS256", **header: Any) -> str:
    head = {"alg": algorithm, "kid": key.kid, **header}
    return jwt.encode(
        {name: each for name, each in head.items() if each is not None}, CLAIMS, key, [algorithm]
    )


BAD_KEYS = [
    {"kty": "EC", "crv": "P-999", "x": "AA", "y": "AA", "kid": "new-curve"},
    {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "bitcoin"},
    {"kty": "AKP", "alg": "ML-DSA-65", "pub": "AA", "kid": "post-quantum"},
    {"kty": "OKP", "crv": "Ed448", "x": "AA"},
    {"kty": "RSA", "n": "!!", "e": "AQAB"},
    {"kty": "RSA", "e": "AQAB"},
    {"kty": "RSA", "n": ["x"], "e": {}},
    {"kty": 7},
    {"crv": "P-256"},
    {},
    None,
    "key",
    [],
]


@pytest.mark.parametrize("bad", BAD_KEYS)
@pytest.mark.parametrize("kid", ["", "k1"])
def test_a_key_that_cannot_be_used_stops_no_consent(bad, kid):
    bad = {**bad, "kid": "k1"} if kid and isinstance(bad, dict) else bad
    jwks = {"keys": [bad, public(rsa("k1")), bad]}

    assert verified_claims(signed(rsa("k1")), jwks) == CLAIMS


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (rsa("k1"), "RS256"),
        (rsa("k1"), "PS256"),
        (ec("e1"), "ES256"),
        (ec("e3", "P-384"), "ES384"),
        (OKPKey.generate_key("Ed25519", {"kid": "o1"}), "Ed25519"),
    ],
)
def test_a_token_is_verified_by_the_key_that_it_names(key, algorithm):
    jwks = {
        "keys": [
            public(rsa("k0")),
            public(rsa("k1")),
            public(ec("e1")),
            public(ec("e3", "P-384")),
            public(key),
        ]
    }

    assert verified_claims(signed(key, algorithm), jwks) == CLAIMS
    assert verified_claims(signed(key, algorithm, kid=None), jwks) == CLAIMS


def test_keys_of_two_types_may_share_a_kid_and_keys_may_have_none():
    token = signed(rsa("k1"))

    assert verified_claims(token, {"keys": [public(ec("k1")), public(rsa("k1"))]}) == CLAIMS
    assert verified_claims(token, {"keys": [public(rsa("k1"), kid=None)]}) == CLAIMS


@pytest.mark.parametrize(
    "jwks",
    [
        {},
        {"keys": None},
        {"keys": "x"},
        {"keys": []},
        {"keys": [public(rsa("k2"))]},
        {"keys": [public(rsa("k2"), kid="k1")]},
        {"keys": [public(rsa("k1"), use="enc")]},
        {"keys": [public(rsa("k2"), kid=None)] * MAX_TRIED_KEYS + [public(rsa("k1"), kid=None)]},
        {"keys": [public(rsa("k1"), n="A" * 3000)]},
        {"keys": [public(rsa("k1"), e="A" * 300)]},
    ],
)  # fmt: skip
def test_a_token_without_its_key_is_not_trusted(jwks):
    with pytest.raises(UntrustedToken):
        verified_claims(signed(rsa("k1")), jwks)


def test_a_public_key_is_no_shared_secret_and_no_signature_is_none():
    key = OctKey.import_key(public(rsa("k1"))["n"])
    for token in (
        jwt.encode({"alg": "HS256", "kid": "k1"}, CLAIMS, key, ["HS256"]),
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm4ifQ.",
        "", ".", "a.b.c", "bnVsbA.e30.", "WzFd.e30.x",
        "eyJhbGciOltdfQ.e30.x", "eyJhbGciOnt9fQ.e30.x",  # the algorithm is a list, and an object
    ):  # fmt: skip
        with pytest.raises(UntrustedToken):
            verified_claims(token, {"keys": [public(rsa("k1")), {"kty": "oct", "k": public(rsa("k1"))["n"]}]})


NOW = 1_790_000_000
SOURCES = IdentitySources("client", "https://login.example/{tenantid}/v2.0")
GENUINE = {"aud": "client", "iss": "https://login.example/t1/v2.0", "tid": "t1", "exp": NOW, "nonce": "n"}


@pytest.mark.parametrize(
    "change",
    [
        {}, {"aud": ["other", "client"]}, {"iss": "login.example/t1/v2.0"}, {"exp": NOW - 299},
        {"exp": NOW + 0.5}, {"exp": 10**400},
    ],
)  # fmt: skip
def test_genuine_claims_have_no_fault(change):
    assert claims_fault(GENUINE | change, SOURCES, nonce="n", now=NOW) is None


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"aud": "other"}, "another application"),
        ({"aud": ["other"]}, "another application"),
        ({"aud": None}, "another application"),
        ({"aud": "client2"}, "another application"),
        ({"iss": "https://evil.example/t1/v2.0"}, "another provider"),
        ({"iss": "https://login.example/t2/v2.0"}, "another provider"),
        ({"iss": None}, "another provider"),
        ({"exp": NOW - 301}, "expired"),
        ({"exp": None}, "expired"),
        ({"exp": "tomorrow"}, "expired"),
        ({"exp": float("nan")}, "expired"),
        ({"nonce": "m"}, "another consent"),
        ({"nonce": None}, "another consent"),
    ],
)
def test_claims_of_another_application_provider_time_or_consent_are_refused(change, fault):
    assert fault in (claims_fault(GENUINE | change, SOURCES, nonce="n", now=NOW) or "")


@pytest.mark.parametrize(
    "value", ["@", "ann@", "@example.com", "ann", "ann@exam\nple.com", ["a@example.com"]]
)
def test_a_claim_that_is_no_address_names_no_account(value):
    assert account_of({"email": value}, ("email",)) is None


def test_signed_claims_that_are_nested_too_deeply_are_not_trusted():
    token = jws.serialize_compact({"alg": "ES256", "kid": "k1"}, b"[" * 50_000, ec("k1"))

    with pytest.raises(UntrustedToken, match="RecursionError"):
        verified_claims(token, {"keys": [public(ec("k1"))]})
