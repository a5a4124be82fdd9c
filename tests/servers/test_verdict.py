"""The verdict of a trial names each kind of broken guarantee, and none if all hold."""

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
from trials.faults.oracle import PartnerKeys
from trials.servers.post import Sent, message_id, normal
from trials.servers.transcripts import Transcript
from trials.servers.verdict import (
    FinalMailbox,
    broken_guarantees,
    broken_mailboxes,
    by_message_id,
    latencies,
)

KEYS = PartnerKeys(crypto.generate_api_key(), crypto.generate_signing_secret())
OTHER_KEYS = PartnerKeys(crypto.generate_api_key(), crypto.generate_signing_secret())
MAIL = mail(1)
SENT = {message_id(MAIL): Sent("ann", "append", "idle", 100.0)}


def webhook(*, raw: bytes = MAIL, user: str = "ann", keys: PartnerKeys = KEYS, at: float = 100.5) -> Received:
    """A webhook as a partner receives it."""
    sha1 = hashlib.sha1(raw).hexdigest()
    signature = hmac.new(keys.api_key.encode(), f"100{sha1}".encode(), hashlib.sha256).hexdigest()
    fields = {
        "sha1": sha1,
        "user_tag": user,
        "timestamp": 100,
        "signature": signature,
        "rfc822": raw.decode(),
    }
    content = json.dumps(fields).encode()
    headers = signing.standard_headers(uuid4(), timestamp=100, body=content, secrets=[keys.secret])
    return Received(
        "POST", "/hook", {name.lower(): value for name, value in headers.items()}, content, at, at
    )


def broken(*received: Received) -> list[str]:
    return broken_guarantees(SENT, by_message_id(list(received)), KEYS, most_seconds_late=24)


def test_a_mail_with_one_webhook_breaks_no_guarantee():
    once = webhook()
    again = replace(once, at=101.0, wall=101.0)  # another attempt of the same delivery

    assert broken(once, again) == []
    assert latencies(SENT, by_message_id([once])) == {"idle_p50_ms": 500.0, "idle_max_ms": 500.0}


@pytest.mark.parametrize(
    ("received", "sentence"),
    [
        ([], "1 mails without a webhook: {'idle/append/ann': 1}"),
        ([webhook(), webhook()], "1 mails with several webhooks"),
        ([webhook(user="bob")], "1 webhooks for no mail, or of the wrong user"),
        ([webhook(keys=OTHER_KEYS)], "1 webhooks for no mail, or of the wrong user"),
        ([webhook(), webhook(raw=mail(2))], "1 webhooks for no mail, or of the wrong user"),
        ([webhook(at=130.0)], "1 mails came later than 24 s"),
    ],
)
def test_each_broken_guarantee_is_named(received: list[Received], sentence: str):
    (found,) = broken(*received)

    assert found.startswith(sentence)


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (FinalMailbox({message_id(MAIL): MAIL}, 0), None),
        (
            FinalMailbox(
                {message_id(MAIL): normal(MAIL.replace(b"\r\n\r\n", b"\r\nX-UID: 7\r\n\r\n", 1))}, 0
            ),
            None,
        ),
        (FinalMailbox({message_id(MAIL): MAIL}, 2), "2 mails of ann are marked as read"),
        (FinalMailbox({message_id(MAIL): MAIL + b"x"}, 0), "1 webhooks with other bytes than the mail"),
    ],
)
def test_mailboxes_are_compared_with_webhooks(state: FinalMailbox, sentence: str | None):
    found = broken_mailboxes({"ann": state}, by_message_id([webhook()]))

    assert [each[: len(sentence or "")] for each in found] == ([sentence] if sentence else [])


def test_a_transcript_has_no_password():
    transcript = Transcript(1, 0.0)
    transcript.add(False, b'A1 LOGIN "ann" "planted-password"\r\n')
    transcript.add(True, b"A1 OK\r\n")

    assert "planted" not in transcript.text()
    assert transcript.user == "ann"
