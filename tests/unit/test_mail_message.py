"""Parsing of raw mails, however malformed."""

import hashlib
import time

import pytest

from superimap.domain.envelope import Address, Envelope
from superimap.mail.addresses import MAX_LISTED_ADDRESSES
from superimap.mail.envelope import as_json, fingerprint
from superimap.mail.message import decode_text, is_cheap, parse

RAW = (
    b"From: =?utf-8?q?Ann?= <ann@x.org>\r\n"
    b'To: "Bob, B." <bob@y.org>,\r\n\tcarl@z.org\r\n'
    b"subject : =?utf-8?q?Caf=C3=A9?=\r\n on  two lines\r\n"
    b"Date: Mon, 1 Jan 2024 00:00:00 +0000\r\n"
    b"MESSAGE-ID:<1@x.org>\r\n"
    b"Subject: second\r\n"
    b"\r\n"
    b"Message-ID: <body@x.org>\r\n"
)


def test_headers_are_read_raw_and_unfolded():
    mail = parse(RAW)

    assert mail.message_id == "<1@x.org>"
    assert mail.envelope.subject == "=?utf-8?q?Caf=C3=A9?= on  two lines"
    assert mail.envelope.from_ == mail.envelope.sender == (Address("=?utf-8?q?Ann?=", None, "ann", "x.org"),)
    assert mail.envelope.to == (
        Address("Bob, B.", None, "bob", "y.org"),
        Address(None, None, "carl", "z.org"),
    )
    assert (mail.envelope.cc, mail.envelope.in_reply_to) == (None, None)
    assert (mail.size, mail.sha1) == (len(RAW), hashlib.sha1(RAW).hexdigest())


def test_a_message_id_is_cut_at_255_characters():
    assert len(parse(b"Message-ID: <" + b"x" * 500 + b">").message_id) == 255


@pytest.mark.parametrize(
    "raw",
    [
        b"From: " + b"(" * 1_000_000,
        b"From: " + b"a," * 500_000,
        b"From: " + b'"\\' * 500_000,
        b"From: x\r\n" + b" \r\n" * 500_000,
        b"a:\r\n " * 300_000,
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        + b"--b\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n" * 10_000,
        b"Subject: " + b"x" * (10 << 20),
    ],
    ids=["comments", "addresses", "quotes", "folds", "headers", "depth", "length"],
)
def test_hostile_mails_take_bounded_time(raw):
    began = time.perf_counter()

    assert parse(raw).envelope is not None

    assert time.perf_counter() - began < 2


@pytest.mark.parametrize(
    ("raw", "text", "changed"),
    [
        (b"caf\xc3\xa9 \xef\xbf\xbd \0", "café \ufffd \0", False),
        (b"caf\xe9 \xf0\x9f\x98 x", "caf\ufffd \ufffd x", True),
    ],
)
def test_only_invalid_utf8_is_replaced_in_text(raw, text, changed):
    pieces, was_changed = decode_text(raw)

    assert ("".join(pieces), was_changed) == (text, changed)


def test_the_envelope_as_json_has_the_documented_keys():
    found = as_json(Envelope(subject="s", to=(Address("B", None, "bob", "y.org"),)))

    assert list(found) == [
        "date",
        "subject",
        "from",
        "sender",
        "reply_to",
        "to",
        "cc",
        "bcc",
        "in_reply_to",
        "message_id",
    ]
    assert found["to"] == [{"name": "B", "route": None, "mailbox": "bob", "host": "y.org"}]
    assert found["from"] is None


def test_fingerprints_are_equal_for_copies_and_differ_otherwise():
    ann = (Address("A", None, "ann", "x.org"),)
    mail = Envelope(date="d", subject="a b", from_=ann, message_id="<1>")

    assert len(fingerprint(mail, b"body")) == 32
    assert fingerprint(mail, b"body") == fingerprint(
        Envelope(date="d", subject=" a \t b", from_=ann, to=ann, message_id="<1> "), b"body"
    )
    others = [
        Envelope(date="d", subject="a b", from_=ann, message_id="<2>"),
        Envelope(date="d", subject="c", from_=ann, message_id="<1>"),
        Envelope(date="d a b", subject="", from_=ann, message_id="<1>"),
        Envelope(date="d", subject="a b", from_=None, message_id="<1>"),
        Envelope(date=None, subject="a b", from_=ann, message_id="<1>"),
    ]
    made = [fingerprint(each, b"body") for each in [mail, *others]]
    assert len({*made, fingerprint(mail, b"another body")}) == 7
    assert fingerprint(Envelope(subject="s"), b"body") is None
    assert fingerprint(Envelope(message_id=" "), b"body") is None


def test_only_a_small_mail_with_small_headers_is_cheap():
    assert is_cheap(b"Subject: x\r\n\r\n" + b"\xff" * 120_000)
    assert not is_cheap(b"Subject: x\r\n\r\n" + b"x" * 140_000)
    assert not is_cheap(b"To: " + b"a," * 5000 + b"\r\n\r\nx")


def test_the_envelope_of_a_webhook_lists_a_limited_number_of_addresses():
    mail = parse(b"To: " + b"a@b.example," * 5000 + b"\r\nMessage-ID: <1>\r\n\r\n")

    assert len(as_json(mail.envelope)["to"]) == MAX_LISTED_ADDRESSES
