"""The pages agree with the code: settings, metrics, commands, and links between pages."""

from __future__ import annotations

import ast
import functools
import json
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import pytest
import typer.main
from pydantic_core import PydanticUndefined

from docs._sphinx import tables
from superimap.cli import app
from superimap.core import environment
from superimap.core.config import Settings
from superimap.core.environment import secret_fields, variable_name, variable_names
from superimap.core.secret_files import FILE_SUFFIX
from superimap.domain.presets import presets
from superimap.oauth import return_urls
from superimap.testing.chaos.scenario import Scenario
from tests.support.pages import (
    API,
    DECISIONS,
    OPERATIONS,
    PAGES,
    README,
    ROOT,
    blocks,
    first_cells,
    rows,
    section,
)


def default_of(field: str) -> str:
    """A field's default as docs/operations.md writes it."""
    default = Settings.model_fields[field].default
    if default is PydanticUndefined:
        return "required"
    if default in ("", (), None):
        return "empty"
    return f"`{default:g}`" if isinstance(default, float) else f"`{default}`"


@pytest.mark.parametrize("field", Settings.model_fields)
def test_operations_lists_every_setting_with_its_default_and_meaning(field):
    listed = {row[0]: row[1:] for row in rows(section(OPERATIONS, "Settings"))}
    described = " ".join((Settings.model_fields[field].description or "").split())

    assert listed[f"`{environment.variable_name(field)}`"] == [default_of(field), described]


def test_api_lists_every_reason_code_appended_to_a_return_url():
    listed = {row[0].strip("`") for row in rows(section(API, "Links for people")) if row[0].startswith("`")}

    assert {*return_urls.FailureReason} == listed - {
        "connect_url`, OAUTH2",
        "connect_url`, PLAIN",
        "disconnect_url",
    } - {
        return_urls.RESULT,
        return_urls.REASON,
        return_urls.TAG,
    }


def test_operations_lists_only_existing_settings():
    real = {name for field in Settings.model_fields for name in variable_names(field)}

    assert first_cells(section(OPERATIONS, "Settings")) <= real


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_code_words_in_capitals_are_settings(page):
    real = {name for field in Settings.model_fields for name in variable_names(field)}
    known = {
        "POSTGRES_PASSWORD",
        *(f"{variable_name(field)}{FILE_SUFFIX}" for field in secret_fields()),
        "SUPERIMAP_TEST",
        "HTTPS_PROXY",
        "AWS_ACCESS_KEY_ID",
        "AWS_ALLOW_HTTP",
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_SECRET_ACCESS_KEY",
        "SUPERIMAP_VENV",
        "SUPERIMAP_NO_APT",
        "RETRY_SCHEDULE_SECONDS",
        "RULE_HEADERS",
        *("LENGTH_OF_TEST", "EMAILS_PER_MINUTE", "ENABLE_CHAOS"),  # of `superimap stress`
        *(preset.code for preset in presets()),
    }
    said = set(re.findall(r"`([A-Z]+(?:_[A-Z0-9]+)+)`", page.read_text()))

    assert said <= real | known


def our_metrics() -> set[str]:
    """The names of all metrics that are registered when the modules of every process are loaded."""

    return {
        family.name for family in prometheus_client.REGISTRY.collect() if family.name.startswith("superimap")
    }


def test_operations_lists_exactly_the_metrics_of_the_code():
    assert {
        name for name in first_cells(section(OPERATIONS, "Metrics")) if name.startswith("superimap_")
    } == our_metrics()


def test_generated_tables_are_those_of_the_code():
    """`make docs` rewrites them; they are not edited by hand."""
    texts = [page.read_text() for page in tables.PAGES]

    assert set(re.findall(r"<!-- generated: (\w+) -->", "".join(texts))) == tables.TABLES.keys()
    assert [tables.render(text) for text in texts] == texts


def test_a_mail_passes_few_modules_on_its_way():
    """From the push of the mail server to the doorbell, as docs/architecture.md lists them, each once."""
    steps = section(ROOT / "docs/architecture.md", "Path of a mail").partition("The dispatcher continues")[0]
    modules = re.findall(r"`([a-z_/]+\.py)`", steps)

    assert len(modules) == len(set(modules)) <= 12


def test_logged_messages_in_operations_are_in_the_code():
    source = "\n".join(path.read_text() for path in (ROOT / "src").rglob("*.py"))

    for message in first_cells(section(OPERATIONS, "Logs")):
        assert message in source, message


def command_lines() -> Iterator[tuple[str, str]]:
    """Every command line that starts with `superimap`, in shell blocks and in running text, with its page."""
    for page in PAGES:
        text = page.read_text()
        found = [
            line
            for block in blocks(page, "sh")
            for line in re.findall(r"(?:^|\| )(superimap [^|#\n]+)", block, re.M)
        ]
        prose = re.sub(r"```.*?```", "", text, flags=re.S)
        # A command may be broken where its line ends, but not across paragraphs.
        prose = re.sub(r"(?<!\n)\n[ ]*(?!\n)", " ", prose)
        found += re.findall(r"`(superimap [a-z][^`\n…]*)`", prose)
        found += [
            line.replace("docker compose run --rm operator", "superimap")
            for line in re.findall(r"docker compose run --rm operator [^`\n]+", text)
        ]
        for line in dict.fromkeys(found):
            yield page.name, line.strip()


@functools.cache
def whole_command() -> Any:
    return typer.main.get_command(app)


@pytest.mark.parametrize(("page", "line"), list(command_lines()))
def test_commands_of_the_pages_parse(page, line):
    words = shlex.split(line)[1:]
    command = whole_command()
    is_mention = all(re.fullmatch(r"[a-z-]+", word) for word in words)
    while getattr(command, "commands", None) and words:
        if words[0] in {"--help", "COMMAND"}:
            return
        assert words[0] in command.commands, f"{page}: there is no {line!r}"
        command = command.commands[words.pop(0)]
    if "--help" in words or (is_mention and not words):
        return
    known = {option for parameter in command.params for option in parameter.opts}
    assert {word for word in words if word.startswith("--")} <= known, line
    command.make_context(command.name, words)


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as code hosts derive them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    headings = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_link_targets_exist(page):
    text = re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        found = (page.parent / path).resolve() if path else page
        assert found.exists(), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(found), f"{page.name}: {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_page_is_linked_from_another(page):
    if page == README or page.name == "index.md":  # the front pages
        return
    others = [other for other in PAGES if other != page]
    targets = {
        (other.parent / target.partition("#")[0]).resolve()
        for other in others
        for target in re.findall(r"\]\(([^)\s]+)\)", other.read_text())
    }

    assert page.resolve() in targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_a_page_names_exist(page):
    text = page.read_text()
    folders = "src|docs|tests|trials|benchmarks|migrations|deploy"
    named = re.findall(rf"`((?:\w+/)+\w+\.py|(?:{folders})/[\w./-]*)`", text)

    for path in named:
        assert any((ROOT / place / path).exists() for place in ("", "src/superimap", "tests")), path


def test_the_index_of_decisions_lists_every_decision_by_its_title():
    index = (ROOT / "docs/decisions/README.md").read_text()

    for page in DECISIONS:
        number, _, title = page.read_text().splitlines()[0].removeprefix("# ").partition(". ")
        assert f"| [{int(number):04}]({page.name}) | {title} |" in index, page.name


@pytest.mark.parametrize("page", DECISIONS, ids=lambda page: page.stem)
def test_decisions_have_the_required_sections(page):
    text = page.read_text()

    assert text.startswith(f"# {int(page.name[:4])}. ")
    assert re.findall(r"^## (.+)$", text, re.M) in (
        ["Context", "Decision", "Consequences"],
        ["Context", "Decision", "Alternatives", "Consequences"],
    )
    assert 15 <= len(text.splitlines()) <= 35


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_prose_is_wrapped(page):
    text = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S)

    for line in text.splitlines():
        assert len(line) <= 120 or line.startswith("|"), line


def project_files() -> list[Path]:
    """The files of the repository that we wrote, without third-party files."""
    left_out = {"node_modules", "__pycache__", "swagger-ui"}
    return [
        path
        for path in ROOT.rglob("*")
        if path.is_file()
        and not any(
            part in left_out or (part.startswith(".") and part != ".ci")
            for part in path.relative_to(ROOT).parts[:-1]
        )
        and path.stat().st_size < 2_000_000
    ]


def test_the_scenario_in_operations_is_valid():
    [written] = blocks(ROOT / "docs/operations.md", "toml")

    [case] = Scenario.loads(written).cases

    assert case.keys() >= {"name", "rate", "only", "times", "after", "until"}


def test_no_file_names_a_package_index_or_a_path_outside_the_repository():
    # Assembled from parts, so that this file does not contain them either.
    unwanted = [
        "../" + "shared",
        "pypi" + ".org",
        "python" + "hosted",
        "npm" + "js.org",
        "npm" + "js.com",
        "proxy.golang" + ".org",
    ]
    for path in project_files():
        try:
            text = path.read_text()
        except UnicodeDecodeError:
            continue
        found = [name for name in unwanted if name in text]
        assert not found, f"{path.relative_to(ROOT)} names {found}"


def test_python_blocks_compile_and_import_only_the_standard_library():
    for page in PAGES:
        for block in blocks(page, "python"):
            tree = ast.parse(block)
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        assert alias.name in sys.stdlib_module_names, f"{page.name} imports {alias.name}"


def test_json_blocks_are_valid_json():
    for page in PAGES:
        for block in blocks(page, "json"):
            json.loads(block)
