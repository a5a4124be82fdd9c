"""Message-IDs as people have them at hand: copied from a header, from a log, or out of angle brackets. Pure."""

import re

_HEADER_NAME = re.compile(r"(?i)\s*message-id\s*:")
_BRACKETS = str.maketrans("‹›〈〉＜＞", "<><><>")


def spellings(text: str) -> list[str]:
    """Return how a Message-ID that a person entered may be stored, in lower case; RFC 5322, section 3.6.4.

    Angle brackets are not part of what many programs show, and some mails lack them.
    """
    given = _HEADER_NAME.sub("", text.translate(_BRACKETS), count=1).strip().lower()
    bare = given.removeprefix("<").removesuffix(">").strip()
    return list(dict.fromkeys([f"<{bare}>", bare, given]))


def is_message_id(text: str) -> bool:
    """Return whether a text can only be a Message-ID, and not an address."""
    given = text.translate(_BRACKETS).strip()
    return _HEADER_NAME.match(given) is not None or (given.startswith("<") and given.endswith(">"))
