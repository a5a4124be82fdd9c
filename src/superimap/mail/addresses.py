"""Addresses of a header (RFC 5322 section 3.4), also where its syntax is broken. Nothing is invented or decoded.

A header is cut into tokens, the tokens into entries at commas and semicolons, and each entry into a name and an
address. Every step is linear in the length of the header, and none raises.
"""

import re
from itertools import chain

from superimap.domain.envelope import Address
from superimap.mail.address_tokens import Token, cut, is_text, text_of

MAX_LISTED_ADDRESSES = 2000
"""Addresses of one header that are listed, with the markers of groups. The mail itself has the whole header."""
MAX_ADDRESS_HEADER_CHARS = 65_536
"""Characters of an address header that are parsed."""

_MAX_NAME_COMMAS = 8  # unquoted ones; more are a list
GROUP_END = Address(None, None, None, None)
# What needs no second look: atoms, and well-formed encoded words.
_ATOM = r'(?!=\?)[^\s"<>,:;()@\[\]\\]++'
_WORD = rf'(?:{_ATOM}|=\?[^\s"<>,:;()@\[\]\\?]++\?[BbQq]\?[^\s"<>,:;()@\[\]\\?]*+\?=)'
_ORDINARY = re.compile(
    rf'(?:(?:"(?P<quoted>[^"\\]++)"|(?P<name>{_WORD}(?: {_WORD})*+)) <(?P<mailbox>{_ATOM})@(?P<host>{_ATOM})>'
    rf"|<?(?P<alone>{_ATOM})@(?P<its_host>{_ATOM})(?P<closing>>?))(?:, ?|\Z)"
)


def parse_addresses(value: str) -> tuple[Address, ...]:
    """Return the addresses of an unfolded header value, MAX_LISTED_ADDRESSES at most.

    The markers of a group are those of RFC 9051 section 7.5.2. An entry without an address has a name alone; an
    address without `@` has a mailbox and no host.
    """
    if len(value) > MAX_ADDRESS_HEADER_CHARS:  # the last entry may be cut: part of a host is another host
        value = value[:MAX_ADDRESS_HEADER_CHARS]
        value = value[: max(value.rfind(","), value.rfind(";"), 0)]
    found = _ordinary(value)
    return tuple(found if found is not None else _List(cut(value)).addresses[:MAX_LISTED_ADDRESSES])


def _ordinary(value: str) -> list[Address] | None:
    """Parse the usual `Ann Bee <ann@example.org>, bob@example.org` faster; None if it is anything else."""
    found: list[Address] = []
    position = 0
    while position < len(value) and len(found) < MAX_LISTED_ADDRESSES:
        match = _ORDINARY.match(value, position)
        if match is None:
            return None
        quoted, name, mailbox, host, alone, its_host, closing = match.groups()
        if alone is not None and (match[0][0] == "<") is not bool(closing):
            return None
        name = quoted.strip() if quoted else name
        found.append(Address(name or None, None, mailbox or alone, host or its_host))
        position = match.end()
    return found


class _Entry:
    """The tokens between two separators."""

    __slots__ = ("angle", "comments", "has_at", "is_closed", "tokens")

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.comments: list[str] = []
        self.angle = -1  # index of the last "<"
        self.is_closed = False  # whether a ">" follows it
        self.has_at = False

    def add(self, token: Token) -> None:
        if token.kind == "comment":
            self.comments.append(token.text)
            return
        if token.kind == "<":
            self.angle, self.is_closed = len(self.tokens), False
        elif token.kind == ">":
            self.is_closed = True
        elif token.kind == "word" and "@" in token.text:
            self.has_at = True
        self.tokens.append(token)

    def is_in_route(self) -> bool:
        """Whether the next comma or colon belongs to a source route, as in `<@a,@b:user@host>`."""
        if self.angle < 0 or self.is_closed:
            return False
        inside = [token for token in self.tokens[self.angle + 1 : self.angle + 3] if token.kind != "space"]
        return bool(inside) and inside[0].kind == "word" and inside[0].text[0] == "@"

    def is_name(self) -> bool:
        """Whether it may be the first part of a name with an unquoted comma."""
        return self.angle < 0 and not self.has_at and not self.comments and any(map(is_text, self.tokens))

    def is_named_address(self) -> bool:
        """Whether it has both a name and an address in angle brackets."""
        return self.angle >= 0 and self.has_at and any(map(is_text, self.tokens[: self.angle]))


class _List:
    """The list of addresses that a header's tokens represent."""

    def __init__(self, tokens: list[Token]) -> None:
        self.addresses: list[Address] = []
        self._entry = _Entry()
        self._names: list[_Entry] = []  # entries that may be parts of one name
        self._in_group = False
        last_text = max((n for n, token in enumerate(tokens) if is_text(token)), default=-1)
        last_end = max((n for n, token in enumerate(tokens) if token.kind == ";"), default=-1)
        for number, token in enumerate(tokens):
            self._take(token, is_open=number < last_end or number == last_text)
            if len(self.addresses) > MAX_LISTED_ADDRESSES:
                return
        self._end_entry()
        self._end_names()
        self._end_group()

    def _take(self, token: Token, *, is_open: bool) -> None:
        """Take a token. `is_open` says that a colon here begins a group: a semicolon follows, or nothing does."""
        kind, entry = token.kind, self._entry
        if kind == "," and not entry.is_in_route():
            self._end_entry()
        elif kind == ";":
            self._end_entry()
            self._end_names()
            self._end_group()
        elif kind == ":" and is_open and not self._in_group and entry.angle < 0:
            self._begin_group()
        else:
            entry.add(Token("word", token.text) if kind in {",", ":"} else token)

    def _end_entry(self) -> None:
        """End the current entry. A name without an address waits: what follows may be the rest of the name."""
        entry = self._entry
        if not entry.tokens and not entry.comments:
            return
        self._entry = _Entry()
        if entry.is_name():
            self._names.append(entry)
            if len(self._names) > _MAX_NAME_COMMAS:
                self._list(self._names.pop(0))
            return
        if self._names and entry.is_named_address():
            whole = _Entry()
            for token in chain.from_iterable((*part.tokens, Token("word", ",")) for part in self._names):
                whole.add(token)
            for token in entry.tokens:
                whole.add(token)
            self._names, entry = [], whole
        self._end_names()
        self._list(entry)

    def _end_names(self) -> None:
        names, self._names = self._names, []
        for entry in names:
            self._list(entry)

    def _list(self, entry: _Entry) -> None:
        address = _address(entry)
        if address != GROUP_END:
            self.addresses.append(address)

    def _begin_group(self) -> None:
        self._end_names()
        name = text_of(self._entry.tokens) or " ".join(self._entry.comments)
        self._entry = _Entry()
        if name:
            self._in_group = True
            self.addresses.append(Address(None, None, name, None))

    def _end_group(self) -> None:
        if self._in_group:
            self._in_group = False
            self.addresses.append(GROUP_END)


def _address(entry: _Entry) -> Address:
    """Divide an entry into name and address. Without angle brackets, the address is the word with an `@`."""
    tokens = entry.tokens
    if entry.angle >= 0:
        end = next((n for n in range(entry.angle, len(tokens)) if tokens[n].kind == ">"), len(tokens))
        start, after = entry.angle + 1, end + 1
    elif entry.has_at:
        start, end = _bare_address(tokens)
        after = end
    else:
        words = [token for token in tokens if token.kind != "space"]
        is_mailbox = len(words) == 1 and words[0].kind == "word"
        start, end = (0, len(tokens)) if is_mailbox else (0, 0)
        after = end
    before = tokens[: max(0, start - 1)] if entry.angle >= 0 else tokens[:start]
    name = text_of([*before, *tokens[after:]]) or " ".join(" ".join(entry.comments).split())
    route, mailbox, host = _split(tokens[start:end])
    return Address(name or None, route or None, mailbox or None, host or None)


def _bare_address(tokens: list[Token]) -> tuple[int, int]:
    """Return where the address without angle brackets begins and ends. Blanks around its `@` belong to it."""
    at = max(n for n, token in enumerate(tokens) if token.kind == "word" and "@" in token.text)
    start, end = at, at + 1
    while start > 0 and (tokens[start - 1].kind != "space" or _continues(tokens, start - 1)):
        start -= 1
    while end < len(tokens) and (tokens[end].kind != "space" or _continues(tokens, end)):
        end += 1
    return start, end


def _continues(tokens: list[Token], blank: int) -> bool:
    """Whether an address goes on after this blank, as in `ann @ example . org`."""
    before, after = tokens[blank - 1], tokens[blank + 1 : blank + 2]
    if before.kind == "word" and (before.text[-1] == "@" or before.text == "."):
        return True
    return bool(after) and after[0].kind == "word" and after[0].text[0] in "@."


def _split(tokens: list[Token]) -> tuple[str, str, str]:
    """Divide an address into route, mailbox and host. The last `@` outside quotes begins the host."""
    route = ""
    colon = next((n for n, token in enumerate(tokens) if token == ("word", ":")), -1)
    if colon > 0 and text_of(tokens[:colon]).startswith("@"):
        route, tokens = text_of(tokens[:colon]).replace(" ", ""), tokens[colon + 1 :]
    at = max((n for n, token in enumerate(tokens) if token.kind == "word" and "@" in token.text), default=-1)
    if at < 0:
        return route, _mailbox(tokens), ""
    left, _, right = tokens[at].text.rpartition("@")
    mailbox = _mailbox([*tokens[:at], *([Token("word", left)] if left else [])])
    return route, mailbox, text_of([Token("word", right), *tokens[at + 1 :]]).replace(" ", "")


def _mailbox(tokens: list[Token]) -> str:
    text = text_of(tokens)
    if any(token.kind == "quoted" for token in tokens):
        return text
    return text.replace(" .", ".").replace(". ", ".")
