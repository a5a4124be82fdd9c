"""The header reader: every way in which real mails write their headers, and one truth for all that use it."""

import time

import pytest

from superimap.imap import responses
from superimap.mail.headers import MAX_HEADER_BYTES, find_headers, read_headers, unfold
from superimap.mail.message import parse, read_envelope, read_message_id

HEAD = b"Date: d\r\nFrom: Ann <ann@example.org>\r\n"


def subject_of(raw: bytes) -> str | None:
    return parse(raw).envelope.subject


@pytest.mark.parametrize(
    ("line", "subject"),
    [
        (b"Subject: hello", "hello"),
        (b"Subject:hello", "hello"),
        (b"Subject:\thello \t ", "hello"),
        (b"Subject : hello", "hello"),
        (b"Subject \t: hello", "hello"),
        (b"SUBJECT: hello", "hello"),
        (b"sUbJeCt: hello", "hello"),
        (b"Subject:\r\n hello", "hello"),
        (b"Subject: \r\n\thello", "hello"),
        (b"Subject:\n hello", "hello"),
        (b"Subject: a\r\n b", "a b"),
        (b"Subject: a\r\n\tb", "a\tb"),
        (b"Subject: a\r\n  b", "a  b"),
        (b"Subject: a \r\n b", "a  b"),
        (b"Subject: a\n b\r\n c", "a b c"),
        (b"Subject: a\r\r\n b", "a b"),
        (b"Subject: a\r\n \r\n b", "a  b"),
        (b"Subject: a\r\n \r\n", "a"),
        (b"Subject: a\rb", "a b"),
        (b"Subject: a: b", "a: b"),
        (b"Subject:", ""),
        (b"Subject: \r\n \r\n\t", ""),
        (b"Subject: =?utf-8?q?caf=C3=A9?=\r\n =?utf-8?q?_x?=", "=?utf-8?q?caf=C3=A9?= =?utf-8?q?_x?="),
        ("Subject: café 下".encode(), "café 下"),
        ("Subject: café".encode("latin-1"), "caf\ufffd"),
        ("Subject: 你好".encode("gbk"), "\ufffd\ufffd\ufffd"),
        (b"Subject: a\0b", "a\ufffdb"),
        (b"Subject: \xf0\x9f", "\ufffd"),
        (b"Subject:\r\nSubject: second", "second"),
        (b"Subject: first\r\nSubject: second", "first"),
        (b"X-Subject: no", None),
        (b"Subject-X: no", None),
        (b"Sub ject: no", None),
        (b"Subject", None),
        (b"X: y\r\n Subject: no", None),
        (b"no header\r\n folded\r\nSubject: hello", "hello"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("lead", [b"", HEAD])
def test_a_header_is_read_however_it_is_written(line, subject, lead):
    assert subject_of(lead + line + b"\r\nX-Last: x\r\n\r\nSubject: in the body") == subject


@pytest.mark.parametrize(
    "raw",
    [
        b"Subject: s\r\nTo: a@b\r\n\r\nbody",
        b"Subject: s\nTo: a@b\n\nbody",
        b"Subject: s\rTo: a@b\r\rbody\r\rSubject: x",
        b"Subject: s\r\r\nTo: a@b\r\r\n\r\r\nbody",
        b"Subject: s\r\nTo: a@b\n\nbody",
        b"Subject: s\r\nTo: a@b\n\r\nbody",
        b"Subject: s\nTo: a@b\r\n\nbody",
        b"\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"\n\n\nSubject: s\nTo: a@b\n\nbody",
        b"\xef\xbb\xbfSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"\xef\xbb\xbf\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"From ann@example.org Mon Nov 23 10:00:00 2026\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b">From ann@example.org Mon Nov 23 10:00:00 2026\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"\r\nFrom ann@example.org Mon Nov 23 10:00:00 2026\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"garbage\r\n\tgarbage\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"Subject: s\rTo: a@b\r\rbody with\nother line ends\r\n",
        b"Subject: s\r \rTo: a@b\r\rbody\n",
        b"Subject: s\rX: y\r\nTo: a@b\r\n\r\nbody",
        b"Subject: s\rX: y\nTo: a@b\n\nbody",
        b"Subject: s\nX: y\r\nTo: a@b\n\r\nbody",
        b"Subject: s\r\nX: y\r\n \t\r\n z\r\nTo: a@b\r\n\r\nbody",
        b"\0\0\0Subject: s\r\nTo: a@b\r\n\r\nbody",
        b" \r\n\t\r\n\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"\r\n\xef\xbb\xbfSubject: s\r\nTo: a@b\r\n\r\nbody",
        b"\r\rSubject: s\rTo: a@b\r\rbody",
        b"From ann@example.org Mon Nov 23 10:00:00 2026\rSubject: s\rTo: a@b\r\rbody\n",
        b"\nFrom ann@example.org Mon\n>From bob@example.org Tue\nSubject: s\nTo: a@b\n\nbody",
        b"X: y\r\n" * 10_000 + b"Subject: s\r\nTo: a@b\r\n\r\nbody",
        b"  begins with a fold\r\nSubject: s\r\nTo: a@b\r\n\r\nbody",
    ],
)
def test_headers_are_found_whatever_the_line_ends_and_what_precedes_them(raw):
    mail = parse(raw)

    assert (mail.envelope.subject, mail.envelope.to[0].host, mail.envelope.from_) == ("s", "b", None)
    assert find_headers(raw).lines.rstrip(b"\r").endswith(b"To: a@b")
    assert mail.body_digest == parse(b"A: b\r\n\r\n" + raw[raw.index(b"body") :]).body_digest


@pytest.mark.parametrize(
    "raw", [b"", b"\r\n", b"\r\n\r\n", b"\n\nto: \n", b"\r\ntext", b"\xef\xbb\xbf", b"\xef"]
)
def test_a_mail_may_have_no_headers(raw):
    mail = parse(raw)

    assert (mail.message_id, mail.envelope.subject, mail.envelope.from_) == (None, None, None)


@pytest.mark.parametrize(
    ("lines", "message_id"),
    [
        (b"Message-ID: <1@x>", "<1@x>"),
        (b"Message-Id:<1@x>", "<1@x>"),
        (b"Message-ID:\r\n <LONG@example.com>", "<LONG@example.com>"),
        (b"Message-ID:\r\n\t<LONG@example.com>", "<LONG@example.com>"),
        (b"Message-ID: \r\n\r\n <1@x>", None),
        (b"Message-ID: <1@x>\r\nMessage-ID: <2@x>", "<1@x>"),
        (b"Message-ID:\r\nMessage-ID: <2@x>", "<2@x>"),
        (b"Message-ID:", None),
        (b"Message-ID: \t", None),
        (b"Message-ID: \x1f", None),
        (b"Message-ID: 1@x", "1@x"),
        (b"Message-ID: < a b @ x >", "<ab@x>"),
        (b"Message-ID: <a\r\n\tb@x>", "<ab@x>"),
        (b"Message-ID: <a\r\n @x>", "<a@x>"),
        (b'Message-ID: <"a b"@x>', '<"a b"@x>'),
        (b"Message-ID: <1@x> <2@x>", "<1@x>"),
        (b"Message-ID: <> <2@x>", "<2@x>"),
        (b"Message-ID: <<1@x>>", "<1@x>"),
        (b"Message-ID: <1@x", "<1@x"),
        (b"Message-ID: 1@x (added by x)", "1@x (added by x)"),
        (b"Message-ID: two words", "two words"),
        (b"Message-ID: \xa0<1@x>", "<1@x>"),
        (b"Message-ID: \xc2\xa0<1@x>\xc2\xa0", "<1@x>"),
        (b"Message-ID: <1@x> (added by postmaster@x)", "<1@x>"),
        (b"Message-ID: <1@x>MIME-Version: 1.0", "<1@x>"),
        (b"Message-ID: <[abc]@x>", "<[abc]@x>"),
        (b"Message-ID: <>", None),
        (b"Message-ID: < >", None),
        (b"Message-ID: <", None),
        (b"Message-ID: =?utf-8?q?=3C1=40x=3E?=", "=?utf-8?q?=3C1=40x=3E?="),
        (b"Message-ID: <\xe9@x>", "<\ufffd@x>"),
        (b"Resent-Message-ID: <1@x>", None),
    ],
)  # fmt: skip
def test_webhook_and_table_and_metadata_have_one_message_id(lines, message_id):
    """The webhook's `envelope`, `messages.message_id`, and what is known before the mail is read."""
    raw = HEAD + lines + b"\r\n\r\nbody"
    answer = {"RFC822.SIZE": len(raw), responses.MESSAGE_ID_ITEM: lines + b"\r\n\r\n"}
    glance = {"RFC822.SIZE": len(raw), "BODY[]<0>": raw}

    mail = parse(raw)

    assert mail.message_id == mail.envelope.message_id == read_message_id(raw) == message_id
    assert read_envelope(raw) == read_envelope(raw[: raw.index(b"\r\n\r\n") + 4]) == mail.envelope
    assert [responses.message_meta(1, items).message_id for items in (answer, glance)] == [message_id] * 2
    assert (mail.fingerprint is None) == (message_id is None)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"<a@x>", "<a@x>"),
        (b"<a\r\n @x>", "<a@x>"),
        (b"<a@x>\r\n\t<b\r\n\t@y>", "<a@x>\t<b@y>"),
        (b"Your mail of Monday <a@x>", "Your mail of Monday <a@x>"),
        (b"a@x", "a@x"),
        (b"<>", "<>"),
        (b"", ""),
        (b"<\xff@x>", "<\ufffd@x>"),
    ],
)
def test_an_id_in_in_reply_to_equals_the_message_id_of_its_mail(value, found):
    assert parse(b"In-Reply-To: " + value + b"\r\n\r\n").envelope.in_reply_to == found


def test_a_message_id_behind_many_headers_is_found_within_the_first_256_kib():
    within = b"X-A: " + b"a" * 1000 + b"\r\n"
    raw = within * 250 + b"Message-ID: <1@x>\r\n" + within * 50 + b"Subject: behind\r\n\r\nbody"

    assert len(raw) > 300_000
    assert (parse(raw).message_id, parse(raw).envelope.subject) == ("<1@x>", None)
    assert parse(within * 300 + raw).message_id is None


@pytest.mark.parametrize("spare", range(24))
def test_a_header_that_the_limit_cuts_is_not_taken_for_a_shorter_one(spare):
    """The limit is anywhere within the line `Message-ID: <1@x>`."""
    line = b"Message-ID: <1@x.org>\r\n"
    raw = (
        HEAD
        + b"X: ".ljust(MAX_HEADER_BYTES - len(HEAD) - spare - 2, b"x")
        + b"\r\n"
        + line
        + b"Subject: s\r\n\r\n"
    )
    cut = raw[:MAX_HEADER_BYTES]

    assert parse(raw).message_id == parse(cut).message_id == (None if spare < len(line) else "<1@x.org>")
    assert parse(raw).envelope == read_envelope(cut)
    assert parse(raw).envelope.from_ is not None


def test_the_start_of_a_mail_shows_no_part_of_a_message_id():
    raw = HEAD + b"Message-ID: <1@example.org>\r\n\r\nbody"
    seen = {
        responses.message_meta(1, {"RFC822.SIZE": len(raw), "BODY[]<0>": raw[:cut]}).message_id
        for cut in range(len(raw))
    }

    assert seen == {None, "<1@example.org>"}


@pytest.mark.parametrize(
    "raw",
    [b"\n" * 1_000_000, b"\r" * 1_000_000, b"a\r" * 500_000, b"\n\r" * 500_000, b"a:\n" * 300_000,
     b"to:\n " * 200_000, b"to" * 500_000, b"\nto \t" * 200_000, b"to: " + b"\r" * 1_000_000 + b"x"],
)  # fmt: skip
def test_reading_hostile_headers_takes_linear_time(raw):
    began = time.perf_counter()

    parse(raw)

    assert time.perf_counter() - began < 0.5


def test_unfolding_twice_is_unfolding_once():
    value = b" a\r\n b\r\r\n\tc \r d\n "

    assert unfold(unfold(value)) == unfold(value) == b"a b\tc   d"


def test_lines_of_other_headers_are_passed_over():
    lines = b"A: 1\r\nX: no\r\n more\r\nB: 2\r\n two\r\na : 3"

    assert read_headers(lines, frozenset((b"a", b"b"))) == {"a": [b"1", b"3"], "b": [b"2 two"]}
