"""Log formats: constant sentences with ids as fields, as text or as JSON."""

import json
import logging
import os
import sys
from datetime import UTC, datetime
from uuid import UUID

from superimap.core.log_writer import LogStream, LogWriter
from superimap.core.logged_errors import count_error

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}


def _trace_id(delivery_id: object) -> str | None:
    """Return the id of the trace of a delivery: its UUID as 32 hex digits; None if this is no UUID."""
    if isinstance(delivery_id, UUID):
        return delivery_id.hex
    try:
        return UUID(str(delivery_id)).hex if delivery_id is not None else None
    except ValueError:
        return None


def _printable(text: str) -> str:
    """Escape line breaks and control characters, so that no input can forge a log line."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


class TextFormatter(logging.Formatter):
    """One line per record: `time level logger sentence key=value …`."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one line, followed by the traceback if there is one."""
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = " ".join(f"{key}={_printable(str(value))}" for key, value in _fields(record).items())
        line = f"{moment} {record.levelname.lower():7} {record.name.removeprefix('superimap.')}: "
        line += _printable(record.getMessage()) + (f"  {fields}" if fields else "")
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


class JsonFormatter(logging.Formatter):
    """One JSON object per record."""

    def format(self, record: logging.LogRecord) -> str:
        """Format one line of JSON; a traceback is a field."""
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if (trace_id := _trace_id(entry.get("delivery_id"))) is not None:
            entry["trace_id"] = trace_id
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class WriterHandler(logging.Handler):
    """Formats records where they are logged, and leaves the writing to a LogWriter."""

    def __init__(self, formatter: logging.Formatter, descriptor: int | None) -> None:
        super().__init__()
        self.setFormatter(formatter)
        self.writer = LogWriter(descriptor, report=self._dropped_line)

    def emit(self, record: logging.LogRecord) -> None:
        """Queue the line of a record, and count the error in it."""
        try:
            count_error(record)
            self.writer.write(self.format(record) + "\n")
        except Exception:  # as every handler: a record that cannot be formatted must not end what logs it
            self.handleError(record)

    def _dropped_line(self, lines: int) -> str:
        record = logging.LogRecord(__name__, logging.WARNING, "", 0, "log lines were dropped", (), None)
        record.lines = lines
        return self.format(record) + "\n"


def configure_logging(*, level: str, form: str) -> None:
    """Log to standard error: SuperIMAP from `level` on, libraries from `warning` on.

    At lower levels arq and the HTTP libraries would log arguments and addresses. A thread writes, so that a reader
    that stops reading stops nothing else. What else is written to `sys.stderr`, such as tracebacks, goes the same
    way. Call it once in a process.
    """
    descriptor = os.dup(sys.__stderr__.fileno()) if sys.__stderr__ is not None else None
    handler = WriterHandler(JsonFormatter() if form == "json" else TextFormatter(), descriptor)
    handler.writer.start()
    sys.stderr = LogStream(handler.writer)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("superimap").setLevel(level.upper())
    logging.getLogger("arq").setLevel(logging.ERROR)
