"""The commands that run: each service on its own, all of them at once, and the demo."""

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from superimap.cli.output import fail
from superimap.cli.running import failing

if TYPE_CHECKING:
    from superimap.core.config import Settings
    from superimap.launch.up import House

RUN = "Run"
SCRATCH = "superimap-demo-"

Data = Annotated[
    Path | None,
    typer.Option(
        help="Folder for data and key. [default: ~/.local/share/superimap; /var/lib/superimap as root]"
    ),
]
Port = Annotated[
    int | None, typer.Option(min=1, max=65535, help="Port of the API. [default: PORT, else 8000]")
]


def register(app: typer.Typer) -> None:
    """Add the commands to `app`."""
    for command in (up, demo, api, idler, dispatcher):
        app.command(rich_help_panel=RUN)(command)


def api() -> None:
    """Run the REST API (and Swagger UI at /docs) until SIGTERM."""
    from superimap.launch import services

    _run(lambda stop: services.api(_settings(), stop))


def idler() -> None:
    """Run an idler: watch mailboxes until SIGTERM. Run as many as you like."""
    from superimap.launch import services

    _run(lambda stop: services.alone(services.idler, _settings(), stop))


def dispatcher() -> None:
    """Run a dispatcher: send webhooks until SIGTERM. Run as many as you like."""
    from superimap.launch import services

    _run(lambda stop: services.alone(services.dispatcher, _settings(), stop))


def up(
    demo: Annotated[
        bool, typer.Option("--demo", help="With a mail server, a mailbox and a receiver to look at.")
    ] = False,
    data: Data = None,
    port: Port = None,
) -> None:
    """Run everything on this machine: PostgreSQL, Valkey, API, idler, dispatcher. Ctrl-C ends it.

    Data and key are kept between runs; with --demo they are thrown away.
    """
    from superimap.launch.engines import default_data_folder

    if not demo:
        _run(lambda stop: _up(data or default_data_folder(), port, stop))
        return
    if data is not None:
        fail("--demo keeps nothing: leave out --data, or leave out --demo to keep data there.")
    with _scratch() as folder:
        _run(lambda stop: _up_demo(folder, port, stop))


def demo(
    mails: Annotated[int, typer.Option(min=1, max=100_000, help="How many mails to send.")] = 50,
    port: Port = None,
) -> None:
    """Send mails through everything, check each webhook, and end: with 0 if all is well, else with 1."""
    outcome: list[str | None] = []

    async def main(stop: asyncio.Event) -> None:
        outcome.append(await _demo(folder, port, mails, stop))

    with _scratch() as folder:
        _run(main)
    if not outcome or outcome[0] is not None:
        fail(outcome[0] or "" if outcome else "interrupted")


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A folder for one demo. Others may pass through it: as root the engines run as another user.

    Folders of demos that were killed are removed on the way.
    """
    for left in Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        pid = left.name.removeprefix(SCRATCH).partition("-")[0]
        if pid.isdecimal() and not _is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"{SCRATCH}{os.getpid()}-"
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
    """Run until stopped; what is raised on purpose is one line and exit code 1."""
    from superimap.core import runtime

    with failing():
        runtime.run(main)


async def _up(data: Path, port: int | None, stop: asyncio.Event) -> None:
    from superimap.core import runtime
    from superimap.launch import up

    async with AsyncExitStack() as stack:
        async with runtime.until(stop):
            house = await stack.enter_async_context(up.house(data, _overrides(port)))
        if stop.is_set():
            return
        _log(house.settings)
        address = house.address
        typer.echo(f"Data        {house.data}")
        if house.has_new_key:
            typer.echo(
                f"Key         {house.key_file}, made just now (mode 0600).\n"
                "            Back it up: without it nobody can read the stored passwords and tokens."
            )
        typer.echo(f"API         {address}/api/v1")
        typer.echo(f"Swagger UI  {address}/docs")
        typer.echo("To operate it, in another terminal:")
        typer.echo(f"  {_operate(house)}")
        typer.echo("  superimap partners create --help")
        typer.echo("Ctrl-C ends it.")
        await up.run(house.settings, stop)


async def _up_demo(data: Path, port: int | None, stop: asyncio.Event) -> None:
    from superimap.core import runtime
    from superimap.launch import demo, up

    typer.echo("Starting PostgreSQL, Valkey, API, idler and dispatcher …")
    async with AsyncExitStack() as stack:
        async with runtime.until(stop):
            house = await stack.enter_async_context(up.house(data, _overrides(port)))
            stage = await stack.enter_async_context(demo.stage(house.settings))
        if stop.is_set():
            return
        _log(house.settings)
        async with asyncio.TaskGroup() as group:
            group.create_task(up.run(house.settings, stop))
            showing = group.create_task(demo.show(stage, house.address, typer.echo))
            await stop.wait()
            showing.cancel()
    typer.echo("All ended.")


async def _demo(data: Path, port: int | None, mails: int, stop: asyncio.Event) -> str | None:
    """None if every mail gave a verified webhook, else what went wrong."""
    from superimap.core import runtime
    from superimap.launch import demo, up

    async with AsyncExitStack() as stack:
        async with runtime.until(stop):
            house = await stack.enter_async_context(up.house(data, _overrides(port)))
            stage = await stack.enter_async_context(demo.stage(house.settings))
        if stop.is_set():
            return "interrupted"
        _log(house.settings)
        async with asyncio.TaskGroup() as group:
            group.create_task(up.run(house.settings, stop))
            try:
                return await demo.prove(stage, mails, typer.echo, stop)
            finally:
                stop.set()


def _settings() -> "Settings":
    from superimap.core import config

    settings = config.load()
    _log(settings)
    return settings


def _log(settings: "Settings") -> None:
    from superimap.core import log

    log.set_up(level=settings.log_level, form=settings.log_format)


def _overrides(port: int | None) -> dict[str, object]:
    return {} if port is None else {"port": port}


def _operate(house: "House") -> str:
    """The variables with which the operator's commands find this database."""
    key = '"$ENCRYPTION_KEY"' if "ENCRYPTION_KEY" in os.environ else f'"$(cat {house.key_file})"'
    return (
        f"export DATABASE_URL='{house.settings.database_url}' "
        f"ENCRYPTION_KEY={key} ENVIRONMENT={house.settings.environment}"
    )
