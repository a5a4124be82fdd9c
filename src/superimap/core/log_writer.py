"""Writer of log lines in a thread of its own, so that nobody who logs ever waits for the reader of the log."""

from __future__ import annotations

import atexit
import io
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable

from superimap.core import metrics

MAX_QUEUED_BYTES = 4 * 1024 * 1024
FLUSH_SECONDS = 1.0
BATCH_SECONDS = 0.02
"""Time for which lines are collected: a thread that woke up for each would take the event loop's time."""
MAX_BATCH_BYTES = 64 * 1024
"""Bytes of one system call. Each gives up the interpreter lock, which a busy event loop returns after 5 ms."""


class LogWriter:
    """Writes lines to a file descriptor, in order. `write` never waits and never raises.

    Lines beyond MAX_QUEUED_BYTES are dropped and counted, and so are lines that the system refuses to take: a
    full disk, a pipe without a reader, a closed descriptor (None). `report` makes the line that says how many were
    dropped, once writing works again.
    """

    def __init__(self, descriptor: int | None, *, report: Callable[[int], str]) -> None:
        self._descriptor = descriptor
        self._report = report
        self._lock = threading.Lock()
        self._lines: deque[bytes] = deque()
        self._queued_bytes = 0
        self._unreported = 0
        self._wake = threading.Event()
        self._idle = threading.Event()
        self._idle.set()
        self._thread = threading.Thread(target=self._run, name="log writer", daemon=True)

    def start(self) -> None:
        """Start the thread, and write what is queued when the process ends, for at most FLUSH_SECONDS."""
        self._thread.start()
        atexit.register(self.flush)

    def write(self, text: str) -> None:
        """Queue text that ends with a line break."""
        line = text.encode("utf-8", "backslashreplace")
        with self._lock:
            if self._queued_bytes + len(line) > MAX_QUEUED_BYTES:
                self._count_dropped(line)
                return
            self._lines.append(line)
            self._queued_bytes += len(line)
            self._idle.clear()
        self._wake.set()

    def flush(self, seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until everything is written, for at most `seconds`; returns whether it is."""
        return self._idle.wait(seconds)

    def _count_dropped(self, text: bytes) -> None:
        lines = text.count(b"\n")
        self._unreported += lines
        metrics.LOG_LINES_DROPPED.inc(lines)

    def _run(self) -> None:
        while True:
            self._wake.wait()
            time.sleep(BATCH_SECONDS)
            self._wake.clear()
            rest = b""
            while batch := self._next_batch():
                if rest := self._put(batch):
                    with self._lock:
                        self._count_dropped(rest)
            if self._unreported and not rest:
                with self._lock:
                    lines, self._unreported = self._unreported, 0
                self._put(self._report(lines).encode())
            with self._lock:
                if not self._lines:
                    self._idle.set()

    def _next_batch(self) -> bytes:
        batch, size = [], 0
        with self._lock:
            while self._lines and size < MAX_BATCH_BYTES:
                batch.append(self._lines.popleft())
                size += len(batch[-1])
            self._queued_bytes -= size
        return b"".join(batch)

    def _put(self, text: bytes) -> bytes:
        """Write a text, and wait for as long as nobody reads. Returns the part that the system refuses."""
        while text and self._descriptor is not None:
            try:
                text = text[os.write(self._descriptor, text) :]
            except BlockingIOError:  # another process made this open file non-blocking
                select.select([], [self._descriptor], [], 1.0)
            except OSError:
                break
        return text


class LogStream(io.TextIOBase):
    """Text stream on a LogWriter, in the place of `sys.stderr`: tracebacks and messages take the same way."""

    encoding = "utf-8"

    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer
        self._part = ""

    def writable(self) -> bool:
        """True: the stream is for writing."""
        return True

    def write(self, text: str) -> int:
        """Queue whole lines, and keep the rest until its line ends or `flush` is called."""
        lines, end, rest = (self._part + text).rpartition("\n")
        self._part = rest
        if end:
            self._writer.write(lines + end)
        return len(text)

    def flush(self) -> None:
        """Queue a line that has not ended; does not wait for it."""
        part, self._part = self._part, ""
        if part:
            self._writer.write(part)
