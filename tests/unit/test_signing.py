"""Do our signatures agree with the published examples, and with others' verifiers?"""

import base64
import time
from uuid import UUID

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError

from superimap.crypto import generate_signing_secret
from superimap.webhooks.signing import body_signature, standard_headers, webhook_id

DELIVERY = UUID("0190163d-8694-739b-aea5-966c26f8ad90")


def test_body_signature_is_hex_hmac_sha256_of_timestamp_and_sha1():
    # printf %s 1400000000da39a3ee5e6b4b0d3255bfef95601890afd80709 | openssl dgst -sha256 -hmac key
    expected = "323867c7324a45c1ef7838b8ad69b0c5c725ac78f703cf91f2ff38dbf11742df"

    made = body_signature("key", timestamp=1400000000, sha1="da39a3ee5e6b4b0d3255bfef95601890afd80709")

    assert made == expected


def test_the_id_depends_on_the_delivery_alone():
    assert webhook_id(DELIVERY) == "msg_0190163d8694739baea5966c26f8ad90"


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
