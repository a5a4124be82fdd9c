"""Signatures agree with the published examples and with the verifiers of other projects."""

import base64
import time
from datetime import UTC, datetime
from uuid import UUID

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from superimap.core.crypto import generate_signing_secret
from superimap.core.ids import uuid7
from superimap.webhooks.signing import (
    body_signature,
    delivery_of,
    standard_headers,
    v1_signature,
    webhook_id,
)

DELIVERY = UUID("0190163d-8694-739b-aea5-966c26f8ad90")


def test_body_signature_is_hex_hmac_sha256_of_timestamp_and_sha1():
    # printf %s 1400000000da39a3ee5e6b4b0d3255bfef95601890afd80709 | openssl dgst -sha256 -hmac key
    expected = "323867c7324a45c1ef7838b8ad69b0c5c725ac78f703cf91f2ff38dbf11742df"

    made = body_signature("key", timestamp=1400000000, sha1="da39a3ee5e6b4b0d3255bfef95601890afd80709")

    assert made == expected


def test_the_webhook_id_depends_on_the_delivery_alone():
    assert webhook_id(DELIVERY) == "msg_0190163d8694739baea5966c26f8ad90"


def test_only_a_webhook_id_is_mapped_back_to_its_delivery():
    made = uuid7()

    assert delivery_of(webhook_id(made)) == made
    for other in (
        str(made),
        made.hex,
        webhook_id(made).upper(),
        webhook_id(made) + "\n",
        "msg_",
        "msg_" + "g" * 32,
    ):
        assert delivery_of(other) is None


def test_the_published_example_of_standard_webhooks_is_reproduced():
    identity, timestamp = "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", '{"test": 2432232314}'

    made = v1_signature(identity, timestamp=timestamp, body=body.encode(), secret=secret)

    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    assert made == Webhook(secret).sign(identity, datetime.fromtimestamp(timestamp, UTC), body)


def test_a_verifier_of_the_standard_accepts_each_of_two_secrets():
    new, old = generate_signing_secret(), generate_signing_secret()
    body = b'{"rfc822":"h\xc3\xa9"}'

    headers = standard_headers(DELIVERY, timestamp=int(time.time()), body=body, secrets=[new, old])

    for secret in (new, old):
        assert Webhook(secret).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_signing_secret()).verify(body, headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(new).verify(body + b" ", headers)


def test_a_signature_binds_id_timestamp_and_body():
    secret = "whsec_" + base64.b64encode(b"k" * 32).decode()
    made = {
        standard_headers(id_, timestamp=timestamp, body=body, secrets=[secret])["webhook-signature"]
        for id_ in (DELIVERY, UUID(int=1))
        for timestamp in (1, 2)
        for body in (b"a", b"b")
    }

    assert len(made) == 8
