"""Tokens of an address header (RFC 5322 section 3.2), also of one whose syntax is broken."""

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

MAX_TOKENS = 20_000
"""Tokens of a header that are read: ten for each of 2,000 addresses."""
_DIRECTORY = (  # a name in a directory (Exchange, X.400), which may contain blanks, colons and parentheses
    r"(?P<directory>(?<=<)(?:[A-Za-z0-9]++:)?/?[A-Za-z.]++=[^<>@\"]*+(?=>)|/[A-Za-z]{1,4}=[^,;<>@\"]*+(?!@))"
)
_TYPES = (
    r"(?P<space>\s++)"
    r"|(?P<encoded>=\?[^?\s]++\?[BbQq]\?[^?<>]*+\?=)"  # RFC 2047; some contain blanks, commas or `@`
    rf"|{_DIRECTORY}"
    r"|(?P<mark>[<>,:;()])"
    r'|(?P<word>\[[^\[\]<>()"]*+\]'  # a literal host, or the name of a mailing list
)
_TOKEN = re.compile(
    r'"(?P<quoted>(?:[^"\\]++|\\.)*)(?P<closed>"|\\?\Z)|' + _TYPES + r'|[^\s"<>,:;()\[]++|\[)', re.DOTALL
)
_TOKEN_WITHOUT_QUOTES = re.compile(_TYPES + r"|[^\s<>,:;()\[]++|\[)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_NESTING = re.compile(r"\\.|[()]", re.DOTALL)


class Token(NamedTuple):
    """A token without its delimiters. `kind` is space, quoted, encoded, word, comment, or the mark itself."""

    kind: str
    text: str


BLANK = Token("space", " ")
EDGE = Token("edge", "")
"""Stands for removed punctuation that no address can contain."""


def cut(value: str) -> list[Token]:
    """Cut a header value into tokens. A quotation mark or parenthesis that is never closed is an ordinary word.

    Beyond MAX_TOKENS the rest is dropped, and the entry that it cuts.
    """
    tokens: list[Token] = []
    pattern, position, has_comments = _TOKEN, 0, True
    while match := pattern.match(value, position):
        kind, text, position = match.lastgroup or "word", match[0], match.end()
        if kind == "closed":
            if match["closed"] == '"':
                kind, text = "quoted", _ESCAPE.sub(r"\1", match["quoted"])
            else:
                kind, text, position, pattern = "word", '"', match.start() + 1, _TOKEN_WITHOUT_QUOTES
        elif text == "(":
            end = _comment_end(value, position) if has_comments else 0
            has_comments = end > 0
            kind, text = ("comment", _ESCAPE.sub(r"\1", value[position : end - 1])) if end else ("word", "(")
            position = end or position
        elif kind == "mark":
            kind = "word" if text == ")" else text
        elif kind == "directory":
            kind = "word"
        tokens.append(Token(kind, text))
        if len(tokens) == MAX_TOKENS:
            while tokens and tokens[-1].kind not in {",", ";"}:
                tokens.pop()
            break
    return tokens


def _comment_end(value: str, start: int) -> int:
    """Return where the comment that has begun before `start` ends; 0 if it does not. Comments nest."""
    depth = 1
    for match in _NESTING.finditer(value, start):
        depth += (match[0] == "(") - (match[0] == ")")
        if depth == 0:
            return match.end()
    return 0


def is_text(token: Token) -> bool:
    """Return whether the token is part of a name or address."""
    return token.kind not in {"space", "comment", "edge", "<", ">"}


def has_at(tokens: Iterable[Token]) -> bool:
    """Return whether there is an address among the tokens: a word with an `@`."""
    return any(kind == "word" and "@" in text for kind, text in tokens)


def text_of(tokens: Iterable[Token]) -> str:
    """Return tokens as text, without quotation marks, angle brackets and comments.

    Blanks and comments outside quotes count as one blank, other white space of Unicode as it is.
    """
    return "".join(_pieces(tokens)).strip()


def _pieces(tokens: Iterable[Token]) -> Iterator[str]:
    is_after_blank = False
    for kind, text in tokens:
        if kind == "space" and not text.isascii():
            yield text
        elif kind in {"space", "comment", "edge"}:
            if not is_after_blank:
                yield " "
            is_after_blank = True
        elif kind not in {"<", ">"}:
            yield text
            is_after_blank = False
