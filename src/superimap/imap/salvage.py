"""Reading of FETCH responses that do not parse, such as one without its last parenthesis.

What is unambiguous is read: numbers, the date, and a literal with its name in front of it. A response with
anything that could mean two things is left.
"""

import re
from typing import Any

from superimap.imap.response import MAX_PARSED_BYTES, Response

_QUOTED = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_DATE = re.compile(rb'(?<![^\s(])INTERNALDATE[ \t]*+("[^"\\]{1,60}+")', re.IGNORECASE)
_NUMBER = re.compile(rb"(?<![^\s(])(UID|RFC822\.SIZE)[ \t]++(\d{1,20}+)(?![^\s()])", re.IGNORECASE)
_LITERAL = re.compile(
    rb"(?<![^\s(])(BODY(?:\.PEEK)?\[[^\[\]\"{}]{0,200}+\](?:<\d{1,10}+(?:\.\d{1,10}+)?>)?|RFC822(?:\.HEADER)?)"
    rb"[ \t]*+~?\{\d++\+?\}\Z",
    re.IGNORECASE,
)


def salvage(response: Response) -> dict[str, Any]:
    """Return the items of a FETCH response by name; empty if it is ambiguous."""
    if response.text_bytes > MAX_PARSED_BYTES or len(response.literals) > 1:
        return {}
    text = b" ".join(response.texts)
    numbers = _NUMBER.findall(unquoted := _QUOTED.sub(b'""', text))
    names = {name.upper() for name, _ in numbers}
    dates = _DATE.findall(text)
    if unquoted.count(b'"') % 2 or len(numbers) > len(names) or b"UID" not in names or len(dates) > 1:
        return {}
    items: dict[str, Any] = {name.decode("ascii").upper(): int(number) for name, number in numbers}
    if dates:
        items["INTERNALDATE"] = dates[0].strip(b'"')
    if response.literals:
        if (named := _LITERAL.search(response.texts[0])) is None:
            return {}
        items[named[1].decode("latin-1").upper()] = response.literals[0]
    return items
