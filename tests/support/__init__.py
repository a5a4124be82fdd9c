"""What do many tests need? Servers, and a word for a server that is not there."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

import pytest

MEMORY = Path("/dev/shm")
ROOM = 2 << 30


def needs(what: str) -> NoReturn:
    """Skip the test for want of `what`; in CI (SUPERIMAP_CI=1), where everything must be there, fail it."""
    if os.environ.get("SUPERIMAP_CI") == "1":
        pytest.fail(f"needs {what}", pytrace=False)
    pytest.skip(f"needs {what}")


@contextlib.contextmanager
def open_folder(prefix: str) -> Iterator[Path]:
    """A folder that any user may enter, in memory where there is room: a busy disk makes tests slow.

    pytest's own folders are closed, and as root our servers run as another user.
    """
    roomy = MEMORY.is_dir() and os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > ROOM
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=MEMORY if roomy else "/tmp"))
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
