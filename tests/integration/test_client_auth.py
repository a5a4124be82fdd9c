"""Clients at a token endpoint: secret in the form, by HTTP Basic, or a signed assertion."""

from __future__ import annotations

import functools
import json
from base64 import b64decode
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from urllib.parse import parse_qs, unquote_plus

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from superimap.core.egress import Guard
from superimap.core.private_keys import UnusableKey, read_signing_key
from superimap.domain.providers import ClientAuth
from superimap.oauth.client_auth import ASSERTION_SECONDS, ASSERTION_TYPE, OAuthClient, client_assertion
from superimap.oauth.http_client import guarded_client
from superimap.oauth.refusal_codes import TokenRefusal
from superimap.oauth.token_endpoint import refresh, revoke
from superimap.oauth.token_errors import TokenRefused
from superimap.testing import WebhookSink

ODD_ID, ODD_SECRET = "id:1 ü", "s3cret+/=:& %"


@functools.cache
def rsa_key() -> RSAKey:
    return RSAKey.generate_key(2048, {"kid": "k1"})


async def received(auth: ClientAuth, *, client_id: str = ODD_ID, secret: str = ODD_SECRET):
    """The Authorization header and the form of a refresh and of a revocation."""
    found = []
    async with WebhookSink() as sink, guarded_client(Guard((ip_network("127.0.0.0/8"),))) as http:
        sink.on("/token", lambda _: web.json_response({"access_token": "at"}))
        client = OAuthClient(sink.url("/token"), client_id, secret, auth)
        await refresh(http, client, refresh_token="rt")
        await revoke(http, sink.url("/revoke"), client, token="rt")
        for each in sink.received:
            form = {name: values[0] for name, values in parse_qs(each.body.decode()).items()}
            found.append((each.headers.get("authorization"), form))
        return client, found


async def test_client_secret_post_sends_the_client_in_the_form():
    _, found = await received(ClientAuth.SECRET_POST)

    for authorization, form in found:
        assert authorization is None
        assert (form["client_id"], form["client_secret"]) == (ODD_ID, ODD_SECRET)


async def test_client_secret_basic_encodes_the_client_in_the_header_and_not_in_the_form():
    _, found = await received(ClientAuth.SECRET_BASIC)

    for authorization, form in found:
        pair = b64decode(authorization.removeprefix("Basic ")).decode()
        assert [unquote_plus(part) for part in pair.split(":")] == [ODD_ID, ODD_SECRET]
        assert pair.isascii()
        assert not {"client_id", "client_secret"} & form.keys()


async def test_private_key_jwt_sends_an_assertion_and_never_the_key():
    pem = rsa_key().as_pem(private=True).decode()
    client, found = await received(ClientAuth.PRIVATE_KEY_JWT, client_id="client", secret=pem)

    ids = set()
    for authorization, form in found:
        assert (authorization, form["client_id"], form["client_assertion_type"]) == (
            None, "client", ASSERTION_TYPE,
        )  # fmt: skip
        assert "client_secret" not in form
        assert "PRIVATE" not in str(form)
        token = jwt.decode(form["client_assertion"], rsa_key(), ["RS256"])
        assert (token.claims["iss"], token.claims["sub"]) == ("client", "client")
        assert token.claims["aud"] == client.token_url, "no other server can use it"
        assert token.claims["exp"] - token.claims["iat"] == ASSERTION_SECONDS
        ids.add(token.claims["jti"])
    assert len(ids) == 2


@pytest.mark.parametrize(
    ("key", "algorithm", "header"),
    [
        (RSAKey.generate_key(2048, {"kid": "a", "alg": "PS256"}), "PS256", {"kid": "a"}),
        (ECKey.generate_key("P-256", {"kid": "b"}), "ES256", {"kid": "b"}),
        (ECKey.generate_key("P-384", {"x5t#S256": "thumb"}), "ES384", {"x5t#S256": "thumb"}),
        (OKPKey.generate_key("Ed25519"), "EdDSA", None),
    ],
    ids=["rsa", "p256", "p384", "ed25519"],
)
def test_a_jwk_says_its_algorithm_and_name(key, algorithm, header):
    text = json.dumps(key.as_dict(private=True))
    client = OAuthClient("https://id.example.com/token", "client", text, ClientAuth.PRIVATE_KEY_JWT)

    token = jwt.decode(client_assertion(client, now=100, jti="j"), key, [algorithm])

    expected = header or {"kid": key.thumbprint()}
    assert {name: token.header[name] for name in expected} == expected


def test_a_stored_key_that_cannot_sign_is_the_partners_to_replace():
    client = OAuthClient("https://id.example.com/token", "client", "s3cret", ClientAuth.PRIVATE_KEY_JWT)

    with pytest.raises(TokenRefused, match="client id or secret is wrong") as caught:
        client_assertion(client, now=100, jti="j")
    assert caught.value.refusal is TokenRefusal.CLIENT


def test_a_certificate_in_the_pem_gives_its_thumbprint_as_microsoft_requires():
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "client")])
    now = datetime.now(UTC)
    private = rsa_key().private_key
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(7)
        .not_valid_before(now)
        .not_valid_after(now + timedelta(days=1))
        .sign(private, hashes.SHA256())
    )
    pem = rsa_key().as_pem(private=True).decode() + certificate.public_bytes(Encoding.PEM).decode()

    header = read_signing_key(pem).header

    assert list(header) == ["x5t#S256"]
    assert len(header["x5t#S256"]) == 43


@pytest.mark.parametrize(
    "text",
    [
        "", "s3cret", "{}", "{", '{"kty": "oct", "k": "czNjcmV0"}', "-----BEGIN PRIVATE KEY-----\nAA\n",
        json.dumps(rsa_key().as_dict(private=False)),
        rsa_key().as_pem(private=False).decode(),
        json.dumps(OKPKey.generate_key("X25519").as_dict(private=True)),
    ],
    ids=["empty", "a secret", "no key", "no json", "symmetric", "cut", "public jwk", "public pem", "X25519"],
)  # fmt: skip
def test_what_is_no_private_key_that_can_sign_is_refused(text):
    with pytest.raises(UnusableKey) as caught:
        read_signing_key(text)
    assert not str(caught.value)
