"""The cost of a hostile answer grows with its bytes, not with the square of them, whatever its shape."""

import contextlib
import gc
import time

import pytest

from superimap.imap import folders, responses, search_answers, statuses
from superimap.imap.errors import LimitExceeded, ProtocolError
from superimap.imap.framing import Framer
from superimap.imap.types import Limits

READ_BYTES = 16 * 1024
LIMITS = Limits(line=1 << 24, literal=1 << 24, response=1 << 26)

# Each makes an input of about `size` bytes.
SHAPES = {
    "empty literals": lambda size: b"* 1 FETCH (X" + b" {0}\r\n" * (size // 6) + b")\r\n",
    "small literals": lambda size: b"* 1 FETCH (X" + b" {1}\r\nx" * (size // 7) + b")\r\n",
    "literals after quotes": lambda size: b"* 1 FETCH (X" + b' "{0}" {0}\r\n' * (size // 12) + b")\r\n",
    "unclosed quotes before literals": lambda size: b"* 1 FETCH (X" + b' " {0}\r\n' * (size // 8) + b")\r\n",
    "escaped quotes": lambda size: b'* 1 FETCH ("' + b'\\"' * (size // 2) + b'")\r\n',
    "backslashes": lambda size: b'* 1 FETCH ("' + b"\\" * size + b"\r\n",
    "open parentheses": lambda size: b"* 1 FETCH " + b"(" * size + b"\r\n",
    "pairs of parentheses": lambda size: b"* 1 FETCH (" + b"() " * (size // 3) + b")\r\n",
    "nested parentheses": lambda size: b"* 1 FETCH (" + b"((((()))))" * (size // 10) + b")\r\n",
    "unbalanced": lambda size: b"* 1 FETCH " + b")" * size + b"\r\n",
    "brackets": lambda size: b"* 1 FETCH (" + b"BODY[" * (size // 5) + b")\r\n",
    "braces": lambda size: b"* 1 FETCH (" + b"{1}" * (size // 3) + b"\r\n",
    "digits": lambda size: b"* 1 FETCH (UID " + b"9" * size + b")\r\n",
    "leading zeros": lambda size: b"* " + b"0" * size + b"1 EXISTS\r\n",
    "blanks": lambda size: b"* 1 FETCH (UID" + b" " * size + b"1)\r\n",
    "atoms": lambda size: b"* 1 FETCH (" + b"a " * (size // 2) + b")\r\n",
    "short lines": lambda size: b"*\r\n" * (size // 3),
    "blank lines": lambda size: b"\r\n" * (size // 2),
    "carriage returns": lambda size: b"\r" * size + b"\r\n",
    "line feeds": lambda size: b"\n" * size,
    "line feeds in quotes": lambda size: b'* OK x\r\n* LIST () "/" "' + b"a\n" * (size // 2) + b'"\r\n',
    "quotes before line feeds": lambda size: b"* OK x\r\n" + b'* LIST () "a\n\r\n' * (size // 15),
    "carriage returns before a line feed": lambda size: b"\r" * size + b"\n",
    "blanks behind braces": lambda size: b"* X " + b"{1} " * (size // 4) + b" " * size + b"\r\n",
    "status codes": lambda size: b"* OK [" + b"x" * size + b"\r\n",
    "quotes in codes": lambda size: b"* OK [X " + b'"' * size + b"\r\n",
    "capabilities": lambda size: b"* CAPABILITY " + b"A" * size + b" X" * (size // 2) + b"\r\n",
    "tags": lambda size: b"A" * size + b" OK\r\n",
    "search": lambda size: b"* SEARCH" + b" 12" * (size // 3) + b"\r\n",
    "search, descending": lambda size: (
        b"* SEARCH" + b" ".join(b"%d" % each for each in range(size // 7, 0, -2)) + b"\r\n"
    ),
    "search, parentheses": lambda size: b"* SEARCH" + b" (" * (size // 2) + b"\r\n",
    "esearch": lambda size: b"* ESEARCH UID ALL 1" + b",1:3" * (size // 4) + b"\r\n",
    "esearch without a set": lambda size: b"* ESEARCH" + b" ALL" * (size // 4) + b"\r\n",
    "folders": lambda size: b"".join(b'* LIST () "/" "%d&-&-"\r\n' % each for each in range(size // 25)),
    "a folder": lambda size: b'* LIST () "/" "' + b"&A" * (size // 2) + b'"\r\n',
    "status": lambda size: b"* STATUS x (" + b"A 1 " * (size // 4) + b")\r\n",
    "labels": lambda size: b"* 1 FETCH (UID 1 X-GM-LABELS (" + b'"&-" ' * (size // 5) + b"))\r\n",
}


def handle(data: bytes) -> None:
    """Frame and parse `data` in every way."""
    framer = Framer(LIMITS)
    framer.expects_answer = True
    answer, search = responses.FetchAnswer({1}), search_answers.SearchAnswer()
    for start in range(0, len(data), READ_BYTES):
        for response in framer.feed(data[start : start + READ_BYTES]):
            answer.read(response)
            folders.parse_folder(response)
            statuses.parse_status(response.line)
            statuses.parse_capabilities(response.line)
            for parse in (responses.mailbox_status, search_all(search)):
                with contextlib.suppress(ProtocolError, LimitExceeded):
                    parse(response)


def search_all(search: search_answers.SearchAnswer):
    return lambda response: [None for _ in search.read(response)]


def seconds(data: bytes) -> float:
    gc.disable()  # a collection reads what all tests before have left, and falls into the longer measurement
    try:
        began = time.process_time()
        handle(data)
        return time.process_time() - began
    finally:
        gc.enable()


@pytest.mark.parametrize("shape", SHAPES)
def test_twice_the_input_takes_about_twice_the_time(shape):
    size = 12_000
    while seconds(SHAPES[shape](size)) < 0.003 and size < 400_000:
        size *= 2
    # Quadratic work would show as 4; repetitions cover a machine that is busy with other things.
    data, twice = SHAPES[shape](size), SHAPES[shape](2 * size)
    assert any(seconds(twice) / max(seconds(data), 0.001) < 2.6 for _ in range(15))
