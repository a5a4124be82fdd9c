"""Import cycles: there are none in src, counting imports in functions and under TYPE_CHECKING as well."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from tests.test_layering import SOURCE, imports, modules


def module_graph() -> dict[str, set[str]]:
    """The modules of superimap that each module imports, by dotted name."""
    names = {dotted_name(path.relative_to(SOURCE).parts): path for path in modules()}
    return {
        name: {
            target
            for _, imported in imports(path)
            if (target := resolve(imported, names)) not in (None, name)
        }
        for name, path in names.items()
    }


def dotted_name(parts: tuple[str, ...]) -> str:
    """The name under which a source file is imported."""
    stem = parts[-1].removesuffix(".py")
    return ".".join(("superimap", *parts[:-1], *([] if stem == "__init__" else [stem])))


def resolve(imported: str, names: dict[str, object]) -> str | None:
    """The module that an imported name is, or lies in; None for other packages."""
    if imported in names:
        return imported
    parent = imported.rpartition(".")[0]
    return parent if parent in names else None


def test_no_modules_import_one_another_in_a_cycle():
    graph = module_graph()

    assert len(graph) > 100
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(f"import cycle: {' <- '.join(error.args[1])}") from None
