"""Does the oracle see each kind of broken promise, and nothing where all is well?"""

import hashlib
import hmac
import json
from dataclasses import replace
from uuid import uuid4

import pytest

from superimap.core import crypto
from superimap.testing import Received
from superimap.webhooks import signing
from tests.support.mails import mail
from trials.faults.oracle import Injected, Keys, judge

KEYS = {path: Keys(crypto.generate_api_key(), crypto.generate_signing_secret()) for path in ("/p0", "/p1")}
MAIL = mail(1)


def webhook(*, path="/p0", keys: Keys = KEYS["/p0"], tag="tag0", raw=MAIL, at=101.0) -> Received:
    """As a partner gets it."""
    sha1 = hashlib.sha1(raw).hexdigest()
    signature = hmac.new(keys.api_key.encode(), f"100{sha1}".encode(), hashlib.sha256).hexdigest()
    body = {"sha1": sha1, "user_tag": tag, "timestamp": 100, "signature": signature}
    content = json.dumps(body).encode()
    headers = signing.standard_headers(uuid4(), timestamp=100, body=content, secrets=[keys.secret])
    lower = {name.lower(): value for name, value in headers.items()}
    return Received("POST", path, lower, content, at, at)


def verdict(*accepted: Received, most_duplicates: int = 0):
    injected = Injected()
    injected.note(MAIL, path="/p0", tag="tag0")
    injected.at[hashlib.sha1(MAIL).hexdigest()] = 100.0
    return judge("F00", injected, list(accepted), KEYS, most_duplicates=most_duplicates)


def test_all_is_well():
    found = verdict(webhook())

    assert found.broken == ()
    assert (found.mails, found.lost, found.duplicates) == (1, 0, 0)
    assert (found.p50_ms, found.p95_ms, found.max_ms) == (1000.0, 1000.0, 1000.0)


@pytest.mark.parametrize(
    ("accepted", "promise"),
    [
        ([], "I1"),
        ([webhook()] * 2, "I2: 1 duplicates"),
        ([webhook(), webhook()], "I2: a mail with several webhook-ids"),
        ([webhook(), webhook(path="/p1", keys=KEYS["/p1"])], "I3/I4"),
        ([webhook(keys=KEYS["/p1"])], "I3: 1 webhooks whose signature"),
        ([replace(webhook(), body=webhook().body.replace(b"{", b"{ "))], "I3: 1 webhooks whose signature"),
        ([webhook(tag="tag1")], "I3/I4"),
        ([webhook(), webhook(raw=mail("from before"))], "I3/I4"),
    ],
    ids=["lost", "twice", "two ids", "other partner", "other keys", "altered", "other tag", "phantom"],
)
def test_each_broken_promise_is_told(accepted, promise):
    assert any(each.startswith(promise) for each in verdict(*accepted).broken)


def test_duplicates_within_the_bound_of_the_fault_are_no_broken_promise():
    assert verdict(*[webhook()] * 3, most_duplicates=2).broken == ()
