"""The reader of answers: bytes in any pieces give the same result, and no bytes behind a status line undo it."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from superimap.dispatcher.answer_reader import MAX_ANSWER_BYTES, AnswerReader
from tests.support.odd_answers import ODD_ANSWERS, OddAnswer


def read(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        if not reader.is_complete:
            reader.feed(piece)
    return reader


@pytest.mark.parametrize(
    "odd", [odd for odd in ODD_ANSWERS if len(odd.sent) < 1000], ids=lambda odd: odd.name
)
def test_bytes_that_come_one_by_one_give_the_same_status(odd: OddAnswer):
    bytewise = read(*(bytes([byte]) for byte in odd.sent))
    bytewise.end()
    whole = read(odd.sent)
    whole.end()

    assert bytewise.status == whole.status == odd.status
    assert bytewise.body == whole.body or "length" in odd.name


@given(rest=st.binary(max_size=300), cuts=st.lists(st.integers(0, 320), max_size=4))
def test_whatever_follows_the_status_line_the_status_counts(rest: bytes, cuts: list[int]):
    answer = b"HTTP/1.1 200 OK\r\n" + rest
    places = [0, *sorted(cuts), len(answer)]

    reader = read(*(answer[start:end] for start, end in pairwise(places)))
    reader.end()

    assert reader.status == 200
    assert reader.is_complete
    assert len(reader.body) <= MAX_ANSWER_BYTES


HEADS = (
    "Content-Length: 3",
    "Content-Length: 0",
    "Transfer-Encoding: chunked",
    "X: y",
    "X",
    "Connection: close",
)
BODIES = (
    b"",
    b"abc",
    b"3\r\nabc\r\n0\r\n\r\n",
    b"0\r\n\r\n",
    b"1\r\na\r\n",
    b"\r\n",
    b"HTTP/1.1 500 X\r\n\r\n",
)


@given(
    heads=st.lists(st.sampled_from(HEADS), max_size=3),
    bodies=st.lists(st.sampled_from(BODIES), max_size=3),
    cut=st.integers(0, 120),
)
def test_a_cut_changes_no_result_that_is_complete(heads: list[str], bodies: list[bytes], cut: int):
    answer = "\r\n".join(["HTTP/1.1 200 OK", *heads, "", ""]).encode() + b"".join(bodies)
    whole, cut_once = read(answer), read(answer[:cut], answer[cut:])

    assert (whole.status, whole.is_complete) == (cut_once.status, cut_once.is_complete)
    if whole.error is None:
        assert whole.body == cut_once.body
