"""How commands run: errors in one line, the database, and lookups that many commands share."""

from __future__ import annotations

import asyncio
import functools
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ParamSpec
from urllib.parse import parse_qs, urlsplit

from superimap.cli.actor import operator
from superimap.cli.output import fail
from superimap.core.errors import SuperImapError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker

    from superimap.core.config import Settings
    from superimap.core.crypto import Vault
    from superimap.db.accounts.connections import ProviderConnection
    from superimap.db.models import Partner

P = ParamSpec("P")


class CommandError(SuperImapError):
    """A command cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class CommandContext:
    """The settings, the vault that fits the database, and a transaction in it."""

    settings: Settings
    vault: Vault
    db: AsyncSession

    @property
    def https_only(self) -> bool:
        """Whether plain HTTP URLs are refused, as they are in production."""
        return self.settings.environment == "production"


def command(function: Callable[P, Awaitable[None]]) -> Callable[P, None]:
    """Make a coroutine function a command: a SuperImapError becomes one line and exit code 1."""

    @functools.wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        async def whole() -> None:
            await function(*args, **kwargs)

        with reporting_errors():
            asyncio.run(whole())

    return run


@contextmanager
def reporting_errors() -> Iterator[None]:
    """Print a SuperImapError in one line instead of a traceback, and exit with code 1."""
    try:
        yield
    except SuperImapError as error:
        fail(str(error))
    except BaseExceptionGroup as group:  # of a task group: services run side by side
        expected, unexpected = group.split(SuperImapError)
        if expected is None or unexpected is not None:
            raise
        fail(str(_first(expected)))


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


@asynccontextmanager
async def transaction() -> AsyncIterator[CommandContext]:
    """A transaction on the database of the settings, committed at the end.

    The key is checked first, so that nothing is ever encrypted with a wrong one.
    """
    async with database() as (settings, vault, sessionmaker), sessionmaker.begin() as db:
        yield CommandContext(settings, vault, db)


@asynccontextmanager
async def database() -> AsyncIterator[tuple[Settings, Vault, async_sessionmaker[AsyncSession]]]:
    """The settings, the vault, and transactions on the database, once the key is known to fit it."""
    from superimap.core.crypto import Vault
    from superimap.core.environment import load_settings
    from superimap.db import audit, canaries, postgres
    from superimap.db.accounts import api_keys, quotas
    from superimap.db.engine import sessions
    from superimap.db.key_usage import record_seals
    from superimap.domain.quotas import Quota

    settings = load_settings()
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    with explaining_database_errors(settings.database_url):
        async with postgres.transaction(settings.database_url) as connection:
            await canaries.verify_vault(connection, vault)
        async with sessions(settings.database_url, pool_size=2) as sessionmaker:
            limits = {Quota(name): most for name, most in settings.quotas.items()}
            info = {audit.ACTOR: operator(), quotas.LIMITS: limits, api_keys.CELL: settings.cell}
            sessionmaker.configure(info=info)
            yield settings, vault, sessionmaker
        await record_seals(settings.database_url, vault)


async def ring(settings: Settings, endpoints: Iterable[int]) -> None:
    """Ring the doorbells of endpoints, after the commit; without Redis the sweeper finds the deliveries."""
    from superimap.doorbells.redis import EndpointDoorbell

    async with EndpointDoorbell(settings.redis_url) as queue:
        await asyncio.gather(*map(queue.ring, endpoints))


@contextmanager
def explaining_database_errors(url: str, *, hint: str = "") -> Iterator[None]:
    """Raise database errors as a CommandError: one sentence and `hint`, never with the password."""
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
    """The meaning of a database error and what to do about it."""
    from superimap.db.failures import DatabaseFailure, classify

    where = f"PostgreSQL at {host(url)}"
    state = getattr(error, "sqlstate", None) or ""
    match classify(error):
        case DatabaseFailure.REFUSED if state == "3D000":
            name = urlsplit(url).path.lstrip("/")
            return f"{where} has no database {name!r}; create it, or correct DATABASE_URL."
        case DatabaseFailure.OUTDATED:
            return f"The database at {host(url)} lacks this version's tables; run `superimap migrate`."
        case DatabaseFailure.REFUSED if state.startswith("28"):
            return f"{where} refuses the user or password; correct DATABASE_URL."
        case DatabaseFailure.REFUSED if state == "42501":
            return (
                f"{where} does not let the user of DATABASE_URL do this ({reason(error)}). `migrate` and "
                "`purge-audit` need the owner of the tables, all other commands the role superimap_operator."
            )
        case (
            DatabaseFailure.UNREACHABLE | DatabaseFailure.OUT_OF_RESOURCES | DatabaseFailure.CONTENDED | None
        ):
            return f"{where} cannot be reached ({reason(error)}); start it, or correct DATABASE_URL."
    return f"{where} refused: {reason(error)}."


def host(url: str) -> str:
    """The host and port of a database URL, or the folder of its socket."""
    parts = urlsplit(url)
    return parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]


def reason(error: BaseException | None) -> str:
    """The first line of an error, or the name of its class."""
    lines = str(error).splitlines()
    return lines[0].rstrip(".") if lines and lines[0] else type(error).__name__


async def find_partner(db: AsyncSession, name: str) -> Partner:
    """The partner with this name or id. Raises CommandError if there is none."""
    from superimap.db.accounts import partners

    partner = await (partners.by_id(db, int(name)) if name.isdecimal() else partners.by_name(db, name))
    if partner is None:
        raise CommandError(f"There is no partner {name!r}; `superimap partners list` shows them.")
    return partner


async def find_connection(
    db: AsyncSession, partner: Partner, code: str, *, lock: bool = False
) -> ProviderConnection:
    """The partner's connection to the provider with this code. Raises CommandError if there is none."""
    from superimap.db.accounts import connections

    linked = await connections.by_code(db, partner.id, code, lock=lock)
    if linked is None:
        raise CommandError(
            f"{partner.name} has no connection {code.upper()!r}; "
            f"`superimap connections list {partner.id}` shows them."
        )
    return linked


async def wait_for_interrupt() -> None:
    """Wait for Ctrl-C or SIGTERM."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    await stop.wait()
