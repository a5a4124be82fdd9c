"""ENVELOPE of raw headers (RFC 9051 section 7.5.2, addresses by RFC 5322 section 3.4).

Header bytes are sent unchanged: encoded words stay encoded, 8-bit headers are sent as literals.
"""

import re

from superimap.testing.imap.syntax import string

_END = re.compile(rb"(?:\A|\r?\n)\r?\n")
_FOLD = re.compile(rb"\r?\n(?=[ \t])")
_NAME = re.compile(rb"([\x21-\x39\x3b-\x7e]+)[ \t]*:[ \t]*")
_WORD = re.compile(
    rb'(?P<quoted>"(?:[^"\\]|\\.)*"?)|(?P<space>[ \t\r\n]+)|(?P<mark>[<>,:;()@])|(?P<word>[^"\s<>,:;()@]+)',
    re.DOTALL,
)
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)


def split_message(raw: bytes) -> tuple[bytes, bytes]:
    """Split a message into the header, with the empty line that ends it, and the body."""
    end = _END.search(raw)
    return (raw, b"") if end is None else (raw[: end.end()], raw[end.end() :])


def headers_of(raw: bytes) -> list[tuple[bytes, bytes]]:
    """Return the names and unfolded values of a message's header. Lines that are no field are skipped."""
    fields = []
    for line in _FOLD.sub(b"", split_message(raw)[0]).split(b"\n"):
        name = _NAME.match(line)
        if name is not None:
            fields.append((name[1], line[name.end() :].rstrip()))
    return fields


def write_envelope(raw: bytes) -> bytes:
    """Format the ENVELOPE of a message. Sender and Reply-To default to From."""
    fields: dict[bytes, bytes] = {}
    for name, value in headers_of(raw):
        fields.setdefault(name.lower(), value)
    sender = fields.get(b"from")
    return b"(%s %s %s %s %s %s %s %s %s %s)" % (
        string(fields.get(b"date")),
        string(fields.get(b"subject")),
        write_addresses(sender),
        write_addresses(fields.get(b"sender") or sender),
        write_addresses(fields.get(b"reply-to") or sender),
        write_addresses(fields.get(b"to")),
        write_addresses(fields.get(b"cc")),
        write_addresses(fields.get(b"bcc")),
        string(fields.get(b"in-reply-to")),
        string(fields.get(b"message-id")),
    )


def write_addresses(header: bytes | None) -> bytes:
    """Format an address list: `(name NIL mailbox host)` each, groups between two markers; NIL if empty."""
    if not header:
        return b"NIL"
    addresses = _Addresses()
    for match in _WORD.finditer(header):
        addresses.take(match.lastgroup or "word", match[0])
    addresses.end_address()
    return b"(%s)" % b"".join(addresses.written) if addresses.written else b"NIL"


class _Addresses:
    """Parser of an address header, token by token. Never raises, whatever the header contains."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self._phrase: list[bytes] = []
        self._comment: list[bytes] = []
        self._angle: list[bytes] | None = None
        self._closed = False
        self._depth = 0
        self._in_group = False

    def take(self, kind: str, token: bytes) -> None:
        if self._depth or token in {b"(", b")"}:
            self._take_comment(token)
        elif kind == "mark" and token not in {b"@", b":"}:
            self._take_mark(token)
        elif token == b":" and self._angle is None:
            self._begin_group()
        elif kind == "space":
            self._phrase_or_angle(b" ")
        else:
            self._phrase_or_angle(token)

    def _take_comment(self, token: bytes) -> None:
        if token == b"(":
            self._depth += 1
        elif token == b")":
            self._depth = max(0, self._depth - 1)
        else:
            self._comment.append(token)

    def _take_mark(self, mark: bytes) -> None:
        match mark:
            case b"<":
                self._angle, self._closed = [], False
            case b">":
                self._closed = True
            case b"," if self._is_route():
                self._phrase_or_angle(mark)
            case b",":
                self.end_address()
            case b";":
                self.end_address()
                if self._in_group:
                    self._in_group = False
                    self.written.append(b"(NIL NIL NIL NIL)")

    def _is_route(self) -> bool:
        """Whether a comma belongs to an obsolete source route, `<@a,@b:user@host>`, and separates no addresses."""
        return not self._closed and b"".join(self._angle or ()).lstrip().startswith(b"@")

    def _phrase_or_angle(self, token: bytes) -> None:
        if self._angle is not None and not self._closed:
            self._angle.append(token)
        elif self._angle is None:
            self._phrase.append(token)

    def _begin_group(self) -> None:
        name = _unquote(self._phrase)
        self._forget()
        self._in_group = True
        self.written.append(b"(NIL NIL %s NIL)" % string(name))

    def end_address(self) -> None:
        """End the current address, if there is one."""
        comment = b"".join(self._comment).strip() or None
        if self._angle is not None:
            name, route = _unquote(self._phrase) or comment, b"".join(self._angle).strip()
            source, colon, rest = route.rpartition(b":") if route.startswith(b"@") else (b"", b"", route)
            self._write(name, source if colon else None, rest)
        elif b"".join(self._phrase).strip():
            self._write(comment, None, b"".join(self._phrase).strip())
        self._forget()

    def _write(self, name: bytes | None, source: bytes | None, address: bytes) -> None:
        local, at, host = address.rpartition(b"@")
        local, host = (local, host.replace(b" ", b"")) if at else (host, b"")
        mailbox = _unquote([local]) if local.startswith(b'"') else local.strip()
        # NIL as host would make it a group (RFC 9051 section 7.5.2), so a missing host is the empty string.
        fields = (string(name or None), string(source), string(mailbox), string(host))
        self.written.append(b"(%s %s %s %s)" % fields)

    def _forget(self) -> None:
        self._phrase, self._comment, self._angle, self._closed = [], [], None, False


def _unquote(tokens: list[bytes]) -> bytes:
    """Join the tokens of a phrase, without quotes and escapes."""
    return b"".join(_plain(token) for token in tokens).strip()


def _plain(token: bytes) -> bytes:
    return _ESCAPE.sub(rb"\1", token[1:].removesuffix(b'"')) if token.startswith(b'"') else token
