"""Answers to UID SEARCH: which UIDs they name.

What is unambiguous is read, however it is written. An answer of which a part cannot be read is rejected as a
whole: a UID that is taken for absent is never looked for again.
"""

import re
from collections.abc import Iterable, Iterator

from superimap.imap.errors import ProtocolError
from superimap.imap.response import Response
from superimap.imap.statuses import MAX_DIGITS, UID_MAX, parse_number
from superimap.imap.uid_ranges import Collector, UidRanges

_SLICE_BYTES = 16 * 1024  # of a response, read without a break: less than a millisecond
_SEPARATOR = re.compile(rb"[ \t,]")
_MODSEQ = re.compile(
    rb"\([ \t]*+MODSEQ[ \t]++\d++[ \t]*+\)[ \t]*+\Z", re.IGNORECASE
)  # RFC 7162 section 3.1.5
_ESEARCH = re.compile(
    rb'\*[ \t]++ESEARCH(?:[ \t]++\([ \t]*+TAG[ \t]++(?:"([^"\\]{0,200}+)"|([^ \t()"]{1,200}+))[ \t]*+\))?'
    rb"([ \t]++UID)?(?=[ \t]|\Z)",
    re.IGNORECASE,
)  # RFC 4731 section 3.1
_DATA = re.compile(rb"[ \t]++([A-Z][A-Z0-9._-]{0,60}+)[ \t]++", re.IGNORECASE)
_VALUE = re.compile(rb"[^ \t()]++|\([^()]*+\)")


class SearchAnswer:
    """The UIDs of all SEARCH and ESEARCH responses to one command.

    `tag` is that of the command; an ESEARCH response to another one is rejected. None: any is accepted.
    """

    def __init__(self, tag: str | None = None) -> None:
        self._collector = Collector()
        self._tag = None if tag is None else tag.upper().encode("ascii")
        self.unusable = 0
        """How many UIDs and ranges reached above the largest UID that can be recorded."""

    def read(self, response: Response) -> Iterator[None]:
        """Read a response, with a break wherever other sessions may run. Raises ProtocolError, LimitExceeded."""
        line = response.line
        if response.literals:
            raise ProtocolError("a literal in the answer to a search")
        if b"ESEARCH" not in line[:12].upper():
            return self._read_search(line)
        return self._read_esearch(line)

    def result(self) -> UidRanges:
        """Return the UIDs. Raises LimitExceeded."""
        return self._collector.result()

    def _read_search(self, line: bytes) -> Iterator[None]:
        start, stop = line[:12].upper().find(b"SEARCH") + 6, line.find(b"(")
        if stop >= 0 and not _MODSEQ.match(line, stop):
            raise ProtocolError("a SEARCH response with unknown data")
        for piece in _pieces(line, start, len(line) if stop < 0 else stop):
            for word in piece.split():
                if word.isdigit():
                    self._add(number := _number(word), number)
                else:  # no server should, but some write sets
                    for part in filter(None, word.split(b",")):
                        self._read_part(part)
            yield

    def _read_esearch(self, line: bytes) -> Iterator[None]:
        if (head := _ESEARCH.match(line)) is None:
            raise ProtocolError("an ESEARCH response that cannot be parsed")
        tag = head[1] or head[2]
        if tag and self._tag is not None and tag.upper() != self._tag:
            raise ProtocolError("an ESEARCH response to another command")
        at, counts, found = head.end(), dict[bytes, bytes](), 0
        while data := _DATA.match(line, at):
            name, value = data[1].upper(), _VALUE.match(line, data.end())
            if value is None:
                break
            at = value.end()
            if name == b"ALL":
                for piece in _pieces(line, data.end(), at):
                    for part in piece.removeprefix(b",").split(b","):
                        found += self._read_part(part)
                    yield
            else:
                counts[name] = line[data.end() : min(at, data.end() + MAX_DIGITS + 1)]
                yield
        rest = line[at:].strip()  # some servers put MODSEQ in parentheses here, too
        if (rest and not _MODSEQ.match(rest)) or (found and not head[3]) or not _is_complete(counts, found):
            raise ProtocolError("an ESEARCH response that does not name all UIDs")

    def _read_part(self, part: bytes) -> int:
        """Add a UID or a range of UIDs; return their number."""
        first, colon, last = part.partition(b":")
        last = last if colon else first
        if not first.isdigit() or not last.isdigit():
            raise ProtocolError("an invalid set in the answer to a search")
        low, high = sorted((_number(first), _number(last)))
        self._add(low, high)
        return high - low + 1

    def _add(self, low: int, high: int) -> None:
        if low == 0:
            raise ProtocolError("UID 0 in the answer to a search")
        if high > UID_MAX:
            self.unusable += 1
        if low <= UID_MAX:
            self._collector.add(low, min(high, UID_MAX))


def _is_complete(counts: dict[bytes, bytes], found: int) -> bool:
    """Return whether the other data of an ESEARCH response allows that the set in it has `found` UIDs."""
    count = counts.get(b"COUNT")
    if count is not None:
        return count.isdigit() and _number(count) == found
    return bool(found) or counts.keys() <= {b"MODSEQ"}


def _number(digits: bytes) -> int:
    if len(digits) < 19:
        return int(digits)
    number = parse_number(digits)
    return UID_MAX + 1 if number is None else number


def found_uids(responses: Iterable[Response], tag: str | None = None) -> UidRanges:
    """Return the UIDs of all responses to one search. Raises ProtocolError, LimitExceeded."""
    answer = SearchAnswer(tag)
    for response in responses:
        for _ in answer.read(response):
            pass
    return answer.result()


def _pieces(line: bytes, start: int, stop: int) -> Iterator[bytes]:
    """Yield `line[start:stop]` in pieces of about a slice, each but the first with the separator before it."""
    while start < stop:
        found = _SEPARATOR.search(line, min(start + _SLICE_BYTES, stop), stop)
        end = found.start() if found else stop
        yield line[start:end]
        start = end
