"""The model of the protocol holds, each of its guards is needed, and its page names the code of each step."""

from __future__ import annotations

import importlib
import re
from functools import reduce
from pathlib import Path

import pytest

from tests.support import needs
from tests.support.pages import ROOT, first_cells, section
from trials.model.checker import ModelCheck, explore, missing_programs
from trials.model.checks import GUARDS, LARGER_GUARDS, LARGER_PROPERTIES, PROPERTIES

PAGE = ROOT / "docs/model/README.md"
CHECKS = (*PROPERTIES, *LARGER_PROPERTIES, *GUARDS, *LARGER_GUARDS)


def source_of(model: str) -> str:
    return (ROOT / f"docs/model/{model}.pml").read_text()


@pytest.mark.parametrize("model", ["intake", "delivery"])
def test_the_page_lists_exactly_the_steps_of_a_model(model: str):
    source = source_of(model)
    labels = re.findall(r"^ *([a-z_]+):(?:\s|$)", source, re.M)
    printed = re.findall(r'printf\("(?:idler|dispatcher|statement|time)[^|"]*\|(\w+)\|', source)

    assert first_cells(section(PAGE, f"Steps of {model}")) == {*labels, *printed}


def test_the_code_that_the_page_names_exists():
    named = re.findall(r"`([\w/]+)\.py:([\w.]+)`", PAGE.read_text())

    assert len(named) > 50
    for path, name in named:
        module = importlib.import_module("superimap." + path.replace("/", "."))
        assert reduce(getattr, name.split("."), module), (path, name)


@pytest.mark.parametrize("model", ["intake", "delivery"])
def test_every_guard_of_a_model_is_removed_by_a_check_that_the_page_lists(model: str):
    guards = set(re.findall(r"^#define (\w+) 1  /\*", source_of(model).partition("/* Guards")[2], re.M))
    removed = {
        definition.removesuffix("=0")
        for check in (*GUARDS, *LARGER_GUARDS)
        if check.model == model
        for definition in check.definitions
    }

    assert guards - {"CURSOR"} == guards & removed  # the page says why none needs it
    assert {f"{guard}=0" for guard in guards - {"CURSOR"}} <= first_cells(section(PAGE, "Guards"))


def test_the_page_lists_the_properties_that_are_checked():
    listed = first_cells(section(PAGE, "Bounds and results"))

    assert {check.name for check in (*PROPERTIES, *LARGER_PROPERTIES)} <= listed


@pytest.mark.slow
@pytest.mark.parametrize("check", [*PROPERTIES, *GUARDS], ids=lambda check: check.name)
def test_the_model_holds_and_fails_without_a_guard(check: ModelCheck, tmp_path: Path):
    if missing := missing_programs():
        needs(f"{' and '.join(missing)}: apt-get install spin gcc libc6-dev")

    found = explore(check, tmp_path)

    assert (found.violation is not None) == check.fails, found
    assert bool(found.steps) == check.fails
