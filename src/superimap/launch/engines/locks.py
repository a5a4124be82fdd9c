"""Locks on a data folder: one process runs an engine there, and others can find its URL."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from superimap.launch.engines.folders import EmbeddedError

LOCK_WAIT_SECONDS = 0.5  # longer than another process holds the lock to look up the URL


@contextmanager
def lock_engine(data: Path, name: str) -> Iterator[Path]:
    """Hold `data` for our engine called `name`. Raises EmbeddedError that names the process that holds it.

    The lock is the kernel's and ends with this process, so nothing stale stays behind. Yields the lock file,
    for `write_url`.
    """
    path = data / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise EmbeddedError(
            f"The data folder {data} cannot be written ({error.strerror}); choose another one with --data."
        ) from error
    try:
        if not _lock(handle, wait_seconds=LOCK_WAIT_SECONDS):
            pid = (path.read_text().split() or ["unknown"])[0]
            raise EmbeddedError(
                f"The data folder {data} is in use by another SuperIMAP (process {pid}); "
                "stop that one, or choose another folder with --data."
            )
        path.write_text(f"{os.getpid()}\n")
        yield path
    finally:
        os.close(handle)


def write_url(lock: Path, url: str) -> None:
    """Write the engine's URL into its lock file, where `read_url` finds it."""
    lock.write_text(f"{os.getpid()}\n{url}\n")


def read_url(data: Path, name: str) -> str | None:
    """The URL of the engine ("postgres" or "valkey") that another process runs on `data`, or None."""
    path = data.expanduser().absolute() / f"{name}.lock"
    try:
        handle = os.open(path, os.O_RDWR)
    except OSError:
        return None
    try:
        if _lock(handle, wait_seconds=0):
            return None
        words = path.read_text().split()
        return words[1] if len(words) > 1 else None
    finally:
        os.close(handle)


def _lock(handle: int, *, wait_seconds: float) -> bool:
    """Take the lock within `wait_seconds`; returns whether it was taken."""
    end = time.monotonic() + wait_seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                return False
            time.sleep(0.05)
        else:
            return True
