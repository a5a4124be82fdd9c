"""The oracle reports each kind of broken promise, and none if every promise holds."""

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
from trials.faults.oracle import InjectedMails, PartnerKeys, assess

KEYS = {
    path: PartnerKeys(crypto.generate_api_key(), crypto.generate_signing_secret()) for path in ("/p0", "/p1")
}
MAIL = mail(1)


def webhook(*, path="/p0", keys: PartnerKeys = KEYS["/p0"], tag="tag0", raw=MAIL, at=101.0) -> Received:
    """A webhook as a partner receives it."""
    sha1 = hashlib.sha1(raw).hexdigest()
    signature = hmac.new(keys.api_key.encode(), f"100{sha1}".encode(), hashlib.sha256).hexdigest()
    body = {"sha1": sha1, "user_tag": tag, "timestamp": 100, "signature": signature}
    content = json.dumps(body).encode()
    headers = signing.standard_headers(uuid4(), timestamp=100, body=content, secrets=[keys.secret])
    lower = {name.lower(): value for name, value in headers.items()}
    return Received("POST", path, lower, content, at, at)


def report(*accepted: Received, most_duplicates: int = 0):
    injected = InjectedMails()
    injected.note(MAIL, path="/p0", tag="tag0")
    injected.at[hashlib.sha1(MAIL).hexdigest()] = 100.0
    return assess("F00", injected, list(accepted), KEYS, most_duplicates=most_duplicates)


def test_a_mail_with_one_webhook_breaks_no_promise():
    found = report(webhook())

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
def test_each_broken_promise_is_reported(accepted, promise):
    assert any(each.startswith(promise) for each in report(*accepted).broken)


def test_duplicates_within_the_limit_of_the_fault_break_no_promise():
    assert report(*[webhook()] * 3, most_duplicates=2).broken == ()
