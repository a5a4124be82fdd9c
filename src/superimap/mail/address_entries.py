"""Entries of an address list: the tokens between two separators, divided into names and addresses.

Usually an entry has one address. One without separators, such as `Ann <ann@x.org>Bob <bob@y.org>`, has several.
"""

from collections.abc import Sequence
from typing import NamedTuple

from superimap.domain.envelope import Address
from superimap.mail.address_tokens import BLANK, EDGE, Token, has_at, is_text, text_of
from superimap.mail.bare_addresses import COLON, plain, spans

MAX_LISTED_ADDRESSES = 2000
"""Addresses of one header that are listed, with the markers of groups. The mail itself has the whole header."""
_NOBODY = Address(None, None, None, None)
_MARKS_ALONE = frozenset({'"', "(", ")", ":"})


class _Draft(NamedTuple):
    """The tokens of an address, and of the texts before and behind it that are its name."""

    before: list[Token]
    address: Sequence[Token]
    behind: list[Token]
    route: str = ""


class _Box(NamedTuple):
    """What stands within angle brackets, and the text before them."""

    before: list[Token]
    inside: list[Token]


def addresses_of(tokens: Sequence[Token]) -> list[Address]:
    """Return the addresses of an entry. What belongs to none is part of a name. Equal neighbours count once."""
    found: list[Address] = []
    for address in map(_address, _drafts(tokens)):
        if address == _NOBODY:  # it would end a group
            continue
        last = found[-1] if found else _NOBODY
        if (last.route, last.mailbox, last.host) != (address.route, address.mailbox, address.host):
            found.append(address)
        elif found and not last.name:
            found[-1] = address
        elif address.name and not (address.mailbox or address.host):
            found.append(address)
    return found


def _drafts(tokens: Sequence[Token]) -> list[_Draft]:
    """Find the addresses: those in angle brackets with an `@`; else words with an `@`; else what stands alone."""
    boxes, rest = _boxes(tokens)
    if any(has_at(box.inside) for box in boxes):
        return _boxed(boxes, rest)
    text = [token for box in boxes for token in (*box.before, EDGE, *box.inside, EDGE)] + rest
    if has_at(text):
        return _bare(text)
    if boxes:
        return [_without_at(boxes, rest)]
    words = [token for token in text if is_text(token)]
    if len(words) == 1 and words[0].kind == "word":
        return [_Draft([token for token in text if token.kind == "comment"], words, [])]
    return [_Draft(text, (), [])]


def _boxes(tokens: Sequence[Token]) -> tuple[list[_Box], list[Token]]:
    """Divide tokens at angle brackets. Return also those behind the last one."""
    boxes: list[_Box] = []
    text: list[Token] = []
    inside: list[Token] | None = None
    for token in (*tokens, Token(">", ">")):
        if token.kind in {"<", ">"}:
            if inside is not None:
                boxes.append(_Box(text, inside))
                text = []
            else:
                text.append(EDGE)
            inside = [] if token.kind == "<" else None
        else:
            (text if inside is None else inside).append(token)
    return boxes, text


def _without_at(boxes: Sequence[_Box], rest: list[Token]) -> _Draft:
    """Take the last text in angle brackets as a mailbox."""
    last = max((n for n, box in enumerate(boxes) if any(map(is_text, box.inside))), default=-1)
    name: list[Token] = []
    for number, box in enumerate(boxes):
        name += (*box.before, BLANK, *(box.inside if number != last else ()), BLANK)
    return _Draft(name, boxes[last].inside if last >= 0 else (), rest)


def _boxed(boxes: Sequence[_Box], rest: list[Token]) -> list[_Draft]:
    """Take each text with an `@` in angle brackets as an address. The text before it is its name."""
    drafts: list[_Draft] = []
    before: list[Token] = []
    for box in boxes:
        before += box.before
        if has_at(box.inside):
            drafts += _inside(_after_comments(before, drafts), box.inside)
            before = []
        else:
            before += (BLANK, *box.inside, BLANK)
    rest = _after_comments(before + rest, drafts)
    if has_at(rest):
        return drafts + _bare(rest)
    drafts[-1].behind.extend((BLANK, *rest))
    return drafts


def _after_comments(tokens: list[Token], drafts: Sequence[_Draft]) -> list[Token]:
    """Add comments right behind an address to it, and return the tokens behind them."""
    if not drafts:
        return tokens
    start = next((n for n, token in enumerate(tokens) if token.kind not in {"space", "comment"}), len(tokens))
    drafts[-1].behind.extend(tokens[:start])
    return tokens[start:]


def _inside(name: list[Token], tokens: list[Token]) -> list[_Draft]:
    """Divide what stands within angle brackets. Unquoted words before the `@` belong to the mailbox."""
    route = ""
    colon = next((n for n, token in enumerate(tokens) if token == ("word", ":")), -1)
    if colon > 0 and text_of(tokens[:colon]).startswith("@"):
        route, tokens = text_of(tokens[:colon]).replace(" ", ""), tokens[colon + 1 :]
    drafts = _bare(tokens)
    words, address, behind, _ = drafts[0]
    if all(token.kind in {"word", "space"} and token.text != ":" for token in words):
        drafts[0] = _Draft(name, (*words, *address), behind, route)
    else:
        drafts[0] = _Draft([*name, BLANK, *words], address, behind, route)
    return drafts


def _bare(tokens: Sequence[Token]) -> list[_Draft]:
    """Find the addresses among words. The text before each is its name; that behind the last one as well."""
    tokens = plain(tokens)
    drafts: list[_Draft] = []
    position = 0
    for start, end in spans(tokens):
        drafts.append(_Draft(_after_comments(tokens[position:start], drafts), tokens[start:end], []))
        position = end + (tokens[end : end + 1] == [COLON])
        if len(drafts) > MAX_LISTED_ADDRESSES:  # the rest would not be listed
            return drafts
    if not drafts:
        return [_Draft([], tokens, [])]
    drafts[-1].behind.extend(tokens[position:])
    return drafts


def _address(draft: _Draft) -> Address:
    """Build an address. Without other text, comments are the name."""
    name_tokens = [*draft.before, BLANK, *draft.behind]
    comments = [text for kind, text in (*name_tokens, *draft.address) if kind == "comment"]
    name = text_of(name_tokens)
    if not name or (name in _MARKS_ALONE and all(token.kind != "quoted" for token in name_tokens)):
        name = " ".join(" ".join(comments).split())
    mailbox, host = _split([token for token in draft.address if token.kind != "comment"])
    return Address(name or None, draft.route or None, mailbox or None, host or None)


def _split(tokens: Sequence[Token]) -> tuple[str, str]:
    """Divide an address into mailbox and host. The last `@` outside quotes begins the host."""
    at = max((n for n, token in enumerate(tokens) if token.kind == "word" and "@" in token.text), default=-1)
    if at < 0:
        return _mailbox(tokens), ""
    left, _, right = tokens[at].text.rpartition("@")
    mailbox = _mailbox([*tokens[:at], *([Token("word", left)] if left else [])])
    host = right + "".join(token.text for token in tokens[at + 1 :] if token.kind != "space")
    return mailbox, host.strip()


def _mailbox(tokens: Sequence[Token]) -> str:
    text = text_of(tokens)
    if any(token.kind == "quoted" for token in tokens):
        return text
    return text.replace(" .", ".").replace(". ", ".")
