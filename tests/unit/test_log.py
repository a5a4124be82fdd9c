"""Log formats: one record is one line, for any content."""

import json
import logging

from superimap.core.log import JsonFormatter, TextFormatter


def record(message: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("superimap.idler.session", logging.INFO, "", 0, message, (), None)
    vars(made).update(fields)
    return made


def test_a_text_line_has_the_sentence_and_the_ids():
    line = TextFormatter().format(record("session ended", user_id=7))

    assert line.endswith("idler.session: session ended  user_id=7")


def test_70_input_cannot_forge_a_line_or_colour_the_terminal():
    line = TextFormatter().format(record("bye\r\n12:00:00 error: forged \x1b[31m", email="a\nb"))

    assert "\n" not in line and "\r" not in line and "\x1b" not in line


def test_a_json_line_is_an_object_with_the_ids():
    entry = json.loads(JsonFormatter().format(record("session ended\n", user_id=7)))

    assert entry["message"] == "session ended\n"
    assert entry["user_id"] == 7
    assert entry["level"] == "info"
