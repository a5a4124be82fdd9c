"""What does a response say? Typed values out of framed responses (RFC 9051 section 7).

imapclient's response parser does the tokens; it knows neither literal8 nor non-synchronising markers, so they
are written for it in the form that it knows.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from imapclient import response_parser
from imapclient.datetime_util import parse_to_datetime

from superimap.domain.envelope import Address, Envelope, clean
from superimap.imap.encoding import decode_mailbox, quote_mailbox
from superimap.imap.errors import ProtocolError
from superimap.imap.fast_parser import parse_ordinary
from superimap.imap.framing import Response
from superimap.imap.types import Folder, MessageMeta, Uid

UID_MAX = (1 << 32) - 1
SIZE_MAX = (1 << 63) - 1  # of a number64 (RFC 9051 section 9), and of PostgreSQL's bigint
_MARKER = re.compile(rb"~?\{(\d+)\+?\}\Z")
_CODE = re.compile(rb'\[([^\] ]++)(?: ((?:[^\]"]++|"(?:[^"\\]++|\\.)*+")*+))?\] ?')
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_EXPANDED = 1_000_000  # UIDs that a compact ESEARCH set may stand for
_SPECIAL_USE = {use.lower(): use for use in (r"\All", r"\Archive", r"\Drafts", r"\Flagged", r"\Important",
                                             r"\Junk", r"\Sent", r"\Trash", r"\Noselect")}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Status:
    """The text of an OK, NO, BAD or BYE with its response code, as "UIDVALIDITY" and b"42"."""

    text: str
    code: str | None = None
    value: bytes = b""


@dataclass(slots=True)
class CommandResult:
    """What a command brought: its tagged status, and the untagged responses that it asked for."""

    result: str
    status: Status
    responses: list[Response]


def readable(text: bytes, longest: int = 300) -> str:
    """A server's text for a log: no control characters, of bounded length."""
    return _CONTROL.sub(" ", text[: 4 * longest].decode("utf-8", errors="replace"))[:longest].strip()


def status(text: bytes) -> Status:
    """Part the response code from the human's text."""
    if (match := _CODE.match(text)) is None:
        return Status(readable(text))
    return Status(readable(text[match.end() :]), readable(match[1]).upper(), match[2] or b"")


def capabilities(words: bytes) -> set[str]:
    """The capabilities, in capitals."""
    return set(words.decode("latin-1").upper().split())


def greeting(line: bytes) -> tuple[str, Status]:
    """OK, PREAUTH or BYE with its text (RFC 9051 section 7.1). Raises ProtocolError."""
    star, _, rest = line.partition(b" ")
    word, _, text = rest.partition(b" ")
    keyword = word.upper().decode("latin-1")
    if star != b"*" or keyword not in ("OK", "PREAUTH", "BYE"):
        raise ProtocolError(f"no IMAP greeting: {readable(line, 80)!r}")
    return keyword, status(text)


def number(value: bytes) -> int | None:
    """A uint32, or None if it is none."""
    return int(value) if value.isdigit() and len(value) <= 10 and int(value) <= UID_MAX else None


def tokens(response: Response) -> tuple[Any, ...]:
    """All after `* `, nested as it was: bytes, int, None (NIL) and tuples. Raises ProtocolError."""
    texts = [response.line[2:], *response.texts[1:]]
    if (ordinary := parse_ordinary(texts, response.literals)) is not None:
        return ordinary
    records: list[bytes | tuple[bytes, bytes]] = []
    for text, literal in zip(texts, response.literals, strict=False):
        records.append((_MARKER.sub(b"", text) + b" {%d}" % len(literal), literal))
    records.append(texts[-1])
    try:
        return tuple(response_parser.parse_response(records))
    except (response_parser.ProtocolError, ValueError, RecursionError, RuntimeError):
        what = readable(response.line.partition(b"(")[0], 60)
        raise ProtocolError(f"cannot parse {what!r}") from None  # the cause would show the mail


def fetched(responses: Iterable[Response]) -> tuple[dict[int, dict[str, Any]], int]:
    """The items of each message by UID, and how many responses are unintelligible. (No UID: a push.)"""
    messages: dict[int, dict[str, Any]] = {}
    broken = 0
    for response in responses:
        try:
            _, _, items = tokens(response)
            named = dict(zip(map(_name, items[::2]), items[1::2], strict=True))
        except (ProtocolError, ValueError, TypeError):
            broken += 1
            continue
        if isinstance(uid := named.get("UID"), int):
            messages.setdefault(uid, {}).update(named)
    return messages, broken


def _name(item: Any) -> str:
    if not isinstance(item, bytes):
        raise TypeError("not the name of a FETCH item")
    return item.decode("latin-1").upper()


def message_meta(uid: int, items: dict[str, Any], *, now: datetime) -> MessageMeta | None:
    """A MessageMeta, or None if the items are another's (an unsolicited FETCH FLAGS).

    An INTERNALDATE that is none becomes `now`: the mail was not here the last time.
    """
    size, date = _size(items.get("RFC822.SIZE")), items.get("INTERNALDATE")
    if size is None or date is None:
        return None
    return MessageMeta(
        uid=Uid(uid),
        internal_date=_internal_date(date) or now,
        size=size,
        envelope=envelope(items.get("ENVELOPE")),
        labels=_labels(items.get("X-GM-LABELS")),
    )


def _size(value: object) -> int | None:
    """More than SIZE_MAX is as good as that. (Digits are no int to the parsers if they begin with 0.)"""
    if isinstance(value, bytes) and value.isdigit() and len(value) < 20:
        value = int(value)
    return min(value, SIZE_MAX) if isinstance(value, int) else None


def _internal_date(value: object) -> datetime | None:
    try:
        parsed: datetime = parse_to_datetime(value, normalise=False)
        aware = datetime.fromisoformat(
            parsed.isoformat()
        )  # its own tzinfo class can neither be pickled nor compared
        aware = aware if aware.tzinfo else aware.replace(tzinfo=UTC)
        aware.astimezone(UTC)  # there is none of 9999-12-31 23:00 -1200
        return aware
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, tuple):
        return ()
    return tuple(
        decode_mailbox(label) if isinstance(label, bytes) else str(label)
        for label in value
        if label is not None
    )


def envelope(value: object) -> Envelope | None:
    """An Envelope, or None if it is unintelligible."""
    if not isinstance(value, tuple) or len(value) < 10:
        return None
    try:
        from_, sender, reply_to, to, cc, bcc = map(_addresses, value[2:8])
        date, subject, in_reply_to, message_id = map(_text, (*value[:2], *value[8:10]))
        return Envelope(date, subject, from_, sender, reply_to, to, cc, bcc, in_reply_to, message_id)
    except (ValueError, TypeError):
        return None


def _text(value: object) -> str | None:
    match value:
        case None:
            return None
        case bytes():
            return clean(value)
        case int():
            return str(value)
        case _:
            raise TypeError("not a string")


def _addresses(value: object) -> tuple[Address, ...] | None:
    if not value:
        return None
    if not isinstance(value, tuple):
        raise TypeError("not a list of addresses")
    return tuple(Address(*map(_text, address)) for address in value if address)


def folder(response: Response) -> Folder | None:
    """A LIST response as a Folder, or None if it is unintelligible, or has a name by which it cannot be opened."""
    try:
        _, attributes, delimiter, raw, *_ = tokens(response)
        name = decode_mailbox(str(raw).encode() if isinstance(raw, int) else raw)
        quote_mailbox(name)  # raises ValueError
        decoded = (attribute.decode("latin-1") for attribute in attributes)
        return Folder(
            name=name,
            attributes=frozenset(_SPECIAL_USE.get(attribute.lower(), attribute) for attribute in decoded),
            delimiter=None if delimiter is None else clean(delimiter),
        )
    except (ProtocolError, ValueError, TypeError, AttributeError):
        return None


def mailbox_status(response: Response) -> dict[str, int]:
    """The numbers of a STATUS response; those that are no uint32 are left out."""
    try:
        items = tokens(response)[2]
        return {
            _name(name): value
            for name, value in zip(items[::2], items[1::2], strict=True)
            if isinstance(value, int) and value <= UID_MAX
        }
    except (IndexError, ValueError, TypeError) as error:
        raise ProtocolError("cannot parse the STATUS response") from error


def found_uids(responses: Iterable[Response]) -> set[int]:
    """The UIDs of all SEARCH and ESEARCH (RFC 4731) responses. Raises ProtocolError on sets that are no sets."""
    uids: set[int] = set()
    for response in responses:
        words = (
            response.line.split(b"(", 1)[0].split() if b"ESEARCH" not in response.line[:12].upper() else []
        )
        uids.update(uid for word in words[2:] if (uid := number(word)))
        if not words and (match := re.search(rb" ALL ([0-9:,]+)", response.line, re.IGNORECASE)):
            uids.update(_expand(match[1]))
    return uids


def _expand(sequence_set: bytes) -> set[int]:
    uids: set[int] = set()
    for part in sequence_set.split(b","):
        first, _, last = part.partition(b":")
        low, high = sorted((number(first) or 0, number(last or first) or 0))
        if low == 0 or high - low + len(uids) >= _EXPANDED:
            raise ProtocolError("cannot expand the set of an ESEARCH response")
        uids.update(range(low, high + 1))
    return uids
