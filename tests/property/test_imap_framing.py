"""Framing does not depend on how the stream is cut into chunks."""

import contextlib
import re

from hypothesis import given
from hypothesis import strategies as st

from superimap.imap import folders, responses, search_answers, statuses
from superimap.imap.errors import LimitExceeded, ProtocolError
from superimap.imap.framing import Framer
from superimap.imap.response import Response
from superimap.imap.types import Limits

LIMITS = Limits(line=200, literal=100, response=500)

_atoms = st.sampled_from(
    [b"UID 5", b"NIL", b'"a\\"{3}"', b'"* x"', b"BODY[]", b"(", b")", b":(", b"\xff", b"{", b'"']
)
_literals = st.binary(max_size=50).map(lambda data: b"{%d}\r\n%s" % (len(data), data))
_lines = st.one_of(
    st.lists(st.one_of(_atoms, _literals), max_size=5).map(
        lambda parts: b"* 1 FETCH (" + b" ".join(parts) + b")\r\n"
    ),
    st.sampled_from(
        [b"* 3 EXISTS\r\n", b"* OK x {3}\r\n", b"+ {9}\r\n", b"A1 OK done\r\n", b"\r\n", b"* SEARCH 1 2\r\n"]
    ),
)
_streams = st.one_of(st.lists(_lines, max_size=8).map(b"".join), st.binary(max_size=300))


def run(chunks: list[bytes]) -> tuple[list[Response], bool]:
    """The responses, and whether a limit ended the stream."""
    framer, found = Framer(LIMITS), []
    try:
        for chunk in chunks:
            for response in framer.feed(chunk):
                found.append(response)
    except LimitExceeded:
        return found, True
    return found, False


@given(_streams, st.data())
def test_h10_any_chunking_gives_the_same_responses(stream, data):
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=20)))
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    assert run(chunks) == run([stream]) == run([stream[at : at + 1] for at in range(len(stream))])


@given(st.lists(_lines, max_size=8).map(b"".join))
def test_h08_no_byte_is_lost_or_altered(stream):
    found, exceeded = run([stream])
    again = b"".join(
        b"\r\n".join(part for pair in zip(each.texts, [*each.literals, b""], strict=True) for part in pair)
        if not each.literals
        else b"".join(
            text + b"\r\n" + literal for text, literal in zip(each.texts, [*each.literals, b""], strict=True)
        )
        for each in found
    )

    # A line may end with a LF alone.
    assert re.sub(rb"\r*\n", b"\n", stream).startswith(re.sub(rb"\r*\n", b"\n", again)) or exceeded


@given(_streams)
def test_malformed_input_raises_protocol_error_and_nothing_else(stream):
    for response in run([stream])[0]:
        with contextlib.suppress(ProtocolError):
            responses.parse_tokens(response)
        with contextlib.suppress(ProtocolError):
            search_answers.found_uids([response])
        with contextlib.suppress(ProtocolError):
            responses.mailbox_status(response)
        responses.parse_fetches([response])
        folders.parse_folder(response)
        statuses.parse_status(response.line)
