"""How does everything run on one machine? Engines as our children, the three services in one loop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superimap.cli.running import explaining
from superimap.core import config, crypto
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.db import engine, migrate, ready
from superimap.launch import engines as embedded
from superimap.launch import services

KEY_FILE = "encryption.key"
STOPPING = 3.0


class PortBusy(SuperImapError):
    """Something else listens where the API should."""


class KeyMissing(SuperImapError):
    """There is data, and not the key that it was sealed with."""


@dataclass(frozen=True, slots=True)
class House:
    """What stands before the services start."""

    settings: Settings
    data: Path
    has_new_key: bool

    @property
    def key_file(self) -> Path:
        """Where the vault's key lies, unless ENCRYPTION_KEY says otherwise."""
        return self.data / KEY_FILE

    @property
    def address(self) -> str:
        """Where the API is, for a person."""
        return self.settings.base_url or _address(self.settings)


def addressed(settings: Settings) -> Settings:
    """With the API's own address as BASE_URL where nobody else can reach it: so events have a link to sign in."""
    is_reached_here_alone = (
        settings.host in {"127.0.0.1", "::1", "localhost"} and not settings.trusted_proxies
    )
    if settings.base_url or settings.environment != "development" or not is_reached_here_alone:
        return settings
    return settings.model_copy(update={"base_url": _address(settings)})


def _address(settings: Settings) -> str:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    return f"http://{host}:{settings.port}"


@contextlib.asynccontextmanager
async def house(data: Path, overrides: Mapping[str, Any] | None = None) -> AsyncIterator[House]:
    """Engines running on `data`, the schema migrated, the key made if there was none.

    DATABASE_URL, REDIS_URL and ENCRYPTION_KEY of the environment win over the embedded parts. Raises
    PortBusy, EmbeddedError or SettingsError.
    """
    found = dict(overrides or {})
    found["port"] = _free_port(found)
    key, is_new = _key(data)
    async with contextlib.AsyncExitStack() as stack:
        if "DATABASE_URL" not in os.environ:
            found["database_url"] = await stack.enter_async_context(embedded.postgres(data))
        if "REDIS_URL" not in os.environ:
            found["redis_url"] = await stack.enter_async_context(embedded.valkey(data))
        if key is not None:
            found["encryption_key"] = key
        if "ENVIRONMENT" not in os.environ:
            found.setdefault("environment", "development")
        settings = addressed(config.load(found))
        is_theirs = "database_url" not in found
        hint = " Or unset it: without DATABASE_URL a PostgreSQL is brought along." if is_theirs else ""
        with explaining(settings.database_url, hint=hint):
            await prepare(settings)
        yield House(settings, data, is_new)


async def prepare(settings: Settings) -> None:
    """Migrate, install the provider presets, and try the key."""
    from superimap.db.accounts import providers  # noqa: PLC0415
    from superimap.domain.presets import presets  # noqa: PLC0415

    await asyncio.to_thread(migrate.upgrade, settings.database_url)
    async with engine.sessions(settings.database_url, pool_size=2) as sessions, sessions.begin() as db:
        await providers.install_presets(db, presets(development=settings.environment == "development"))
    await ready.wait(settings.database_url, Vault.from_setting(settings.encryption_key.get_secret_value()))


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """The three services until `stop`; all is over within 5 s of it."""
    await services.together(settings, stop, within=STOPPING)


def _key(data: Path) -> tuple[str | None, bool]:
    """The vault's key from its file, made on the first start, readable by its owner alone; is it new?"""
    data.mkdir(parents=True, exist_ok=True)
    if "ENCRYPTION_KEY" in os.environ:
        return None, False
    path = data / KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip(), False
    if (data / "postgres").exists():
        raise KeyMissing(
            f"{data} holds data, and its key {path} is missing: nothing in it could be read. "
            "Put the key back, set ENCRYPTION_KEY, or choose another folder with --data."
        )
    key = crypto.generate_key()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(key + "\n")
        file.flush()
        os.fsync(file.fileno())
    return key, True


def _free_port(overrides: Mapping[str, Any]) -> int | str:
    """The port to listen on, which 0 leaves to us; says that one is busy before anything is started."""
    host = str(overrides.get("host") or os.environ.get("HOST") or "127.0.0.1")
    wanted = str(overrides.get("port") or os.environ.get("PORT") or 8000)
    if not wanted.isdecimal() or int(wanted) > 65535:
        return wanted  # the settings say what is wrong with it
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(wanted)))
        except OSError as error:
            raise PortBusy(
                f"{host}:{wanted} cannot be listened on ({error.strerror}). "
                f"Stop what uses it, or choose another: --port {int(wanted) + 1}, or the setting PORT"
            ) from None
        return int(probe.getsockname()[1])
