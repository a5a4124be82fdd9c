"""The docstring of SuperImapError lists every family of errors with its module."""

import ast
import re
from pathlib import Path

import superimap
from superimap.core.errors import SuperImapError

SOURCE = Path(superimap.__file__).parent


def test_the_root_of_errors_lists_every_family_with_its_module():
    listed = dict(re.findall(r"^ {6}(\w+) +(\S+\.py) ", SuperImapError.__doc__ or "", re.M))
    families = {
        node.name: path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and "SuperImapError" in map(ast.unparse, node.bases)
    }

    assert listed == families
