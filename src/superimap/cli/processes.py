"""The commands that run processes: each service alone, all of them in one process, and the demo."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli.output import fail
from superimap.cli.running import reporting_errors

if TYPE_CHECKING:
    from superimap.core.config import Settings
    from superimap.launch.up import Installation


DEMO_FOLDER_PREFIX = "superimap-demo-"

Data = Annotated[
    Path | None,
    typer.Option(
        metavar="FOLDER",
        help="Folder for data and key. [default: ~/.local/share/superimap; /var/lib/superimap as root]",
    ),
]
Port = Annotated[
    int | None,
    typer.Option(min=1, max=65535, metavar="PORT", help="Port of the API. [default: PORT, else 8000]"),
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (up, demo, api, idler, dispatcher):
        app.command()(command)


def api() -> None:
    """Run the REST API, with Swagger UI at /docs, until SIGTERM."""
    from superimap.launch import services

    _run_service("api", services.run_api)


def idler() -> None:
    """Run an idler, which watches mailboxes, until SIGTERM. Any number may run."""
    from superimap.launch import services

    _run_service("idler", partial(services.run_worker, services.run_idler))


def dispatcher() -> None:
    """Run a dispatcher, which sends webhooks, until SIGTERM. Any number may run."""
    from superimap.launch import services

    _run_service("dispatcher", partial(services.run_worker, services.run_dispatcher))


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="Add a demo mail server, mailbox and webhook receiver.")
    ] = False,
    data: Data = None,
    port: Port = None,
) -> None:
    """Run all services with PostgreSQL and Valkey until Ctrl-C.

    API, idler and dispatcher run in this process, the engines as its children. Data and key are kept between
    runs; with --demo they are deleted at the end.
    """
    from superimap.launch.engines import default_data_folder

    if not demo:
        _run(lambda stop: _up(data or default_data_folder(), port, stop))
        return
    if data is not None:
        fail("--demo keeps no data: leave out --data, or leave out --demo to keep data in that folder.")
    with temporary_data_folder(DEMO_FOLDER_PREFIX) as folder:
        _run(lambda stop: _up_demo(folder, port, stop))


def demo(
    mails: Annotated[
        int, typer.Option(min=1, max=100_000, metavar="NUMBER", help="Number of mails to send.")
    ] = 50,
    port: Port = None,
) -> None:
    """Send mails through all services and verify each webhook. Exit code 0 if all arrive, else 1."""
    outcome: list[str | None] = []

    async def main(stop: asyncio.Event) -> None:
        outcome.append(await _demo(folder, port, mails, stop))

    with temporary_data_folder(DEMO_FOLDER_PREFIX) as folder:
        _run(main)
    if not outcome or outcome[0] is not None:
        fail(outcome[0] or "" if outcome else "interrupted")


@contextlib.contextmanager
def temporary_data_folder(name: str) -> Iterator[Path]:
    """A temporary folder for one run, which every user may enter: for root the engines run as another user.

    Folders of this name that were left by runs that were killed are removed first.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{name}*"):
        pid = left.name.removeprefix(name).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"{name}{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o711)
        yield Path(folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _run(main: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Run until stopped. A SuperImapError becomes one line and exit code 1."""
    from superimap.core import runtime

    with reporting_errors():
        runtime.run(main)


def _run_service(process: str, service: Callable[["Settings", asyncio.Event], Awaitable[None]]) -> None:
    """Run a process of one service until it is stopped."""
    from superimap.core.reports import reporting

    async def main(stop: asyncio.Event) -> None:
        settings = _settings()
        async with reporting(process, settings):
            await service(settings, stop)

    _run(main)


async def _up(data: Path, port: int | None, stop: asyncio.Event) -> None:
    from superimap.core import runtime
    from superimap.launch import up

    async with AsyncExitStack() as stack:
        async with runtime.cancel_when(stop):
            installed = await stack.enter_async_context(up.installation(data, _overrides(port)))
            link = await up.first_operator_link(installed)
        if stop.is_set():
            return
        _set_up_log(installed.settings)
        address = installed.address
        typer.echo(f"Data        {installed.data}")
        if installed.has_new_key:
            typer.echo(
                f"Key         {installed.key_file}, created just now (mode 0600).\n"
                "            Back it up: without it the stored passwords and tokens cannot be decrypted."
            )
        typer.echo(f"API         {address}/api/v1")
        typer.echo(f"Swagger UI  {address}/docs")
        typer.echo(f"Dashboard   {address}/admin")
        if link is not None:
            typer.echo(
                f"            To sign in as {up.FIRST_OPERATOR}, set a password, within three days:\n  {link}"
            )
        typer.echo("To operate it, in another terminal:")
        typer.echo(f"  {_operator_environment(installed)}")
        typer.echo("  superimap partners create --help")
        typer.echo("Ctrl-C ends it.")
        await up.run(installed.settings, stop)


async def _up_demo(data: Path, port: int | None, stop: asyncio.Event) -> None:
    from superimap.core import runtime
    from superimap.launch import demo, up

    typer.echo("Starting PostgreSQL, Valkey, API, idler and dispatcher …")
    async with AsyncExitStack() as stack:
        async with runtime.cancel_when(stop):
            installed = await stack.enter_async_context(up.installation(data, _overrides(port)))
            stage = await stack.enter_async_context(demo.set_up_demo(installed.settings))
            link = await up.first_operator_link(installed)
        if stop.is_set():
            return
        _set_up_log(installed.settings)
        async with asyncio.TaskGroup() as group:
            group.create_task(up.run(installed.settings, stop))
            showing = group.create_task(demo.run_demo(stage, installed.address, typer.echo, dashboard=link))
            await stop.wait()
            showing.cancel()
    typer.echo("All processes have ended.")


async def _demo(data: Path, port: int | None, mails: int, stop: asyncio.Event) -> str | None:
    """Run the demo; returns None if every mail produced a verified webhook, else what went wrong."""
    from superimap.core import runtime
    from superimap.launch import demo, up

    async with AsyncExitStack() as stack:
        async with runtime.cancel_when(stop):
            installed = await stack.enter_async_context(up.installation(data, _overrides(port)))
            stage = await stack.enter_async_context(demo.set_up_demo(installed.settings))
        if stop.is_set():
            return "interrupted"
        _set_up_log(installed.settings)
        async with asyncio.TaskGroup() as group:
            group.create_task(up.run(installed.settings, stop))
            try:
                return await demo.verify_mails(stage, mails, typer.echo, stop)
            finally:
                stop.set()


def _settings() -> "Settings":
    from superimap.core import environment

    settings = environment.load_settings()
    _set_up_log(settings)
    return settings


def _set_up_log(settings: "Settings") -> None:
    from superimap.core import log

    log.configure_logging(level=settings.log_level, form=settings.log_format)


def _overrides(port: int | None) -> dict[str, object]:
    return {} if port is None else {"port": port}


def _operator_environment(installed: "Installation") -> str:
    """The shell command that exports the variables with which commands reach this database."""
    from superimap.core.environment import is_given

    key = "" if is_given("encryption_key") else f"ENCRYPTION_KEY_FILE={installed.key_file} "
    return (
        f"export DATABASE_URL='{installed.settings.database_url}' "
        f"{key}ENVIRONMENT={installed.settings.environment}"
    )
