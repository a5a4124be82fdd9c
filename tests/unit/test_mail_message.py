"""Parsing of raw mails, however malformed."""

import email
import email.policy
import hashlib
import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.domain.envelope import Address, Envelope
from superimap.mail.addresses import MAX_LISTED_ADDRESSES
from superimap.mail.envelope import as_json, fingerprint
from superimap.mail.message import decode_text, is_cheap, parse, read_envelope, read_message_id

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
        b"From: " + b"<" * 1_000_000,
        b"Message-ID: " + b"<a" * 500_000,
        b"In-Reply-To: " + b"< " * 100_000,
        b"Subject: x\r" + b"a\r" * 1_000_000,
    ],
    ids=[
        "comments",
        "addresses",
        "quotes",
        "folds",
        "headers",
        "depth",
        "length",
        "brackets",
        "ids",
        "replies",
        "cr",
    ],
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


FRAGMENTS = [
    b"Subject: ", b"From: ", b"to : ", b"Message-ID: ", b"In-Reply-To:", b"Date: ", b"\r\n", b"\r\n", b"\n", b"\r",
    b"\r\n ", b"\r\n\t", b"\0", b"\xef\xbb\xbf", b"\xff", b"\xed\xa0\x80", b"\xc2\xa0", b"a", b" ",
    b"<1@x>", b"<a b", b">", b'"', b"(", b",", b"=?gbk?b?xOO6w?=", b"=?UTF-8?Q?a b?=", b"\x1b[0m", b"\xd1\xe9",
]  # fmt: skip


@given(st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join))
def test_any_mail_is_parsed_to_text_that_json_and_postgresql_can_hold(raw):
    mail = parse(raw)

    text = json.dumps(as_json(mail.envelope), ensure_ascii=False)

    assert text.encode() and "\\u0000" not in text
    assert mail.message_id == mail.envelope.message_id == read_message_id(raw)
    assert read_envelope(raw) == mail.envelope


@given(
    st.lists(st.sampled_from(["a", "é", "=?utf-8?q?a?=", "\r\n ", "\r\n\t", " ", ":", "<1@x>"]), max_size=20)
)
def test_valid_headers_are_unfolded_like_the_standard_library_unfolds_them(pieces):
    value = "".join(["a", *pieces, "z"])
    raw = f"To: x@y\r\nSubject: {value}\r\nX: y\r\n\r\nbody".encode()
    policy = email.policy.default.clone(utf8=True, raise_on_defect=False)

    theirs = email.message_from_bytes(raw, policy=policy.clone(header_factory=lambda name, value: value))

    assert parse(raw).envelope.subject == theirs["Subject"].encode(errors="surrogateescape").decode()


@pytest.mark.parametrize(
    "date", [b"Sat, 28 Nov 26 05:00 (UTC)", b"28 Nov 2026 05:00:00", b"tomorrow", b"00:00:60"]
)
def test_a_date_is_kept_as_sent(date):
    assert parse(b"Date: " + date + b"\r\n\r\n").envelope.date == date.decode()


def test_the_envelope_of_a_webhook_lists_a_limited_number_of_addresses():
    mail = parse(b"To: " + b"a@b.example," * 5000 + b"\r\nMessage-ID: <1>\r\n\r\n")

    assert len(as_json(mail.envelope)["to"]) == MAX_LISTED_ADDRESSES
