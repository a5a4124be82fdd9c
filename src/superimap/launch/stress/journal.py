"""Journals of a stress test: the original's CSV files, written while it runs and read at its end."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

GENERATED = "generated_emails.csv"
FETCHED = "fetched_emails.csv"
EVENTS = "events.csv"
WATCHED_BY = frozenset({"IDLE", "NOOP"})
"""Commands that show that a mailbox is watched: the second one where IDLE failed too often, and it is polled."""
RESOURCES = "resources.csv"
STORES = "stores.csv"

HEADINGS = {
    GENERATED: ("scheduled", "time", "user", "sha1"),
    FETCHED: ("time", "user", "method"),
    EVENTS: ("time", "user", "method"),
    RESOURCES: ("time", "process", "life", "resident_mib", "descriptors", "cpu_seconds", "tasks"),
    STORES: ("time", "table_bytes", "wal_bytes", "queued"),
}
PROCESSED_HEADINGS = ("time", "user", "sha1", "webhook_id", "answer", "is_signed")


def processed(partner: int) -> str:
    """Return the file name of what a partner's receiver processed."""
    return f"processed_emails_partner{partner}.csv"


class Journal:
    """One CSV file that rows are appended to; times are Unix seconds."""

    def __init__(self, folder: Path, name: str) -> None:
        self._file: TextIO = (folder / name).open("w", newline="", buffering=1 << 16)
        self._writer = csv.writer(self._file)
        self._writer.writerow(HEADINGS.get(name, PROCESSED_HEADINGS))

    def write(self, *row: Any) -> None:
        """Append a row."""
        self._writer.writerow(row)

    def flush(self) -> None:
        """Write what is buffered."""
        self._file.flush()

    def close(self) -> None:
        """Write what is buffered, and close the file."""
        self._file.close()


def read_rows(folder: Path, name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a journal by heading; none if there is no such file."""
    path = folder / name
    if not path.exists():
        return
    with path.open(newline="") as file:
        yield from csv.DictReader(file)
