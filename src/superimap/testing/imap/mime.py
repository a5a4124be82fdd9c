"""MIME parts of a message, and BODYSTRUCTURE (RFC 9051 sections 6.4.5 and 7.5.2)."""

import re
from dataclasses import dataclass, field

from superimap.testing.imap.envelope import headers_of, split_message, write_envelope
from superimap.testing.imap.syntax import string

MAX_DEPTH = 50
_TYPE = re.compile(rb"\s*([^\s/;]+)\s*/\s*([^\s;]+)")
_PARAMETER = re.compile(rb';\s*([^\s=;]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;]*))')


@dataclass(slots=True)
class MimePart:
    """A part of a message: raw header and body, type in capitals, and the parts within it."""

    header: bytes
    body: bytes
    kind: tuple[bytes, bytes] = (b"TEXT", b"PLAIN")
    parameters: list[tuple[bytes, bytes]] = field(default_factory=list)
    fields: dict[bytes, bytes] = field(default_factory=dict)
    children: "list[MimePart]" = field(default_factory=list)


def parse_part(raw: bytes, depth: int = 0) -> MimePart:
    """Parse a message or a part. What is not MIME is text/plain; parts below MAX_DEPTH levels are not parsed."""
    header, body = split_message(raw)
    part = MimePart(header, body)
    for name, value in headers_of(header):
        part.fields.setdefault(name.lower(), value)
    content = part.fields.get(b"content-type", b"")
    kind = _TYPE.match(content)
    if kind is not None:
        part.kind = (kind[1].upper(), kind[2].upper())
    part.parameters = _parameters(content)
    if depth < MAX_DEPTH:
        boundary = next((value for name, value in part.parameters if name == b"BOUNDARY"), b"")
        if part.kind[0] == b"MULTIPART" and boundary:
            part.children = [parse_part(piece, depth + 1) for piece in _split(body, boundary)]
        elif part.kind == (b"MESSAGE", b"RFC822"):
            part.children = [parse_part(body, depth + 1)]
    if part.kind[0] == b"MULTIPART" and not part.children:
        part.kind, part.parameters = (b"TEXT", b"PLAIN"), []
    return part


def _parameters(value: bytes) -> list[tuple[bytes, bytes]]:
    return [(m[1].upper(), m[3] if m[2] is None else m[2]) for m in _PARAMETER.finditer(value)]


def _split(body: bytes, boundary: bytes) -> list[bytes]:
    line = re.compile(rb"(?:\A|\r?\n)--" + re.escape(boundary) + rb"(--)?[ \t]*(?:(?=\r?\n)|\Z)")
    pieces: list[bytes] = []
    start: int | None = None
    for match in line.finditer(body):
        if start is not None:
            pieces.append(body[start : max(start, match.start())])
        if match[1]:
            return pieces
        start = match.end() + (2 if body[match.end() : match.end() + 2] == b"\r\n" else 1)
    return pieces if start is None else [*pieces, body[start:]]


def find_part(raw: bytes, numbers: list[int]) -> MimePart | None:
    """Return the part with numbers such as 2.1, or None.

    Part 1 of a part that is not multipart is the part itself.
    """
    part = parse_part(raw)
    for position, number in enumerate(numbers):
        holder = part.children[0] if part.kind == (b"MESSAGE", b"RFC822") and position else part
        if holder.kind[0] != b"MULTIPART":
            part = holder
            if number != 1:
                return None
        elif not 0 < number <= len(holder.children):
            return None
        else:
            part = holder.children[number - 1]
    return part


def write_structure(raw: bytes, *, extended: bool) -> bytes:
    """Format BODYSTRUCTURE, or BODY if not `extended`."""
    return _write(parse_part(raw), extended)


def _write(part: MimePart, extended: bool) -> bytes:
    rest = b""
    if part.kind[0] == b"MULTIPART":
        if extended:
            rest = b" %s %s NIL NIL" % (_write_parameters(part.parameters), _disposition(part))
        inner = b"".join(_write(child, extended) for child in part.children)
        return b"(%s %s%s)" % (inner, string(part.kind[1]), rest)
    if extended:
        rest = b" NIL %s NIL NIL" % _disposition(part)
    lines = b" %d" % part.body.count(b"\n")
    if part.kind == (b"MESSAGE", b"RFC822") and part.children:
        lines = b" %s %s%s" % (write_envelope(part.body), _write(part.children[0], extended), lines)
    elif part.kind[0] != b"TEXT":
        lines = b""
    return b"(%s %s %s %s %s %s %d%s%s)" % (
        string(part.kind[0]),
        string(part.kind[1]),
        _write_parameters(part.parameters),
        string(part.fields.get(b"content-id")),
        string(part.fields.get(b"content-description")),
        string(part.fields.get(b"content-transfer-encoding", b"7BIT").upper()),
        len(part.body),
        lines,
        rest,
    )


def _write_parameters(parameters: list[tuple[bytes, bytes]]) -> bytes:
    if not parameters:
        return b"NIL"
    return b"(%s)" % b" ".join(b"%s %s" % (string(name), string(value)) for name, value in parameters)


def _disposition(part: MimePart) -> bytes:
    value = part.fields.get(b"content-disposition")
    if value is None:
        return b"NIL"
    kind = value.partition(b";")[0].strip().upper()
    return b"(%s %s)" % (string(kind), _write_parameters(_parameters(value)))
