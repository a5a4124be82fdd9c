"""Headers of a raw mail (RFC 5322 section 2.2). Values are kept as they were sent, only unfolded. Never raises.

A general parser would decode them, or stop at the first defect, and would read the body as well.
"""

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

MAX_HEADER_BYTES = 256 * 1024
"""Bytes at the start of a mail in which its headers are looked for."""
_END = re.compile(rb"\n\r*+\n")  # the empty line; some systems end a line with CR CR LF
_LINE_END = re.compile(rb"\r*+\n|\r")
_CR_END = re.compile(rb"(?>\r*+\n|\r)(?>\r*+\n|\r)")  # the empty line of a mail that has CR as line end
_FIRST_LINE_END = re.compile(rb"[^\r\n]*+(?:\r(?!\r*+\n)(?=[ \t\r]|[!-9;-~]++[ \t]*+:|\Z)(?P<cr>))?")
# `(?!)`: before Python 3.11.5 a possessive repetition keeps what a failed alternative has consumed.
_BLANK_START = re.compile(rb"(?:\xef\xbb\xbf|[\r\n\0]++|[ \t]++(?=[\r\n])|(?!))*+")
_BLANK_BYTES = frozenset((b"\xef", b"\r", b"\n", b"\0", b" ", b"\t"))
_FIRST_HEADER = re.compile(
    rb"(?:>?From [^\r\n]*+[\r\n]++|(?!))*+[!-9;-~]++[ \t]*+:"
)  # behind lines of an mbox file


class HeaderSection(NamedTuple):
    """The headers of a mail: their lines, and where they end in the mail."""

    lines: bytes
    end: int


def find_headers(raw: bytes, limit: int = MAX_HEADER_BYTES) -> HeaderSection:
    """Return everything before the empty line that ends the headers, within the first `limit` bytes.

    A byte order mark, NUL and empty lines are passed over if a header follows. Lines end with LF or CR LF, or also
    with CR if the first one does and a header follows. If there are `limit` bytes or more, the line at the limit
    is left out, because it may be cut.
    """
    start = _start(raw)
    if start < 0:
        return HeaderSection(b"", 0)
    is_cut = len(raw) >= limit
    limit = min(len(raw), limit)
    first = _FIRST_LINE_END.match(raw, start, limit)
    ends_with_cr = first is not None and first["cr"] is not None
    if found := (_CR_END if ends_with_cr else _END).search(raw, start, limit):
        lines, end = raw[start : found.start()], found.start()
    else:
        lines, end = raw[start:limit], limit
    if ends_with_cr:
        lines = _LINE_END.sub(b"\n", lines)
    return HeaderSection(lines[: lines.rfind(b"\n") + 1] if is_cut and not found else lines, end)


def _start(raw: bytes) -> int:
    """Return where the headers begin; -1 if the mail begins with an empty line and has none."""
    if raw[:1] not in _BLANK_BYTES:
        return 0
    match = _BLANK_START.match(raw, 0, MAX_HEADER_BYTES)
    start = match.end() if match else 0
    return start if start == 0 or _FIRST_HEADER.match(raw, start, MAX_HEADER_BYTES) else -1


def read_headers(lines: bytes, names: frozenset[bytes]) -> dict[str, list[bytes]]:
    """Return the unfolded values of the headers with these lower-case `names`, in the order of the mail.

    `lines` are those of a HeaderSection. Lines that are no header are passed over.
    """
    found: dict[str, list[bytes]] = {}
    for name, value in _fields(names).findall(b"\n" + lines):
        found.setdefault(name.lower().decode("ascii"), []).append(unfold(value))
    return found


def first_value(values: Sequence[bytes]) -> bytes:
    """Return the first value that is not empty: the one that counts where a header is repeated."""
    return next(filter(None, values), b"")


def unfold(value: bytes) -> bytes:
    """Remove the line ends of a folded value (RFC 5322 section 2.2.3), and blanks at its start and end.

    The blank that begins a folded line stays. A CR that ends no line becomes a blank.
    """
    if b"\n" in value:
        value = b"".join(line.rstrip(b"\r") for line in value.split(b"\n"))
    return value.strip().replace(b"\r", b" ")


@lru_cache(maxsize=8)
def _fields(names: frozenset[bytes]) -> re.Pattern[bytes]:
    """Return the pattern of a header with one of these names. Its time is linear: nothing in it is tried twice."""
    initials = b"".join({name[:1] + name[:1].upper() for name in names})  # spares most lines the alternatives
    alternatives = b"|".join(map(re.escape, sorted(names)))
    return re.compile(
        rb"\n(?=[" + initials + rb"])((?i:" + alternatives + rb"))[ \t]*+:([^\n]*+(?:\n[ \t][^\n]*+)*+)"
    )
