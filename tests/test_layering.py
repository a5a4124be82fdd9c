"""Layers: imports point down, never sideways. docs/architecture.md draws the same levels."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "superimap"

LEVELS = {
    8: ["cli", "launch", "__main__"],
    7: ["api"],
    6: ["idler", "dispatcher", "testing"],
    5: ["doorbells"],
    4: ["db", "oauth"],
    3: ["imap", "webhooks"],
    2: ["mail"],
    1: ["domain", "charts"],
    0: ["core"],
    -1: ["__init__"],  # the version
}
ONE_PART = {*LEVELS[8]}  # the command line: several modules that may import one another
LEVEL = {name: level for level, names in LEVELS.items() for name in names}


def modules() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def part(path: Path) -> str:
    """The package or module right under superimap that a file belongs to."""
    first = path.relative_to(SOURCE).parts[0]
    return first.removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything a file imports, wherever in the file it does."""
    package = ("superimap", *path.relative_to(SOURCE).parts[:-1])
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)


def imported_part(name: str) -> str | None:
    """The part of superimap that a dotted name lies in, or None for code of others."""
    first, _, rest = name.partition(".")
    if first != "superimap":
        return None
    found = rest.partition(".")[0]
    is_module = (SOURCE / found).is_dir() or (SOURCE / f"{found}.py").exists()
    return found if found and is_module else "__init__"


def test_every_package_has_a_level():
    unknown = sorted({part(path) for path in modules()} - LEVEL.keys())

    assert not unknown, f"give these a level in LEVELS: {unknown}"


@pytest.mark.parametrize("level", sorted(LEVELS), ids=str)
def test_imports_point_down_and_never_sideways(level):
    wrong = [
        f"{path.relative_to(SOURCE)}:{line} ({own}) imports {target}, which is not below it"
        for path in modules()
        if LEVEL.get(own := part(path)) == level
        for line, name in imports(path)
        if (target := imported_part(name)) is not None and target != own
        if LEVEL.get(target, 99) >= level and not {own, target} <= ONE_PART
    ]

    assert not wrong, "\n".join(wrong)


def test_only_the_protocol_imports_aioimaplib():
    users = {
        path.relative_to(SOURCE).as_posix()
        for path in modules()
        for _, name in imports(path)
        if name.partition(".")[0] == "aioimaplib"
    }

    assert users <= {"imap/protocol.py"}
