"""Parsing of data responses (FETCH, LIST, STATUS, SEARCH) to typed values (RFC 9051 section 7).

`fast_parser` reads the tokens of ordinary responses, imapclient's response parser those of all others. The latter
supports neither literal8 nor non-synchronising literal markers, so these are rewritten to plain literal markers.
"""

import re
from collections.abc import Container, Iterable
from datetime import UTC, datetime
from typing import Any

from imapclient import response_parser
from imapclient.datetime_util import parse_to_datetime

from superimap.imap.encoding import decode_mailbox
from superimap.imap.errors import ProtocolError
from superimap.imap.fast_parser import parse_ordinary
from superimap.imap.response import MAX_PARSED_BYTES, Response
from superimap.imap.salvage import salvage
from superimap.imap.statuses import UID_MAX, decode_text, parse_number, parse_uid_validity
from superimap.imap.types import MessageMeta, Uid
from superimap.mail.message import read_message_id

SIZE_MAX = (1 << 63) - 1  # of a number64 (RFC 9051 section 9), and of PostgreSQL's bigint
MESSAGE_ID_ITEM = "BODY[HEADER.FIELDS (MESSAGE-ID)]"
_EARLIEST_YEAR = 1980
_MAX_NAME_BYTES = 1024  # of a FETCH item or a label, which may be a literal
_MAX_DATE_BYTES = 128
_MAX_MESSAGE_ID_LINES_BYTES = 4096  # read on the event loop
_ORIGIN = re.compile(r"<0(?:\.\d+)?>\Z")
_MARKER = re.compile(rb"~?\{(\d+)\+?\}\Z")
_STATUS_NAME = re.compile(rb'\A\* STATUS +(?:"(?:[^"\\]|\\.)*+"|[^\s"(]++)?', re.IGNORECASE)
_COUNT = re.compile(
    rb'(?<![^\s(,])(MESSAGES|UIDNEXT|UIDVALIDITY|RECENT|UNSEEN|DELETED|SIZE|HIGHESTMODSEQ)\s++"?+([^\s"(),]++)',
    re.IGNORECASE,
)


def parse_tokens(response: Response) -> tuple[Any, ...]:
    """Return everything after `* ` as nested tokens: bytes, int, None (NIL) and tuples. Raises ProtocolError."""
    texts = [response.line[2:], *response.texts[1:]]
    if response.text_bytes > MAX_PARSED_BYTES:
        raise ProtocolError("a long response")
    if (ordinary := parse_ordinary(texts, response.literals)) is not None:
        return ordinary
    records: list[bytes | tuple[bytes, bytes]] = []
    for text, literal in zip(texts, response.literals, strict=False):
        records.append((_MARKER.sub(b"", text) + b" {%d}" % len(literal), literal))
    records.append(texts[-1])
    try:
        return tuple(response_parser.parse_response(records))
    except (response_parser.ProtocolError, ValueError, RecursionError, RuntimeError):
        what = decode_text(response.line.partition(b"(")[0], 60)
        raise ProtocolError(f"cannot parse {what!r}") from None  # the cause would quote the mail


class FetchAnswer:
    """The FETCH items of each of the `wanted` messages by UID.

    A response without a UID, or about another message, is unsolicited, and left out: what it holds is not kept. If
    only one message is wanted, content without a UID is its content: nobody else asked for any.
    """

    __slots__ = ("_only", "_wanted", "broken", "messages")

    def __init__(self, wanted: Container[int]) -> None:
        self._wanted = wanted
        self._only = wanted[0] if isinstance(wanted, tuple) and len(wanted) == 1 else None
        self.messages: dict[int, dict[str, Any]] = {}
        self.broken = 0
        """The number of responses that cannot be parsed."""

    def read(self, response: Response) -> None:
        """Add the items of one response."""
        if not (named := named_items(response)):
            self.broken += 1
            return
        uid = number_of(named.get("UID"))
        if uid is None and self._only is not None and any(map(_is_content, named)):
            uid = self._only
        if uid and uid in self._wanted:
            known = self.messages.setdefault(uid, {})
            known.update({name: value for name, value in named.items() if value or name not in known})


def named_items(response: Response) -> dict[str, Any]:
    """Return the items of a FETCH response by name; empty if it cannot be read."""
    try:
        _, _, items = parse_tokens(response)
    except (ProtocolError, ValueError):
        return salvage(response)
    try:
        return dict(zip(map(_name, items[::2]), items[1::2], strict=True))
    except (ValueError, TypeError):
        return {}


def parse_fetches(responses: Iterable[Response]) -> tuple[dict[int, dict[str, Any]], int]:
    """Return the FETCH items of each message by UID, and the number of responses that cannot be parsed."""
    answer = FetchAnswer(range(UID_MAX + 1))
    for response in responses:
        answer.read(response)
    return answer.messages, answer.broken


def _name(item: Any) -> str:
    if not isinstance(item, bytes) or len(item) > _MAX_NAME_BYTES:
        raise TypeError("not the name of a FETCH item")
    return item.decode("latin-1").upper()


def _is_content(name: str) -> bool:
    return name.startswith("BODY") or name == "RFC822"


def message_content(items: dict[str, Any], section: str = "") -> bytes | None:
    """Return the bytes of BODY[section], or of its beginning; None if there are none.

    Some servers repeat `BODY.PEEK` or the requested length in the name of the item, leave out the `<0>`, or write
    `RFC822`. If several items are it, the longest counts.
    """
    value = items.get(f"BODY[{section}]") or items.get(f"BODY[{section}]<0>")
    if not isinstance(value, bytes) or not value:
        wanted = f"BODY[{section}]", f"RFC822.{section}".rstrip(".")
        values = [items[name] for name in items if _bare(name) in wanted]
        value = max((each for each in values if isinstance(each, bytes)), key=len, default=None)
    return value


def _bare(name: str) -> str:
    return _ORIGIN.sub("", name.replace("BODY.PEEK[", "BODY[")).replace(" ", "")


def message_meta(uid: int, items: dict[str, Any], *, is_barest: bool = False) -> MessageMeta | None:
    """Build a MessageMeta; None if the items are not those asked for (an unsolicited FETCH FLAGS).

    The Message-ID is that of whatever header lines are among the items. `is_barest` says that no more than the UID
    was asked for.
    """
    if "INTERNALDATE" not in items and "RFC822.SIZE" not in items and not is_barest:
        return None
    size = _size(items.get("RFC822.SIZE"))
    return MessageMeta(
        uid=Uid(uid),
        internal_date=internal_date(items.get("INTERNALDATE")),
        size=size,
        message_id=_message_id(items, size),
        labels=_labels(items.get("X-GM-LABELS")),
    )


def number_of(value: object) -> int | None:
    """Return a number; None if `value` is none. The parsers return quoted digits, or a leading 0, as bytes."""
    if isinstance(value, bytes):
        value = parse_number(value) if len(value) <= MAX_PARSED_BYTES else None
    return value if isinstance(value, int) else None


def _message_id(items: dict[str, Any], size: int | None) -> str | None:
    """Read the Message-ID from the start of the mail, or from header lines, whose item servers spell freely."""
    peek = message_content(items)
    if peek is not None:
        return read_message_id(peek) if len(peek) == size else read_message_id(peek, limit=len(peek))
    lines = items.get(MESSAGE_ID_ITEM)
    if lines is None:
        lines = next((value for name, value in items.items() if name.startswith("BODY[HEADER.FIELDS")), None)
    return read_message_id(lines[:_MAX_MESSAGE_ID_LINES_BYTES]) if isinstance(lines, bytes) else None


def _size(value: object) -> int | None:
    """Parse a size, capped at SIZE_MAX."""
    size = number_of(value)
    return None if size is None or size < 0 else min(size, SIZE_MAX)


def internal_date(value: object) -> datetime | None:
    """Parse an INTERNALDATE; None if it is invalid, or a zero: IMAP is younger than 1980."""
    if isinstance(value, bytes) and len(value) > _MAX_DATE_BYTES:
        return None
    try:
        parsed: datetime = parse_to_datetime(value, normalise=False)
        # imapclient's own tzinfo can be neither pickled nor compared.
        aware = datetime.fromisoformat(parsed.isoformat())
        aware = aware if aware.tzinfo else aware.replace(tzinfo=UTC)
        if aware.year < _EARLIEST_YEAR:
            return None
        aware.astimezone(UTC)  # raises if UTC has no such time, as for 9999-12-31 23:00 -1200
        return aware
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple):
        return ()
    return tuple(
        decode_mailbox(label[:_MAX_NAME_BYTES]) if isinstance(label, bytes) else str(label)
        for label in value
        if label is not None
    )


def mailbox_status(response: Response) -> dict[str, int]:
    """Return the counts of a STATUS response; a value that is no number of its kind is left out.

    A mailbox name may contain anything, so that what is named last counts. Quotes around numbers, commas between
    the counts and other values among them are passed over.
    """
    counts: dict[str, int] = {}
    if response.text_bytes > MAX_PARSED_BYTES:
        return counts
    for name, value in _COUNT.findall(_STATUS_NAME.sub(b"", response.texts[-1])):
        key = name.decode("latin-1").upper()
        count = parse_uid_validity(value) if key == "UIDVALIDITY" else parse_number(value)
        if count is not None and count <= UID_MAX and (count or key != "UIDNEXT"):
            counts[key] = count
    return counts
