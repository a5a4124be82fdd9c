"""Tables in the documentation that are generated from the code: settings, metrics, commands and presets.

`python docs/_sphinx/tables.py` rewrites every block between `<!-- generated: NAME -->` and `<!-- end -->` in
the pages of PAGES. `tests/test_docs.py` fails while a block differs from the code.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import prometheus_client
import typer.main
from prometheus_client.metrics import MetricWrapperBase
from pydantic_core import PydanticUndefined

ROOT = Path(__file__).resolve().parents[2]
PAGES = (ROOT / "docs/operations.md", ROOT / "docs/providers.md", ROOT / "docs/scaling.md")
BLOCK = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)", re.S)


def table(headings: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table; cells must not contain an unescaped `|`."""
    head = list(headings)
    lines = [head, ["---"] * len(head), *map(list, rows)]
    return (
        "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        .replace("| --- |", "|---|")
        .replace(" --- |", "---|")
    )


def settings() -> str:
    """Every setting with its variable, default and description."""
    from superimap.core.config import Settings
    from superimap.core.environment import variable_name

    def default(value: object) -> str:
        if value is PydanticUndefined:
            return "required"
        if value in ("", (), None):
            return "empty"
        return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"

    fields = Settings.model_fields.items()
    return table(
        ("Variable", "Default", "Meaning"),
        (
            (f"`{variable_name(name)}`", default(field.default), " ".join((field.description or "").split()))
            for name, field in fields
        ),
    )


def metrics() -> str:
    """Every metric with its type, labels and description."""
    from superimap.core import metrics as ours

    found = [each for each in vars(ours).values() if isinstance(each, MetricWrapperBase)]
    return table(("Metric", "Type", "Meaning"), map(_metric, found))


def _metric(metric: MetricWrapperBase) -> tuple[str, str, str]:
    kinds = {prometheus_client.Counter: "counter", prometheus_client.Gauge: "gauge"}
    kind = kinds.get(type(metric), "histogram")
    labels = ", ".join(
        f"`{label}`" for label in metric._labelnames
    )  # prometheus_client has no public name for it
    return f"`{metric._name}`", f"{kind}, by {labels}" if labels else kind, metric._documentation


def l2met() -> str:
    """Every name of the original's metrics: what its value is here, or why it is not printed."""
    from superimap.core import l2met as ours

    def source(line: ours.MetricLine) -> str:
        labels = "; ".join(f"{name} {', '.join(values)}" for name, values in line.labels.items() if values)
        return f"`{line.metric}`" + (f" ({labels})" if labels else "")

    sent = [
        (f"`{each.name}`", each.mode, source(each), f"{each.meaning}.") for each in (*ours.LINES, ours.ERRORS)
    ]
    never = [(f"`{name}`", "–", "–", f"Not printed. {reason}.") for name, reason in ours.NEVER_SENT.items()]
    return table(("Name of the original", "Mode", "Metric", "Meaning"), sent + never)


def commands() -> str:
    """Every command of `superimap` with the first line of its help."""
    from superimap.cli import app

    return table(
        ("Command", "Description"),
        (
            (f"`superimap {words}`", " ".join((command.help or "").splitlines()[0].split()))
            for words, command in leaves(typer.main.get_command(app))
        ),
    )


def benchmarks() -> str:
    """Every benchmark with the first line of its help."""
    sys.path.insert(0, str(ROOT))
    from benchmarks.__main__ import app

    return table(
        ("Command", "Measurement"),
        (
            (f"`python -m benchmarks {words}`", " ".join((command.help or "").splitlines()[0].split()))
            for words, command in leaves(typer.main.get_command(app))
        ),
    )


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every command below `command` with its words."""
    below = getattr(command, "commands", None)
    if below is None:
        yield " ".join(path), command
        return
    for name, one in below.items():
        yield from leaves(one, (*path, name))


def presets() -> str:
    """Every provider preset with its server and the watch settings that differ from the defaults."""
    from superimap.domain.presets import presets as all_presets
    from superimap.domain.providers import WatchSettings

    def watch_settings(preset: Any) -> str:
        given = {name: getattr(preset, name) for name in sorted(WatchSettings.__annotations__)}
        shown = {name: f"{value:g}" if isinstance(value, float) else value for name, value in given.items()}
        return ", ".join(f"`{name}={value}`" for name, value in shown.items() if value is not None)

    def server(preset: Any) -> str:
        if preset.host_by_user:
            return "set for each user"
        return "set it first" if preset.imap_host.endswith(".invalid") else f"`{preset.imap_host}`"

    return table(
        ("Code", "Provider (sign-in)", "IMAP server", "Watch settings"),
        (
            (f"`{preset.code}`", preset.title, server(preset), watch_settings(preset))
            for preset in all_presets()
        ),
    )


def sizes() -> str:
    """What some installations need, as `superimap plan` computes it."""
    import json

    from superimap.cli.plan import coefficients_file
    from superimap.cli.plan_lines import number
    from superimap.domain.bottlenecks import bottlenecks
    from superimap.domain.capacity import GB_BYTES, compute
    from superimap.domain.coefficients import read_coefficients
    from superimap.domain.demand import Demand

    known = read_coefficients(json.loads(coefficients_file().read_text())["coefficients"])

    def row(mailboxes: int, zones: int, *, has_pooler: bool) -> Iterator[str]:
        demand = Demand(mailboxes, mailboxes * 20, partners=10, zones=zones, has_pooler=has_pooler)
        found = compute(demand, known)
        first = bottlenecks(found)[0]
        yield f"{mailboxes:,}{', `--pooler`' if has_pooler else ''}"
        yield f"{found.idlers:,} + {found.dispatchers:,} + {found.apis:,}"
        yield f"{number(found.idler_cores + found.dispatcher_cores)} + {number(found.postgres_cores)}"
        memory = found.idler_mib + found.dispatcher_mib + found.api_mib
        yield f"{number(memory / 1024)} + {number(found.postgres_mib / 1024)}"
        yield f"{found.connections:,.0f}"
        yield f"{number(found.wal_per_day / GB_BYTES)}, {number(found.disk_bytes / GB_BYTES)}"
        yield f"{first.name}, {first.use:.0%}"

    headings = (
        "Mailboxes",
        "Idlers, dispatchers, APIs",
        "Cores: services + PostgreSQL",
        "GiB: services + PostgreSQL",
        "Connections",
        "GB: WAL a day, disk",
        "First limit, use",
    )
    plans = ((10, 1, False), (1000, 1, False), (100_000, 3, False), (1_000_000, 3, False))
    plans += ((1_000_000, 3, True), (10_000_000, 3, True))
    return table(headings, (row(count, zones, has_pooler=pooler) for count, zones, pooler in plans))


def partner_columns() -> str:
    """What stands in the way of distributing the tables by partner."""
    sys.path.insert(0, str(ROOT))
    from docs._sphinx.partner_columns import obstacles

    return table(("Kind", "Found"), obstacles())


TABLES: dict[str, Callable[[], str]] = {
    "settings": settings,
    "metrics": metrics,
    "l2met": l2met,
    "commands": commands,
    "benchmarks": benchmarks,
    "presets": presets,
    "sizes": sizes,
    "partner_columns": partner_columns,
}


def render(text: str) -> str:
    """`text` with every generated block as the code has it now. Raises KeyError for an unknown block."""
    return BLOCK.sub(lambda block: f"{block[1]}{TABLES[block[2]]()}{block[3]}", text)


if __name__ == "__main__":
    for page in PAGES:
        page.write_text(render(page.read_text()))
