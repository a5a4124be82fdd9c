"""The fast parser returns the same as imapclient's parser, or None."""

import time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from imapclient import response_parser

from superimap.imap import fast_parser

ATOMS = st.from_regex(
    rb"\A\\?[A-Za-z0-9$_.*+:;/@-]{1,8}(\[[A-Z.() ]{0,9}\](<[0-9]{1,5}>)?)?\Z", fullmatch=True
)
QUOTED = st.binary(max_size=9).map(
    lambda data: b'"' + data.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"'
)
LEAVES = st.one_of(ATOMS, QUOTED, st.just(b"NIL"), st.integers(0, 10**12).map(b"%d".__mod__))
TEXTS = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4).map(lambda each: b"(" + b" ".join(each) + b")")
)


def imapclients(texts: list[bytes], literals: list[bytes]) -> object:
    """The result of imapclient's parser, or None if it rejects the input."""
    records: list[object] = [
        (text + b" {%d}" % len(literal), literal) for text, literal in zip(texts, literals, strict=False)
    ]
    try:
        return tuple(response_parser.parse_response([*records, texts[-1]]))
    except (response_parser.ProtocolError, ValueError, RecursionError, RuntimeError):
        return None


@given(st.lists(TEXTS, max_size=4), st.booleans())
@example([b'("\\"" () "\\\\" "")("a")'], False)
def test_well_formed_responses_are_parsed_as_imapclient_does(parts, wide):
    text = (b"  " if wide else b" ").join(parts)

    assert fast_parser.parse_ordinary([text], []) == imapclients([text], []) is not None


@given(
    st.lists(st.sampled_from([*(bytes([byte]) for byte in b'()"[]{}\\% \r\n\t\x7f\xe9a0'), b"NIL", b"12"]))
)
@example([b'"', b"a", b'"', b'"', b"a", b'"'])
@example([b"a", b'"', b"a", b'"'])
@example([b"0", b"0"])
def test_malformed_responses_give_none_or_the_result_of_imapclient(parts):
    text = b"".join(parts)

    found = fast_parser.parse_ordinary([text], [])

    assert found is None or found == imapclients([text], [])


@given(st.lists(st.tuples(TEXTS, st.binary(max_size=9)), max_size=3), TEXTS)
def test_literals_keep_their_position(pairs, last):
    texts = [text + b" ~{%d+}" % len(literal) for text, literal in pairs]
    literals = [literal for _, literal in pairs]

    assert fast_parser.parse_ordinary([*texts, last], literals) == imapclients(
        [*(text for text, _ in pairs), last], literals
    )


@pytest.mark.parametrize(
    "text",
    [b"(", b")", b"()", b'"', b'"\\"', b'"\\', b"a", b"\\", b"a[", b"a[]", b"[", b'"" ', b"\xff", b"9", b" "],
)
def test_a_long_line_takes_linear_time(text):
    began = time.process_time()

    for line in (text * 300_000, b"(" + text * 300_000, b'"' + text * 300_000):
        fast_parser.parse_ordinary([line], [])

    assert time.process_time() - began < 2
