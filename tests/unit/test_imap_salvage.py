"""FETCH responses that do not parse: what is unambiguous in them is read."""

import pytest

from superimap.imap import responses
from superimap.imap.response import Response

DATE = b'"01-Jan-2026 10:00:00 +0000"'


def items(*texts: bytes, literals: tuple[bytes, ...] = ()):
    messages, broken = responses.parse_fetches([Response(texts, literals)])
    return None if broken else messages


@pytest.mark.parametrize("end", [b"", b"))", b")))", b") x)"])
def test_parentheses_that_do_not_match_hide_no_mail(end):
    found = items(
        b"* 1 FETCH (UID 7 RFC822.SIZE 4 INTERNALDATE " + DATE + b" BODY[] {4}", end, literals=(b"mail",)
    )

    assert found is not None
    assert responses.message_content(found[7]) == b"mail"
    meta = responses.message_meta(7, found[7])
    assert meta is not None
    assert (meta.size, meta.internal_date is not None) == (4, True)


@pytest.mark.parametrize("name", [b"BODY[]", b"BODY[]<0>", b"BODY[]<0.32768>", b"BODY.PEEK[]", b"RFC822"])
def test_a_body_is_known_by_its_name(name):
    found = items(b"* 1 FETCH (UID 7 " + name + b" {4}", b"", literals=(b"mail",))

    assert found is not None
    assert responses.message_content(found[7]) == b"mail"


@pytest.mark.parametrize("response", [
    Response((b"* 1 FETCH (UID 7 UID 8",)),
    Response((b"* 1 FETCH (RFC822.SIZE 4",)),
    Response((b'* 1 FETCH (FLAGS ("UID 7") RFC822.SIZE 4',)),
    Response((b'* 1 FETCH (UID 7 X "y',)),
    Response((b"* 1 FETCH (UID 7 {4}", b""), (b"mail",)),
    Response((b"* 1 FETCH (UID 7 BODY[] {4}", b" BODY[1] {4}", b""), (b"mail", b"part")),
    Response((b"* 1 FETCH (UID 7 X" + b" 1" * 40_000,)),
], ids=str)  # fmt: skip
def test_what_is_ambiguous_is_not_read(response):
    assert responses.parse_fetches([response]) == ({}, 1)
