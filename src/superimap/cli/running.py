"""How does a command run, reach the database, and fail in one line?"""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec
from urllib.parse import parse_qs, urlsplit

from superimap.cli.output import fail
from superimap.core.errors import SuperImapError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from superimap.core.config import Settings
    from superimap.core.crypto import Vault
    from superimap.db.accounts.connections import Linked
    from superimap.db.models import Partner

P = ParamSpec("P")


class CommandError(SuperImapError):
    """A command cannot do what was asked; the sentence says why and what to do."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a command works with: the settings, the vault that opened the database, a transaction."""

    settings: Settings
    vault: Vault
    db: AsyncSession

    @property
    def https_only(self) -> bool:
        """Plain HTTP is for development."""
        return self.settings.environment == "production"


def command(function: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a coroutine function a command: what is raised on purpose becomes one line and exit code 1."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            await function(*args, **kwargs)

        with failing():
            asyncio.run(whole())

    return run


@contextmanager
def failing() -> Iterator[None]:
    """Tell what is raised on purpose in one line instead of a traceback."""
    try:
        yield
    except SuperImapError as error:
        fail(str(error))
    except BaseExceptionGroup as group:  # of a task group: services run side by side
        foreseen, unforeseen = group.split(SuperImapError)
        if foreseen is None or unforeseen is not None:
            raise
        fail(str(_first(foreseen)))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def transaction() -> AsyncIterator[Work]:
    """A transaction on the database of the settings, committed at the end.

    Opens the vault first, so that nothing is ever sealed with a wrong key.
    """
    async with database() as (settings, vault, sessionmaker), sessionmaker.begin() as db:
        yield Work(settings, vault, db)


@asynccontextmanager
async def database() -> AsyncIterator[tuple[Settings, Vault, async_sessionmaker[AsyncSession]]]:
    """The settings, the vault, and transactions on the database that the vault was proven to open."""
    from superimap.core.config import load
    from superimap.core.crypto import Vault
    from superimap.db import canaries, postgres
    from superimap.db.engine import sessions

    settings = load()
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    with explaining(settings.database_url):
        async with postgres.transaction(settings.database_url) as connection:
            await canaries.verify_vault(connection, vault)
        async with sessions(settings.database_url, pool_size=2) as sessionmaker:
            yield settings, vault, sessionmaker


async def ring(settings: Settings, endpoints: Iterable[int]) -> None:
    """Ring the doorbells of endpoints, after the commit; without Redis the sweeper finds the work."""
    from superimap.doorbells.redis import EndpointDoorbell

    async with EndpointDoorbell(settings.redis_url) as queue:
        await asyncio.gather(*map(queue.ring, endpoints))


@contextmanager
def explaining(url: str, *, hint: str = "") -> Iterator[None]:
    """Say in one sentence, and a `hint`, why the database cannot be worked with; never with its password."""
    import asyncpg
    from sqlalchemy.exc import DBAPIError, SQLAlchemyError

    from superimap.db.postgres import UNAVAILABLE

    try:
        yield
    except DBAPIError as error:
        raise CommandError(_explanation(url, error.orig or error) + hint) from None
    except (asyncpg.PostgresError, SQLAlchemyError, *UNAVAILABLE) as error:
        raise CommandError(_explanation(url, error) + hint) from None


def _explanation(url: str, error: BaseException) -> str:
    """What an error of the database means, and what to do; told by its SQLSTATE if it has one."""
    where = f"PostgreSQL at {host(url)}"
    match getattr(error, "sqlstate", None) or "":
        case "3D000":
            name = urlsplit(url).path.lstrip("/")
            return f"{where} has no database {name!r}; create it, or correct DATABASE_URL."
        case "42P01" | "42703" | "3F000":
            return f"The database at {host(url)} lacks this version's tables; run `superimap migrate`."
        case state if state.startswith("28"):
            return f"{where} refuses the user or password; correct DATABASE_URL."
        case state if not state or state[:2] in {"08", "53", "57"}:
            return f"{where} cannot be reached ({reason(error)}); start it, or correct DATABASE_URL."
    return f"{where} refused: {reason(error)}."


def host(url: str) -> str:
    """Where a database URL leads: host and port, or the folder of a socket."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]


def reason(error: BaseException | None) -> str:
    """The first line of an error, or its kind."""
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines and lines[0] else type(error).__name__


async def find_partner(db: AsyncSession, name: str) -> Partner:
    """The partner of this name or id."""
    from superimap.db.accounts import partners

    partner = await (partners.by_id(db, int(name)) if name.isdecimal() else partners.by_name(db, name))
    if partner is None:
        raise CommandError(f"There is no partner {name!r}; `superimap partners list` shows them.")
    return partner


async def find_connection(db: AsyncSession, partner: Partner, code: str, *, lock: bool = False) -> Linked:
    """The partner's connection to the provider of this code."""
    from superimap.db.accounts import connections

    linked = await connections.by_code(db, partner.id, code, lock=lock)
    if linked is None:
        raise CommandError(
            f"{partner.name} has no connection {code.upper()!r}; "
            f"`superimap connections list {partner.id}` shows them."
        )
    return linked


async def interrupted() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
