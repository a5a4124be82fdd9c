"""The command `superimap stress`: mail for many users while everything fails, with a verdict and a report."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

from superimap.cli import output
from superimap.cli.processes import temporary_data_folder
from superimap.cli.running import CommandError, reporting_errors

if TYPE_CHECKING:
    from superimap.launch.stress.plan import StressPlan
    from superimap.launch.stress.verdict import StressVerdict

DATA_FOLDER_PREFIX = "superimap-stress-"
OPEN_FILES_BESIDE_SESSIONS = 512
WRONG_USAGE = 2
"""Exit code of other commands if their options are wrong."""
_REPORT_FILE = re.compile(
    r"report\.html|verdict\.json|(?:generated|fetched)_emails\.csv|(?:events|resources|stores)\.csv"
    r"|processed_emails_partner[0-9]+\.csv|(?:api|idler|dispatcher)[0-9]+\.log"
)
"""Names of what a test writes. Other files in the folder are the user's, and stay."""

Minutes = Annotated[
    float,
    typer.Option(
        min=0.1, max=100_000, metavar="MINUTES", envvar="LENGTH_OF_TEST", help="Time for which mail arrives."
    ),
]
Rate = Annotated[
    float,
    typer.Option(min=1, max=100_000, metavar="NUMBER", envvar="EMAILS_PER_MINUTE", help="Mails a minute."),
]
HasChaos = Annotated[
    bool,
    typer.Option(
        "--chaos/--no-chaos", envvar="ENABLE_CHAOS", help="Let the mail server and receivers misbehave."
    ),
]


class _StressCommand(TyperCommand):
    """A command for which wrong options are no verdict: exit code 2 says that the machine was too slow."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse the arguments. Raises the errors of typer."""
        try:
            return super().make_context(*args, **options)
        except Exception as error:  # typer has no public class for its errors of usage
            if getattr(error, "exit_code", 0) == WRONG_USAGE:
                error.exit_code = 1  # type: ignore[attr-defined]
            raise


def register(app: typer.Typer) -> None:
    """Add the command to `app`."""
    app.command(cls=_StressCommand)(stress)


def stress(
    *,
    minutes: Minutes = 1.0,
    emails_per_minute: Rate = 500.0,
    chaos: HasChaos = True,
    kills: Annotated[
        bool, typer.Option("--kills", help="kill -9 idlers and dispatchers, and start them again.")
    ] = False,
    freezes: Annotated[
        bool, typer.Option("--freezes", help="Stop idlers until their leases have ended, and continue them.")
    ] = False,
    restart_every: Annotated[
        float, typer.Option(min=0, metavar="MINUTES", help="Interval of rolling restarts; 0: none.")
    ] = 0.0,
    users: Annotated[int, typer.Option(min=1, max=10_000, metavar="NUMBER", help="Number of users.")] = 1000,
    idlers: Annotated[int, typer.Option(min=1, max=50, metavar="NUMBER", help="Number of idlers.")] = 3,
    dispatchers: Annotated[
        int, typer.Option(min=1, max=50, metavar="NUMBER", help="Number of dispatchers.")
    ] = 2,
    seed: Annotated[int, typer.Option(metavar="SEED", help="Random seed of mails, faults and kills.")] = 1,
    latency_limit: Annotated[
        float, typer.Option(min=0.01, metavar="SECONDS", help="Limit of the 99th percentile outside faults.")
    ] = 2.0,
    memory_slope: Annotated[
        float, typer.Option(min=0, metavar="MIB", help="Limit of the growth of a process's memory a minute.")
    ] = 0.1,
    report: Annotated[
        Path, typer.Option(metavar="FOLDER", help="Folder for report.html, verdict.json and CSV files.")
    ] = Path("stress-report"),
) -> None:
    """Test all processes under load and faults. Exit code 0: passed, 1: failed, 2: machine too slow.

    Runs its own PostgreSQL and Valkey, or those of DATABASE_URL and REDIS_URL, which must be empty. Everything
    listens on the loopback address.
    """
    from superimap.launch.stress.plan import StressLimits, StressPlan

    plan = StressPlan(
        seconds=60 * minutes,
        emails_per_minute=emails_per_minute,
        users=users,
        idlers=idlers,
        dispatchers=dispatchers,
        has_chaos=chaos,
        has_kills=kills,
        has_freezes=freezes,
        restart_every=60 * restart_every,
        seed=seed,
        limits=StressLimits(latency=latency_limit, memory_slope=memory_slope),
    )
    with reporting_errors():
        _prepare_folder(report)
        _allow_files(users)
        verdict = _run(plan, report)
    raise typer.Exit(verdict.exit_code)


def _prepare_folder(folder: Path) -> None:
    """Create the folder, and delete what an earlier test wrote there. Raises CommandError if it cannot."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            if _REPORT_FILE.fullmatch(path.name) and path.is_file():
                path.unlink()
    except OSError as error:
        raise CommandError(f"Cannot write to {folder}: {error.strerror}; choose another --report.") from None


def _allow_files(users: int) -> None:
    """Raise the soft limit of open files, which the processes under test inherit."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * users + OPEN_FILES_BESIDE_SESSIONS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            raise CommandError(
                f"{users} users need {wanted} open files and {hard} are allowed; use fewer --users."
            )
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _run(plan: StressPlan, folder: Path) -> StressVerdict:
    from rich.console import Console

    from superimap.launch.stress.progress import showing
    from superimap.launch.stress.report import write_report
    from superimap.launch.stress.run import run_stress

    with temporary_data_folder(DATA_FOLDER_PREFIX) as data, showing(plan, Console()) as show:
        seen, verdict = asyncio.run(run_stress(plan, folder, data, show))
    page = write_report(folder, plan, seen, verdict)
    _print_verdict(verdict)
    output.print_line(f"Report: {page}")
    return verdict


def _print_verdict(verdict: StressVerdict) -> None:
    """Print the checks that were judged, each in one line, and the verdict."""
    from superimap.launch.stress.verdict import CheckState

    for check in verdict.checks:
        if check.state is not CheckState.NOT_JUDGED:
            output.print_line(f"{check.state.value:7} {check.name:26} {check.measured}")
    skipped = sum(check.state is CheckState.NOT_JUDGED for check in verdict.checks)
    if skipped:
        output.print_line(f"{skipped} checks were not judged: the run was too short for them.")
    parts = ", ".join(f"{count:,} {name}" for name, count in verdict.account.parts.items())
    output.print_line(f"{verdict.account.sent:,} mails sent = {parts}")
    output.print_line(f"Verdict: {verdict.word}")
