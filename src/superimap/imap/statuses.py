"""Parsing of status responses: greeting, OK, NO, BAD, BYE and their codes (RFC 9051 section 7.1)."""

import codecs
import contextlib
import functools
import hashlib
import re
from dataclasses import dataclass

from superimap.imap.errors import ProtocolError
from superimap.imap.response import Responses

UINT32_MAX = (1 << 32) - 1
UID_MAX = (1 << 63) - 1
"""The largest UID that is accepted. RFC 9051 section 9 allows 32 bits; some servers exceed them."""
MAX_DIGITS = 40
"""Digits of the longest number that is parsed, without leading zeros."""
_CODE = re.compile(rb'\[[ \t]*+([^\] \t]++)(?:[ \t]++((?:[^\]"]++|"(?:[^"\\]++|\\.)*+")*+))?[ \t]*+\] ?')
_UNTAGGED = re.compile(rb"\*[ \t]*+(?:(\d++)[ \t]++)?([A-Za-z][A-Za-z0-9-]*+)[ \t]*+")
_TAGGED = re.compile(rb"(\S++)[ \t]++(OK|NO|BAD|BYE)(?![A-Za-z0-9])[ \t]*+", re.IGNORECASE)
_NEEDS_SELECT = re.compile(r"\bCourier-IMAP\b|\bIMAP4rev1 (?:v\d+|20\d\d[a-z]?)\.\d+ at ", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_CHINESE = re.compile(
    rb"[\x00-\x7f]*+(?:(?:[\xa1-\xfe]{2}){2,}+[\x00-\x7f]++)*+(?:[\xa1-\xfe]{2})*+[\xa1-\xfe]?+"
)
_MAX_STATUS_BYTES = 8192  # of a status text or a list of capabilities; the rest is ignored
_MAX_SHARED_CAPABILITIES_BYTES = 2048  # a longer list is not kept for other sessions


@dataclass(frozen=True, slots=True)
class Status:
    """The text of an OK, NO, BAD or BYE, with its response code, such as "UIDVALIDITY" with value b"42"."""

    text: str
    code: str | None = None
    value: bytes = b""


@dataclass(slots=True)
class CommandResult:
    """The outcome of a command: its tagged status, the untagged responses that belong to it, and its tag."""

    result: str
    status: Status
    responses: Responses
    tag: str


def decode_text(text: bytes, longest: int = 300) -> str:
    """Make a server's text safe for a log: no control characters, at most `longest` characters.

    What is no UTF-8 is GB 18030 if it looks like Chinese, else Latin-1.
    """
    return _CONTROL.sub(" ", _decoded(text[: 4 * longest], is_cut=len(text) > 4 * longest))[:longest].strip()


def _decoded(text: bytes, *, is_cut: bool) -> str:
    if text.isascii():
        return text.decode("ascii")
    for encoding in ("utf-8", "gb18030") if _CHINESE.fullmatch(text) else ("utf-8",):
        with contextlib.suppress(UnicodeDecodeError):
            return codecs.getincrementaldecoder(encoding)().decode(text, not is_cut)
    return text.decode("latin-1")


def parse_status(text: bytes) -> Status:
    """Split the text of a status response into its response code and its human-readable text."""
    text = text[:_MAX_STATUS_BYTES]
    if (match := _CODE.match(text)) is None:
        return Status(decode_text(text))
    return Status(decode_text(text[match.end() :]), decode_text(match[1]).upper(), (match[2] or b"").strip())


def tidy_untagged(line: bytes) -> bytes:
    """Return an untagged line with one blank after each of its first words, not tabs, more blanks or none."""
    if (match := _UNTAGGED.match(line)) is None:
        return line
    number, name = match.groups()
    start = b"* " + (number + b" " if number else b"") + name
    rest = line[match.end() :]
    return start + b" " + rest if rest else start


def parse_tagged(line: bytes) -> tuple[bytes, str, Status] | None:
    """Split a tagged response into its tag, OK, NO, BAD (or BYE), and its text; None if it is none."""
    if (match := _TAGGED.match(line)) is None:
        return None
    return match[1], match[2].upper().decode("ascii"), parse_status(line[match.end() :])


def parse_capabilities(words: bytes) -> frozenset[str]:
    """Return the capabilities, in capitals. All sessions with a server share one set, unless the list is long."""
    return (
        _shared_capabilities(words) if len(words) <= _MAX_SHARED_CAPABILITIES_BYTES else _capabilities(words)
    )


def _capabilities(words: bytes) -> frozenset[str]:
    return frozenset(words[:_MAX_STATUS_BYTES].decode("latin-1").upper().split())


_shared_capabilities = functools.lru_cache(maxsize=128)(_capabilities)


def needs_select(greeting: str) -> bool:
    """Return whether the greeting is of a server that shows new mail, or stores UIDs, by SELECT only.

    Courier-IMAP does not store the UIDs of mails that only an EXAMINE has shown, and gives them to other mails. UW
    imapd (greeting `… IMAP4rev1 2007f.404 at …`) moves new mail into a mailbox when it is selected.
    """
    return _NEEDS_SELECT.search(greeting) is not None


def parse_greeting(line: bytes) -> tuple[str, Status]:
    """Return OK, PREAUTH or BYE, with its text (RFC 9051 section 7.1). Raises ProtocolError."""
    star, _, rest = tidy_untagged(line).partition(b" ")
    word, _, text = rest.partition(b" ")
    keyword = word.upper().decode("latin-1")
    if star != b"*" or keyword not in ("OK", "PREAUTH", "BYE"):
        raise ProtocolError(f"no IMAP greeting: {decode_text(line, 80)!r}")
    return keyword, parse_status(text)


def parse_number(value: bytes) -> int | None:
    """Parse an unsigned number of at most MAX_DIGITS digits, leading zeros apart; None if `value` is none.

    The range is the caller's business: RFC 9051 section 9 allows 32 bits, and some servers exceed them.
    """
    if not value.isdigit():
        return None
    if len(value) > MAX_DIGITS:
        value = value.lstrip(b"0") or b"0"
    return int(value) if len(value) <= MAX_DIGITS else None


def parse_uid(value: bytes) -> int | None:
    """Parse a UID or UIDNEXT; None unless it is a number from 1 to UID_MAX."""
    number = parse_number(value.strip(b'"'))
    return number if number and number <= UID_MAX else None


def parse_uid_validity(value: bytes) -> int | None:
    """Return UIDVALIDITY as a number from 0 to UID_MAX; None if there is none.

    RFC 9051 section 2.3.1.1 has 32 bits above 0. Whatever else a server reports, such as a time in milliseconds or
    a negative number, serves as well: it only has to differ when the UIDs are void. A value that is no number of
    that range is represented by a hash. Quotes and brackets around it do not count.
    """
    words = value.split(None, 1)
    text = words[0].strip(b'"()') if words else b""
    if not text:
        return None
    number = parse_number(text)
    if number is not None and number <= UID_MAX:
        return number
    return int.from_bytes(hashlib.sha256(text).digest()[:8]) >> 1
