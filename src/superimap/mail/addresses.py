"""Addresses of a header (RFC 5322 section 3.4), also where its syntax is broken. Nothing is invented or decoded.

A header is cut into tokens, the tokens into entries at commas and semicolons, and each entry into a name and an
address. Every step is linear in the length of the header, and none raises.
"""

import itertools
import re
from itertools import chain

from superimap.domain.envelope import Address
from superimap.mail.address_entries import MAX_LISTED_ADDRESSES, addresses_of
from superimap.mail.address_tokens import Token, cut, has_at, is_text, text_of
from superimap.mail.bare_addresses import SCHEMES

MAX_ADDRESS_HEADER_CHARS = 65_536
"""Characters of an address header that are parsed."""
_MAX_NAME_COMMAS = 8  # unquoted ones; more are a list
_LOCAL_USER = re.compile(r"[a-z][a-z0-9._-]*+")
_LOCAL_USERS = frozenset({"root", "postmaster", "mailer-daemon"})  # whichever case they are written in
GROUP_END = Address(None, None, None, None)
# What needs no second look: atoms, and well-formed encoded words.
_ATOM = r'(?!=\?)[^\s"<>,:;()@\[\]\\]++'
_WORD = rf'(?:{_ATOM}|=\?[^\s"<>,:;()@\[\]\\?]++\?[BbQq]\?[^\s"<>,:;()@\[\]\\?]*+\?=)'
_LOCAL = rf"(?!'){_ATOM}"
_ORDINARY = re.compile(
    rf'(?:(?:"(?P<quoted>[^"\\]++)"|(?P<name>{_WORD}(?: {_WORD})*))[ \t]*+'
    rf"<(?P<mailbox>{_LOCAL})@(?P<host>{_ATOM})>"
    rf"|<?(?P<alone>{_LOCAL})@(?P<its_host>{_ATOM})(?P<closing>>?))(?:,[ \t]*+|\Z)"
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

    __slots__ = ("angle", "has_at", "has_comment", "is_closed", "name_end", "tokens")

    def __init__(self) -> None:
        self.tokens: list[Token] = []
        self.angle = self.name_end = -1  # indexes of the last and first "<"
        self.is_closed = False  # whether a ">" follows the last one
        self.has_at = self.has_comment = False

    def add(self, token: Token) -> None:
        if token.kind == "<":
            self.angle, self.is_closed = len(self.tokens), False
            self.name_end = self.angle if self.name_end < 0 else self.name_end
        elif token.kind == ">":
            self.is_closed = True
        elif token.kind == "comment":
            self.has_comment = True
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
        return self.angle < 0 and not (self.has_at or self.has_comment) and any(map(is_text, self.tokens))

    def is_named_address(self) -> bool:
        """Whether it has both a name and an address in angle brackets."""
        return self.angle >= 0 and self.has_at and any(map(is_text, self.tokens[: self.name_end]))

    def is_local_user(self, address: str) -> bool:
        """Whether it is the name of a user like `root` rather than part of the name of this lower-case address."""
        words = [token for token in self.tokens if token.kind != "space"]
        if len(words) != 1 or words[0].kind != "word":
            return False
        name = words[0].text
        is_lower = _LOCAL_USER.fullmatch(name) is not None and name not in address
        return is_lower or name.lower() in _LOCAL_USERS

    def may_name_group(self) -> bool:
        """Whether the next colon may begin a group: nothing but a name precedes it, and it is not `mailto:`."""
        last = self.tokens[-1].text.lower() if self.tokens else ""
        return self.angle < 0 and not self.has_at and last not in SCHEMES


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
            is_open = number < last_end or number == last_text or _is_before_address(tokens, number)
            self._take(token, is_open=is_open)
            if len(self.addresses) > MAX_LISTED_ADDRESSES:
                return
        self._end_entry()
        self._end_names()
        self._end_group()

    def _take(self, token: Token, *, is_open: bool) -> None:
        """Take a token. `is_open` says that a colon here begins a group."""
        kind, entry = token.kind, self._entry
        if kind in {",", ";"} and entry.tokens and entry.tokens[-1].kind == "<":
            return
        if kind == "," and not entry.is_in_route():
            self._end_entry()
        elif kind == ";":
            self._end_entry()
            self._end_names()
            self._end_group()
        elif kind == ":" and is_open and not self._in_group and entry.may_name_group():
            self._begin_group()
        else:
            entry.add(Token("word", token.text) if kind in {",", ":"} else token)

    def _end_entry(self) -> None:
        """End the current entry. A name without an address waits: what follows may be the rest of the name."""
        entry = self._entry
        if not entry.tokens:
            return
        self._entry = _Entry()
        if entry.is_name():
            self._names.append(entry)
            if len(self._names) > _MAX_NAME_COMMAS:
                self._list(self._names.pop(0))
            return
        if self._names and entry.is_named_address():
            entry = self._with_names(entry)
        self._end_names()
        self._list(entry)

    def _with_names(self, entry: _Entry) -> _Entry:
        """Join the entry with the parts of its name, which follow any local users."""
        address = text_of(entry.tokens[entry.angle :]).lower()
        while self._names and self._names[0].is_local_user(address):
            self._list(self._names.pop(0))
        whole = _Entry()
        for token in chain.from_iterable((*part.tokens, Token("word", ",")) for part in self._names):
            whole.add(token)
        for token in entry.tokens:
            whole.add(token)
        self._names = []
        return whole

    def _end_names(self) -> None:
        names, self._names = self._names, []
        for entry in names:
            self._list(entry)

    def _list(self, entry: _Entry) -> None:
        self.addresses += addresses_of(entry.tokens)

    def _begin_group(self) -> None:
        self._end_names()
        tokens = self._entry.tokens
        name = text_of(tokens) or " ".join(token.text for token in tokens if token.kind == "comment")
        self._entry = _Entry()
        if name:
            self._in_group = True
            self.addresses.append(Address(None, None, name, None))

    def _end_group(self) -> None:
        if self._in_group:
            self._in_group = False
            self.addresses.append(GROUP_END)


def _is_before_address(tokens: list[Token], number: int) -> bool:
    """Whether an address without a name follows, as in `friends: ann@x.org`."""
    following = (token for token in tokens[number + 1 : number + 3] if token.kind != "space")
    return has_at(itertools.islice(following, 1))
