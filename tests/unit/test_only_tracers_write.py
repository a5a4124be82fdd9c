"""A mailbox is changed by tracers only: no other module appends, stores flags, expunges, moves or copies."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import superimap

FOLDER = Path(superimap.__file__).parent
COMMANDS = re.compile(r"\b(APPEND|STORE|EXPUNGE|COPY|MOVE|CREATE|DELETE|RENAME)\b")


def test_only_one_module_of_the_client_sends_commands_that_change_a_mailbox():
    found = set()
    for path in (FOLDER / "imap").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            is_call = isinstance(node, ast.Call) and getattr(node.func, "attr", "") in ("run", "execute")
            if is_call and any(COMMANDS.search(ast.unparse(each)) for each in node.args):
                found.add(path.name)

    assert found == {"writing.py"}


def test_only_tracers_use_it():
    users = {
        path.name
        for path in (FOLDER / "idler").glob("*.py")
        if re.search(r"client\.(append|expunge)\(", path.read_text())
    }

    assert users == {"tracer_sender.py", "tracer_clean_up.py"}
