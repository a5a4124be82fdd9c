"""Folders that a user's list selects among those that the server lists. Pure decisions, without a connection."""

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from superimap.domain.folders import MAX_WATCHED_FOLDERS, NOT_IN_PATTERNS, SPECIAL_USES, WILDCARD, MailFolder
from superimap.idler.folder_choice import find_folder, is_usable, uses_of, without_prefix
from superimap.imap.types import INBOX, Folder

MAX_NAMED = 5
"""Folders and selectors that a reason names; of further ones it gives the number."""


class Matches(NamedTuple):
    """The folders to watch, the first one first; the selectors without a folder, and folders beyond the limit."""

    folders: tuple[Folder, ...]
    missing: tuple[str, ...]
    unusable: tuple[str, ...]
    left_out: int

    def reason(self) -> str | None:
        """Return what the status of the user says about folders that are not watched, for people."""
        parts = []
        if self.missing:
            parts.append(f"no folder: {named(self.missing)}")
        if self.unusable:
            parts.append(f"not to be opened: {named(self.unusable)}")
        if self.left_out:
            parts.append(f"{self.left_out} more folders are not watched; the limit is {MAX_WATCHED_FOLDERS}")
        return "; ".join(parts) or None

    def describe(self, left_out: Mapping[str, str | None]) -> str | None:
        """Return `reason` with folders that are left out: the values say why, None those that are watched."""
        names = [f"{name} ({why})" for name, why in left_out.items() if why is not None]
        parts = [self.reason(), f"left out for now: {named(names)}" if names else None]
        text = "; ".join(filter(None, parts))
        return f"folders that are not watched: {text}" if text else None


def match_folders(listed: Sequence[Folder], selectors: Iterable[str]) -> Matches:
    """Return the folders that the selectors select, in the order of the selectors, each once; of one, INBOX first.

    A pattern leaves out folders of the special uses NOT_IN_PATTERNS: these are to be named.
    """
    usable = [folder for folder in listed if is_usable(folder)]
    if all(folder.name.upper() != INBOX.name for folder in usable):
        usable.append(INBOX)
    found: dict[str, Folder] = {}
    missing: list[str] = []
    unusable: list[str] = []
    for selector in selectors:
        selected = sorted(_select(usable, selector), key=lambda each: (each.name != INBOX.name, each.name))
        found |= {folder.name: folder for folder in selected if folder.name not in found}
        if not selected:
            is_listed = bool(_select([each for each in listed if not is_usable(each)], selector))
            (unusable if is_listed else missing).append(selector)
    folders = tuple(found.values())
    left_out = max(0, len(folders) - MAX_WATCHED_FOLDERS)
    return Matches(folders[:MAX_WATCHED_FOLDERS], tuple(missing), tuple(unusable), left_out)


def mail_folder(folder: Folder) -> MailFolder:
    """Return the folder as webhooks name it."""
    uses = uses_of(folder)
    return MailFolder(folder.name, next((use for use in SPECIAL_USES if use.lower() in uses), None))


def named(names: Sequence[str]) -> str:
    """Return the first names, and how many there are beyond them."""
    shown = ", ".join(names[:MAX_NAMED])
    return f"{shown} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else shown


def _select(folders: Sequence[Folder], selector: str) -> list[Folder]:
    if selector.startswith("\\"):
        return [folder for folder in folders if selector.lower() in uses_of(folder)]
    if WILDCARD not in selector:
        if selector.upper() == INBOX.name:
            return [folder for folder in folders if folder.name.upper() == INBOX.name]
        found = find_folder(folders, selector)
        return [] if found is None else [found]
    pieces = unicodedata.normalize("NFC", selector).split(WILDCARD)
    return [folder for folder in folders if not NOT_IN_PATTERNS & uses_of(folder) and _fits(pieces, folder)]


def _fits(pieces: Sequence[str], folder: Folder) -> bool:
    name = unicodedata.normalize("NFC", folder.name)
    path = tuple(name.split(folder.delimiter)) if folder.delimiter else (name,)
    return any(_fits_text(pieces, "/".join(each)) for each in {path, without_prefix(path)})


def _fits_text(pieces: Sequence[str], text: str) -> bool:
    """Return whether the text has these pieces in order, the first at its start and the last at its end.

    In linear time, unlike a regular expression with many wildcards.
    """
    first, *middle, last = pieces
    if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
        return False
    at, end = len(first), len(text) - len(last)
    for piece in middle:
        at = text.find(piece, at, end)
        if at < 0:
            return False
        at += len(piece)
    return True
