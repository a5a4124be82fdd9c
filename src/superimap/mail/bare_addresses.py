"""Addresses among other words: where each begins and ends. An address is never joined from words of two."""

import re
from collections.abc import Iterator, Sequence

from superimap.mail.address_tokens import EDGE, Token, has_at, is_text

SCHEMES = frozenset({"mailto", "smtp"})
"""Lower-case words that, with a colon, precede an address and are no part of it."""
_BRACKETED = re.compile(r"\[(?:(?i:mailto|smtp):)?([^\s:,;]+@[^\s:,;?]+)(?:\?\S*)?\]")
_QUOTED = re.compile(r"'([^@]+@[^@']+)'")
COLON = Token("word", ":")
_BLANKS = frozenset({"space", "comment"})
_APART = frozenset({EDGE, *(Token("word", mark) for mark in '"()')})  # marks that have no other half


def plain(tokens: Sequence[Token]) -> list[Token]:
    """Return tokens without what surrounds an address: `mailto:`, square brackets and single quotes."""
    found: list[Token] = []
    for number, token in enumerate(tokens):
        kind, text = token
        if kind != "word" or "@" not in text:
            found.append(token)
        elif (bracketed := _BRACKETED.fullmatch(text)) and (not found or found[-1].text[-1:] != "@"):
            found += (EDGE, Token("word", bracketed[1]), EDGE)
        elif (quoted := _QUOTED.fullmatch(text)) and _is_alone(tokens, number):
            found.append(Token("word", quoted[1]))
        elif _ends_with_scheme(found):
            found[-2:] = [EDGE]
            end = text.find("?", text.index("@"))  # parameters (RFC 6068)
            found.append(Token("word", text[:end] if end > 0 else text))
        else:
            found.append(token)
    return found


def _ends_with_scheme(tokens: Sequence[Token]) -> bool:
    if tokens[-1:] != [COLON] or len(tokens) < 2 or tokens[-2].text.lower() not in SCHEMES:
        return False
    return not any(map(is_text, tokens[-3:-2]))


def _is_alone(tokens: Sequence[Token], number: int) -> bool:
    """Whether no text touches the token."""
    neighbours = (*tokens[max(number - 1, 0) : number], *tokens[number + 1 : number + 2])
    return not any(map(is_text, neighbours))


def spans(tokens: Sequence[Token]) -> Iterator[tuple[int, int]]:
    """Return the indexes at which each address begins and ends."""
    position = 0
    for at, token in enumerate(tokens):
        if at >= position and token.kind == "word" and "@" in token.text:
            start, end = _start(tokens, at, position), _end(tokens, at)
            yield start, end
            position = end


def _start(tokens: Sequence[Token], start: int, first: int) -> int:
    while True:
        before = start - 1
        while before >= first and tokens[before].kind in _BLANKS:
            before -= 1
        if before < first or not _is_one(tokens[before], tokens[start], is_apart=before < start - 1):
            return start
        start = before


def _end(tokens: Sequence[Token], last: int) -> int:
    while True:
        after = last + 1
        while after < len(tokens) and tokens[after].kind in _BLANKS:
            after += 1
        if after == len(tokens) or not _is_one(tokens[last], tokens[after], is_apart=after > last + 1):
            return last + (tokens[last] != COLON)
        last = after


def _is_one(left: Token, right: Token, *, is_apart: bool) -> bool:
    """Whether two tokens belong to one address. Blanks may surround its `@` and dots, as in `ann @ x . org`."""
    if left in _APART or right in _APART:
        return False
    if has_at((left,)) and has_at((right,)):
        return False
    if (left.kind == "word" and left.text[-1] == "@") or (right.kind == "word" and right.text[0] == "@"):
        return True
    if is_apart:
        return "." in {left.text, right.text}
    if left.kind == right.kind == "word":
        return left.text != ":" or not has_at((right,))
    return (left.kind == "word" and left.text[-1] == ".") or (right.kind == "word" and right.text[0] == ".")
