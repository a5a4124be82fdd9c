"""Error families: the docstring of the root lists every direct subclass with its module."""

from __future__ import annotations

import re
from pathlib import Path

from superimap.core.errors import SuperImapError

PACKAGE = Path(__file__).parents[2] / "src/superimap"


def test_the_root_of_the_errors_lists_every_family_with_its_module():
    listed = set(re.findall(r"^      (\w+) +([a-z_/]+\.py) ", SuperImapError.__doc__ or "", re.M))

    defined = {
        (name, path.relative_to(PACKAGE).as_posix())
        for path in PACKAGE.rglob("*.py")
        for name in re.findall(r"^class (\w+)\(SuperImapError\b", path.read_text(), re.M)
    }
    assert listed == defined
