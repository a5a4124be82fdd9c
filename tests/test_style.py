"""Style rules that a program can check: docstrings, names, length of files and functions."""

from __future__ import annotations

import ast
import statistics
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = sorted(
    path for folder in ("src", "benchmarks", "trials", "fixtures") for path in (ROOT / folder).rglob("*.py")
)
EVERYTHING = sorted([*PRODUCT, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs/_sphinx").glob("*.py")])
DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef
MAX_FUNCTION_LINES = 60


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def place(path: Path, node: ast.AST | None = None) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def functions() -> Iterator[tuple[Path, ast.FunctionDef | ast.AsyncFunctionDef]]:
    for path in PRODUCT:
        yield from ((path, node) for node in ast.walk(tree_of(path)) if isinstance(node, DEFINITIONS))


def lines(node: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def percentile_95(values: list[int]) -> float:
    return statistics.quantiles(values, n=20)[-1]


def test_no_docstring_starts_with_a_question():
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    found = [
        place(path, node)
        for path in EVERYTHING
        for node in ast.walk(tree_of(path))
        if isinstance(node, documented) and "?" in (ast.get_docstring(node) or "").partition("\n\n")[0]
    ]

    assert not found, "write what it is or does instead"


def test_no_two_classes_share_a_name():
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in PRODUCT:
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(place(path, node))

    assert not {name: where for name, where in places.items() if len(where) > 1}


def test_numeric_constants_name_a_quantity_and_a_unit():
    """`LEASE_SECONDS`, not `PATIENCE`: a name of one word says neither what it counts nor in what."""
    found = [
        f"{place(path, node)} {target.id}"
        for path in PRODUCT
        for node in tree_of(path).body
        if isinstance(node, ast.Assign | ast.AnnAssign) and isinstance(node.value, ast.Constant)
        if isinstance(node.value.value, int | float) and not isinstance(node.value.value, bool)
        for target in (node.targets if isinstance(node, ast.Assign) else [node.target])
        if isinstance(target, ast.Name) and target.id.isupper() and "_" not in target.id.strip("_")
    ]

    assert not found


def test_no_function_is_longer_than_a_screen():
    found = {place(path, node): lines(node) for path, node in functions() if lines(node) > MAX_FUNCTION_LINES}

    assert not found
    assert percentile_95([lines(node) for _, node in functions()]) < 30


def test_most_files_are_short():
    assert percentile_95([len(path.read_text().splitlines()) for path in PRODUCT]) < 250
