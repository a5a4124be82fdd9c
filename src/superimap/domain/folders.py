"""Folders to watch: the selectors that name them, and the limits of a list."""

import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

MAX_SELECTORS = 20
MAX_SELECTOR_CHARACTERS = 255
MAX_WATCHED_FOLDERS = 50
"""Folders of a user that are watched at most; the first ones that the selectors find."""

SPECIAL_USES = ("\\All", "\\Archive", "\\Drafts", "\\Flagged", "\\Important", "\\Junk", "\\Sent", "\\Trash")
"""Special uses of folders (RFC 6154, RFC 8457)."""
WILDCARD = "*"
NOT_IN_PATTERNS = frozenset(use.lower() for use in SPECIAL_USES if use != "\\Archive")
"""Special uses, in lower case, of folders that no pattern selects: sent mail and drafts are the user's own, nobody
waits for junk and trash, and the others show mail that is in another folder."""
OWN_MAIL_USES = frozenset({"\\Sent", "\\Drafts"})

_SPECIAL_USES = {use.lower(): use for use in SPECIAL_USES}


class MailFolder(NamedTuple):
    """A folder as webhooks name it: its name, and its special use if the mail server tells one."""

    name: str
    special_use: str | None = None


class UnusableSelector(ValueError):
    """A selector is not valid. The text says which one, counted from 0, and what is expected."""


def check_selectors(values: Sequence[object]) -> tuple[str, ...]:
    """Return the selectors of a list, as they are stored. Raises UnusableSelector.

    A selector is the name of a folder, a pattern in which `*` stands for any characters, or a special use. `/`
    separates the levels of the hierarchy, whatever the mail server's delimiter is.
    """
    if len(values) > MAX_SELECTORS:
        raise UnusableSelector(f"must have at most {MAX_SELECTORS} entries; a pattern selects many folders")
    checked: list[str] = []
    for index, value in enumerate(values):
        selector = _check_selector(index, value)
        if selector in checked:
            raise UnusableSelector(f"[{index}] repeats {selector!r}; leave it out")
        checked.append(selector)
    return tuple(checked)


def _check_selector(index: int, value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise UnusableSelector(f"[{index}] must be a name, a pattern such as Projects/*, or a special use")
    if len(value) > MAX_SELECTOR_CHARACTERS:
        raise UnusableSelector(f"[{index}] must have at most {MAX_SELECTOR_CHARACTERS} characters")
    if any(unicodedata.category(char) in {"Cc", "Cs"} for char in value):
        raise UnusableSelector(f"[{index}] must not contain control characters")
    if value.startswith("\\"):
        use = _SPECIAL_USES.get(value.strip().lower())
        if use is None:
            raise UnusableSelector(f"[{index}] must be one of the special uses {', '.join(SPECIAL_USES)}")
        return use
    return "INBOX" if value.strip().upper() == "INBOX" else value
