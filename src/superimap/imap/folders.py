"""Parsing of LIST responses (RFC 9051 section 7.3.1), also of those that stray from the grammar."""

import functools
import re
from collections.abc import Iterable

from superimap.imap.encoding import FORBIDDEN, decode_mailbox, encode_mailbox
from superimap.imap.response import MAX_PARSED_BYTES, Response
from superimap.imap.types import Folder

_LIST = re.compile(
    rb"\* +(?:X?LIST|LSUB) +\(([^()]*+)\) *"
    rb'(NIL|"\\\\"|"\\"(?= )|"[^"\\]"|""|[^ "(){}]|\{\d++\+?\}\Z)?+(?: +(.*))?+\Z',
    re.IGNORECASE | re.DOTALL,
)
_QUOTED = re.compile(rb'"((?:[^"\\]|\\.)*+)"(?= *\Z| \()', re.DOTALL)
_ESCAPE = re.compile(rb'\\(["\\])')
_MARKER = re.compile(rb"~?\{\d++\+?\}\Z")
_MAX_SHARED_BYTES = 200  # of attributes whose set is kept for other folders
_UNSTORABLE = re.compile("[\0\ud800-\udfff]")  # PostgreSQL has no such text
_SPECIAL_USE = {use.lower(): use for use in (r"\All", r"\Archive", r"\Drafts", r"\Flagged", r"\Important",
                                             r"\Junk", r"\Sent", r"\Trash", r"\Noselect")}  # fmt: skip
_SPECIAL_USE |= {r"\allmail": r"\All", r"\spam": r"\Junk", r"\starred": r"\Flagged"}  # XLIST's names


def named(name: str) -> Folder:
    """Return the folder of this name, as the protocol encodes it. Raises ValueError on CR, LF or NUL."""
    if FORBIDDEN.search(name):
        raise ValueError("CR, LF and NUL are not allowed in a mailbox name")
    return Folder(name, frozenset(), None, encode_mailbox(name))


def parse_folder(response: Response) -> Folder | None:
    """Build a Folder of a LIST or XLIST response; None if it names none."""
    if response.text_bytes + sum(map(len, response.literals)) > MAX_PARSED_BYTES:
        return None
    match = _LIST.match(response.line)
    if match is None:
        return None
    attributes, delimiter, rest = match.groups()
    literals = list(response.literals)
    if delimiter is not None and delimiter.startswith(b"{"):
        delimiter, rest = literals.pop(0), response.texts[1].lstrip(b" ")
    raw = literals[0] if literals and _MARKER.fullmatch(rest or b"") else _name(rest or b"")
    if raw is None and rest is not None and rest.strip().upper() == b"NIL":
        raw = rest.strip()  # a name like any other, because a name is an astring (RFC 9051 section 9)
    if raw is None:
        return None
    return Folder(
        name=_UNSTORABLE.sub("\ufffd", decode_mailbox(raw)),
        attributes=(_shared_attributes if len(attributes) <= _MAX_SHARED_BYTES else _attributes)(attributes),
        delimiter=_delimiter(delimiter),
        raw=raw,
    )


def _attributes(text: bytes) -> frozenset[str]:
    return frozenset(_SPECIAL_USE.get(word.lower(), word) for word in text.decode("latin-1").split())


_shared_attributes = functools.lru_cache(maxsize=256)(_attributes)  # a few sets, of many folders


def _name(text: bytes) -> bytes | None:
    """Return the bytes of a name: a quoted string, even with quotes inside, or an atom, even with blanks."""
    if match := _QUOTED.match(text):
        return _ESCAPE.sub(rb"\1", match[1])
    text = text.rstrip(b" ")
    if text.startswith(b'"') and text.endswith(b'"') and len(text) > 1:
        return text[1:-1]
    if not text or text.startswith((b"(", b"{", b'"')) or text.upper() == b"NIL":
        return None
    return text


def _delimiter(text: bytes | None) -> str | None:
    if text is None or text.upper() == b"NIL":
        return None
    return text.strip(b'"')[-1:].decode("latin-1") or None


def add_attributes(folders: Iterable[Folder], more: Iterable[Folder]) -> list[Folder]:
    """Return `folders` with the attributes that the folders of the same name in `more` have."""
    attributes = {each.raw: each.attributes for each in more}
    return [
        Folder(each.name, each.attributes | attributes.get(each.raw, frozenset()), each.delimiter, each.raw)
        for each in folders
    ]
