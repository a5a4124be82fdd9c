"""Count of the errors in the log, by class."""

import logging

from superimap.core import metrics

MAX_CLASSES = 99
"""Classes with a series of their own. All are named in source code, but libraries may create some at run time."""
OTHER = "other"

_classes: set[str] = set()


def error_class(record: logging.LogRecord) -> str | None:
    """Return the class of the error that a record is about, or None.

    It is the traceback's, that of an argument of the sentence, or what `extra={"error": …}` names.
    """
    if record.exc_info and record.exc_info[0] is not None:
        return record.exc_info[0].__name__
    arguments = record.args if isinstance(record.args, tuple) else ()
    for each in arguments:
        if isinstance(each, BaseException):
            return type(each).__name__
    name = getattr(record, "error", None)
    return name if isinstance(name, str) and name.isidentifier() else None


def count_error(record: logging.LogRecord) -> None:
    """Count the error that a record is about, if there is one."""
    name = error_class(record)
    if name is None:
        return
    if name not in _classes:
        if len(_classes) >= MAX_CLASSES:
            name = OTHER
        else:
            _classes.add(name)
    metrics.ERRORS.labels(name).inc()
