"""Progress of a stress test: a bar on a terminal, and lines elsewhere."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bar

from superimap.charts.axes import elapsed_text
from superimap.launch.stress.plan import StressPlan
from superimap.launch.stress.run import Progress, Show

LINE_INTERVAL_SECONDS = 10.0
BAR_WIDTH_CHARACTERS = 16


@contextlib.contextmanager
def showing(plan: StressPlan, console: Console) -> Iterator[Show]:
    """Show progress on a console for the length of the block."""
    if not console.is_terminal:
        yield _Lines(plan, console).show
        return
    columns = (TextColumn("{task.description}"), BarColumn(bar_width=BAR_WIDTH_CHARACTERS))
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("starting", total=max(plan.seconds, 1.0))

        def show(progress: Progress) -> None:
            bar.update(task, completed=min(progress.seconds, plan.seconds), description=describe(progress))

        yield show


class _Lines:
    """A line for each phase, and one now and then while it lasts."""

    def __init__(self, plan: StressPlan, console: Console) -> None:
        self._plan = plan
        self._console = console
        self._phase = ""
        self._due = 0.0

    def show(self, progress: Progress) -> None:
        """Print a line if it is time."""
        now = time.monotonic()
        if progress.phase == self._phase and now < self._due:
            return
        self._phase, self._due = progress.phase, now + LINE_INTERVAL_SECONDS
        self._console.print(describe(progress), highlight=False, soft_wrap=True)


def describe(progress: Progress) -> str:
    """Return one line of at most 62 characters, so that it and a bar fit a terminal of 80."""
    if not progress.sent:
        waiting = f" ({progress.idle:,} watched)" if progress.idle else ""
        return f"{progress.phase}{waiting}"
    return (
        f"{elapsed_text(progress.seconds)} {progress.sent:,} sent, {progress.accepted:,} accepted, "
        f"{progress.strikes:,} faults"
    )
