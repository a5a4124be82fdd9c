"""The framer cuts responses at their ends, in linear time and within its limits."""

import time

import pytest

from superimap.imap.errors import LimitExceeded
from superimap.imap.framing import Framer
from superimap.imap.response import Response
from superimap.imap.types import Limits


def frame(data: bytes, limits: Limits | None = None) -> list[Response]:
    framer = Framer(limits or Limits())
    framer.expects_answer = True
    return list(framer.feed(data))


@pytest.mark.parametrize(
    ("data", "texts", "literals"),
    [
        (b"* 3 EXISTS\r\n", [b"* 3 EXISTS"], []),
        (b"* 1 FETCH (BODY[] {3}\r\n\r\n\0)\r\n", [b"* 1 FETCH (BODY[] {3}", b")"], [b"\r\n\0"]),
        (
            b"* 1 FETCH (A ~{1}\r\n\xff B {0+}\r\n)\r\n",
            [b"* 1 FETCH (A ~{1}", b" B {0+}", b")"],
            [b"\xff", b""],
        ),
        (b'* 1 FETCH (A "{3}\r\n', [b'* 1 FETCH (A "{3}'], []),
        (b'* 1 FETCH (A "\\"" {1}\r\nx)\r\n', [b'* 1 FETCH (A "\\"" {1}', b")"], [b"x"]),
        (b"* OK [ALERT] {3}\r\n", [b"* OK [ALERT] {3}"], []),
        (b"* bye {3}\r\n", [b"* bye {3}"], []),
        (b"+ {3}\r\n", [b"+ {3}"], []),
        (b"A1 OK {3}\r\n", [b"A1 OK {3}"], []),
        (b"* X {-3}\r\n", [b"* X {-3}"], []),
    ],
)
def test_h10_h11_literals_are_counted_and_braces_in_quotes_or_text_announce_none(data, texts, literals):
    (response,) = frame(data)

    assert (list(response.texts), list(response.literals)) == (texts, literals)


def test_h10_time_is_linear_in_the_number_of_lines_and_of_pieces():
    lines = b'* 1 FETCH (ENVELOPE ("\\"(" {2}\r\n:( NIL))\r\n' * 50_000
    framer = Framer(Limits())
    began = time.process_time()

    found = sum(1 for start in range(0, len(lines), 1000) for _ in framer.feed(lines[start : start + 1000]))

    assert found == 50_000
    assert time.process_time() - began < 2


def test_h10_a_hostile_line_of_quotes_takes_linear_time():
    began = time.process_time()

    frame(b'* 1 FETCH "' + b'\\"' * 500_000 + b"{5}\r\n")

    assert time.process_time() - began < 1


def test_h13_a_literal_in_small_pieces_takes_linear_time():
    framer = Framer(Limits())
    framer.expects_answer = True
    list(framer.feed(b"* 1 FETCH (BODY[] {20000000}\r\n"))
    began = time.process_time()
    for _ in range(20_000):
        assert not list(framer.feed(b"x" * 1000))

    assert len(next(framer.feed(b")\r\n")).literals[0]) == 20_000_000
    assert time.process_time() - began < 2


LIMITS = Limits(line=100, literal=1000, response=2000)


@pytest.mark.parametrize(
    "data",
    [
        b"x" * 101,
        b"* " + b"x" * 200 + b"\r\n",
        b"* 1 FETCH {1001}\r\n",
        b"* 1 FETCH {" + b"9" * 50 + b"}\r\n",
        b"* 1 FETCH {900}\r\n" + b"x" * 900 + b"{900}\r\n" + b"x" * 900 + b"{900}\r\n",
        b"* SEARCH " + b"1 " * 1100 + b"\r\n",
    ],
)
def test_h13_input_beyond_a_limit_is_rejected_before_it_is_stored(data):
    with pytest.raises(LimitExceeded):
        frame(data, LIMITS)


@pytest.mark.parametrize(
    "data", [b"* 1 FETCH (X {65537}\r\n", b"* 1 FETCH " + b"x" * 65536, b"* SEARCH" + b" 12" * 30_000]
)
def test_h13_unsolicited_input_has_a_small_limit(data):
    framer = Framer(Limits())
    with pytest.raises(LimitExceeded):
        list(framer.feed(data))

    framer = Framer(Limits())
    framer.expects_answer = True
    assert not list(framer.feed(data))


@pytest.mark.parametrize(
    ("digits", "announced"), [("1001", 1001), ("0004294967296", 1 << 32), ("9" * 50, (1 << 63) - 1)]
)
def test_h13_the_error_has_the_announced_size(digits, announced):
    with pytest.raises(LimitExceeded) as caught:
        frame(b"* 1 FETCH (BODY[] {%s}\r\n" % digits.encode(), LIMITS)

    assert caught.value.announced == announced


def test_a_search_may_fill_a_long_line():
    (response,) = frame(b"* SEARCH" + b" 12" * 500 + b"\r\n", LIMITS)

    assert len(response.line) == 1508


LINES = [b"* OK hello", b'* LIST () "/" "a"', b"A1 OK done", b"* 1 FETCH (UID 7)"]


@pytest.mark.parametrize("end", [b"\r\n", b"\n", b"\r\r\n", b"\r\r\r\n"])
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_lines_may_end_with_lf_or_with_more_than_one_cr(end, size):
    data = end.join([*LINES, b"* 1 FETCH (BODY[] {6}", b"a\r\nb\n\r)", b""])
    framer = Framer(Limits())
    framer.expects_answer = True

    found = [each for start in range(0, len(data), size) for each in framer.feed(data[start : start + size])]

    assert [each.line for each in found[:-1]] == LINES
    assert found[-1].literals == (b"a\r\nb\n\r",)
    assert found[-1].texts[-1] == b")"


@pytest.mark.parametrize(("data", "lines"), [
    (b'* OK a\r\n* LIST () "/" "a\nb"\r\n* OK c\r\n', [b"* OK a", b'* LIST () "/" "a\nb"', b"* OK c"]),
    (b'* OK a\n* LIST () "/" "a\n* OK c\n', [b"* OK a", b'* LIST () "/" "a', b"* OK c"]),
    (b'* OK a\r\n* OK say "a\nA1 OK\r\n', [b"* OK a", b'* OK say "a', b"A1 OK"]),
])  # fmt: skip
def test_a_line_feed_ends_no_line_within_quotes_unless_all_lines_end_so(data, lines):
    for size in (1, 3, len(data)):
        framer = Framer(Limits())

        found = [
            each for start in range(0, len(data), size) for each in framer.feed(data[start : start + size])
        ]

        assert [each.line for each in found] == lines


def test_blanks_behind_the_size_of_a_literal_do_not_hide_it():
    framer = Framer(Limits())
    framer.expects_answer = True

    (found,) = framer.feed(b"* 1 FETCH (BODY[] {4} \t\r\nmail UID 7)\r\n")

    assert (found.texts, found.literals) == ((b"* 1 FETCH (BODY[] {4}", b" UID 7)"), (b"mail",))
