"""Choice of the folder to watch among those that the server lists. Pure decisions, without a connection."""

import unicodedata
from collections.abc import Callable, Iterable, Sequence

from superimap.imap.types import INBOX, Folder

ALL_MAIL = "\\All"
_UNUSABLE = {"\\noselect", "\\nonexistent"}
_DELIMITERS = "/."


def choose_folder(folders: Iterable[Folder], wanted: Iterable[str]) -> Folder:
    """Return the first wanted folder that exists and can be opened, else INBOX.

    A wanted folder is a name or a special use. Special uses, such as `\\All`, begin with a backslash: the user may
    give that folder any name. The delimiter of a name may be `/` or `.`, whatever the server's is. The prefix of
    the personal namespace, INBOX, may be left out. Letter case decides only between folders that differ in it.
    """
    usable = [folder for folder in folders if is_usable(folder)]
    for want in wanted:
        for folder in usable:
            if want.lower() in uses_of(folder):
                return folder
        if (found := find_folder(usable, want)) is not None:
            return found
    return INBOX


def is_usable(folder: Folder) -> bool:
    """Return whether a folder can be opened."""
    return not _UNUSABLE & uses_of(folder)


def uses_of(folder: Folder) -> set[str]:
    """Return the attributes of a folder in lower case."""
    return {each.lower() for each in folder.attributes}


def find_folder(folders: Sequence[Folder], want: str) -> Folder | None:
    """Return the folder that fits the name best; None if none fits, or several fit equally well."""
    exact = [folder for folder in folders if folder.name == want]
    if exact:
        return exact[0]
    name, paths = _normal(want), _paths(want)
    tests: tuple[Callable[[Folder], bool], ...] = (
        lambda folder: _normal(folder.name) == name,
        lambda folder: _path(folder) in paths,
        lambda folder: without_prefix(_path(folder)) in paths,
        lambda folder: _fold(_path(folder)) in map(_fold, paths),
        lambda folder: _fold(without_prefix(_path(folder))) in map(_fold, paths),
    )
    for test in tests:
        found = {folder.raw: folder for folder in folders if test(folder)}
        if found:
            return next(iter(found.values())) if len(found) == 1 else None
    return None


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _path(folder: Folder) -> tuple[str, ...]:
    name = _normal(folder.name)
    return tuple(name.split(folder.delimiter)) if folder.delimiter else (name,)


def _paths(want: str) -> list[tuple[str, ...]]:
    """Return what a wanted name may mean: one name, or a path with either delimiter."""
    name = _normal(want)
    return [(name,), *(tuple(name.split(each)) for each in _DELIMITERS if each in name)]


def without_prefix(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return the path of a folder without INBOX, the prefix of the personal namespace on some servers."""
    return path[1:] if len(path) > 1 and path[0].upper() == "INBOX" else path


def _fold(path: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(part.casefold() for part in path)
