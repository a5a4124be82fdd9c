"""Folders of the engines, and the account that owns them when this process runs as root."""

from __future__ import annotations

import os
import re
import stat
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from superimap.core.errors import SuperImapError

MAX_SOCKET_PATH_BYTES = 107 if sys.platform == "linux" else 103  # sockaddr_un.sun_path without its final NUL
LONGEST_SOCKET_NAME = "/.s.PGSQL.5432"
UNQUOTED_PATH = re.compile(
    r"[A-Za-z0-9/._+-]+"
)  # needs no quoting in a URL or in PostgreSQL's list of folders
MAX_RUNTIME_DIR_CHARACTERS = 60


class EmbeddedError(SuperImapError):
    """An engine cannot run here; the message says why and what to do."""


@dataclass(frozen=True)
class Account:
    """The account that engines run as when this process is root, because PostgreSQL refuses root."""

    uid: int = 65534
    gid: int = 65534


def engine_account() -> Account | None:
    """The engines' own account, or None if they run as this process does."""
    return Account() if os.geteuid() == 0 else None


def default_data_folder() -> Path:
    """The data folder that is used without --data."""
    if os.geteuid() == 0:
        return Path("/var/lib/superimap")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "superimap"


def prepare_data_folder(data: Path) -> Path:
    """Create the data folder if it is missing; returns its real path.

    Raises EmbeddedError if it cannot be created, or if the engines' account cannot enter it.
    """
    data = data.expanduser().absolute()
    try:
        make_folder(data, mode=0o755 if engine_account() else 0o700)
        data = data.resolve()
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data} cannot be created ({error.strerror}); choose another one with --data."
        ) from error
    closed = closed_parent(data)
    if closed:
        raise EmbeddedError(
            f"As root the engines run as user {Account.uid}, and that user may not enter {closed}; "
            f"choose a data folder outside of it with --data, or open it (chmod o+x {closed})."
        )
    return data


def make_folder(folder: Path, *, mode: int) -> None:
    """Create a folder and its missing parents with this mode, independent of the umask."""
    if not folder.is_dir():
        make_folder(folder.parent, mode=mode)
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)


def make_private(folder: Path) -> Path:
    """Create the folder if it is missing, and close it to everyone but the engine; returns it."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    if account := engine_account():
        os.chown(folder, account.uid, account.gid)
    return folder


def closed_parent(path: Path) -> Path | None:
    """The topmost folder on the way to `path` that the engines' account may not enter, or None."""
    if engine_account() is None:
        return None
    folders = [path, *path.parents] if path.is_dir() else list(path.parents)
    closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
    return closed[-1] if closed else None


@contextmanager
def socket_folder(data: Path) -> Iterator[Path]:
    """A folder for unix sockets: inside `data`, or a temporary one if that path is too long or needs quoting."""
    inside = data / "run"
    is_short = len(os.fsencode(inside)) + len(LONGEST_SOCKET_NAME) <= MAX_SOCKET_PATH_BYTES
    if is_short and UNQUOTED_PATH.fullmatch(str(inside)):
        yield make_private(inside)
        return
    runtime = "" if engine_account() else os.environ.get("XDG_RUNTIME_DIR", "")
    is_usable = (
        UNQUOTED_PATH.fullmatch(runtime)
        and len(runtime) < MAX_RUNTIME_DIR_CHARACTERS
        and Path(runtime).is_dir()
    )
    with temporary_folder(Path(runtime) if is_usable else Path("/tmp")) as short:  # noqa: S108 - mkdtemp, mode 0700
        yield short


@contextmanager
def temporary_folder(base: Path | None = None) -> Iterator[Path]:
    """A temporary folder of the engine's own."""
    with tempfile.TemporaryDirectory(prefix="superimap-", dir=base, ignore_cleanup_errors=True) as folder:
        yield make_private(Path(folder))
