"""Log formats: constant sentences with ids as fields, as text or as JSON."""

import json
import logging
import sys
from datetime import UTC, datetime

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def _fields(record: logging.LogRecord) -> dict[str, object]:
    return {key: value for key, value in vars(record).items() if key not in _STANDARD_FIELDS}


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
        if record.exc_info:
            entry["traceback"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def configure_logging(*, level: str, form: str) -> None:
    """Log to standard error: SuperIMAP from `level` on, libraries from `warning` on.

    At lower levels arq and the HTTP libraries would log arguments and addresses.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if form == "json" else TextFormatter())
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("superimap").setLevel(level.upper())
    logging.getLogger("arq").setLevel(logging.ERROR)
