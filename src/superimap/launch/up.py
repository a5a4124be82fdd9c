"""`superimap up`: engines as child processes, and the three services in one event loop."""

import asyncio
import contextlib
import os
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from superimap.cli.running import explaining_database_errors
from superimap.core import crypto, environment
from superimap.core.config import Settings
from superimap.core.crypto import Vault
from superimap.core.errors import SuperImapError
from superimap.core.reports import reporting
from superimap.db import engine, migrate, ready
from superimap.launch import engines as embedded
from superimap.launch import services

KEY_FILE = "encryption.key"
FIRST_OPERATOR = "owner@localhost"
"""Address with which the first operator signs in."""
STOP_SECONDS = 3.0


class PortBusy(SuperImapError):
    """Another program listens on the port of the API."""


class KeyMissing(SuperImapError):
    """There is data, but the key that encrypted it is missing."""


@dataclass(frozen=True, slots=True)
class Installation:
    """Settings, data folder and key of one machine, ready for the services to start."""

    settings: Settings
    data: Path
    has_new_key: bool

    @property
    def key_file(self) -> Path:
        """The file of the encryption key, which ENCRYPTION_KEY replaces if it is set."""
        return self.data / KEY_FILE

    @property
    def address(self) -> str:
        """The URL of the API, for people."""
        return self.settings.base_url or _address(self.settings)


async def first_operator_link(installed: Installation) -> str | None:
    """Create an owner of the dashboard and return the link to set its password; None if there is an operator."""
    from superimap.db.operators import accounts, links  # noqa: PLC0415
    from superimap.domain.operators import OperatorRole  # noqa: PLC0415

    url = installed.settings.database_url
    async with engine.sessions(url, pool_size=1) as sessions, sessions.begin() as db:
        if await accounts.list_all(db):
            return None
        owner = await accounts.create(db, FIRST_OPERATOR, OperatorRole.OWNER)
        secret = await links.invite(db, owner)
    return f"{installed.address}/admin/invitation?link={secret}"


def with_base_url(settings: Settings) -> Settings:
    """Settings with the API's own address as BASE_URL if only this machine can reach it.

    Events need BASE_URL for their sign-in links.
    """
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
async def installation(data: Path, overrides: Mapping[str, Any] | None = None) -> AsyncIterator[Installation]:
    """Run engines on `data`, migrate the schema, and create the key if there is none.

    DATABASE_URL, REDIS_URL and ENCRYPTION_KEY in the environment replace the embedded parts. Raises
    PortBusy, EmbeddedError, KeyMissing or SettingsError.
    """
    found = dict(overrides or {})
    found["port"] = _free_port(found)
    key, is_new = _key(data)
    async with contextlib.AsyncExitStack() as stack:
        if not environment.is_given("database_url"):
            found["database_url"] = await stack.enter_async_context(embedded.postgres(data))
        if not environment.is_given("redis_url"):
            found["redis_url"] = await stack.enter_async_context(embedded.valkey(data))
        if key is not None:
            found["encryption_key"] = key
        if "ENVIRONMENT" not in os.environ:
            found.setdefault("environment", "development")
        settings = with_base_url(environment.load_settings(found))
        is_embedded = "database_url" in found
        hint = "" if is_embedded else " Or unset it: without DATABASE_URL an embedded PostgreSQL is started."
        with explaining_database_errors(settings.database_url, hint=hint):
            await prepare(settings)
        yield Installation(settings, data, is_new)


async def prepare(settings: Settings) -> None:
    """Migrate the schema, install the provider presets, and check the key."""
    from superimap.db.accounts import providers  # noqa: PLC0415
    from superimap.db.privileges import apply_privileges  # noqa: PLC0415
    from superimap.domain.presets import presets  # noqa: PLC0415

    await asyncio.to_thread(migrate.upgrade, settings.session_url)
    await apply_privileges(settings.session_url, create=False)
    async with engine.sessions(settings.database_url, pool_size=2) as sessions, sessions.begin() as db:
        await providers.install_presets(db, presets(development=settings.environment == "development"))
    vault = Vault.from_setting(settings.encryption_key.get_secret_value())
    await ready.wait(settings.database_url, vault, session_url=settings.session_url)


async def run(settings: Settings, stop: asyncio.Event) -> None:
    """Run the three services until `stop` is set; they end within 5 s of it."""
    async with reporting("up", settings):
        await services.run_all(settings, stop, within=STOP_SECONDS)


def _key(data: Path) -> tuple[str | None, bool]:
    """The encryption key from its file, and whether it is new; it is created at the first start, mode 0600.

    Returns None as the key if the environment has one.
    """
    data.mkdir(parents=True, exist_ok=True)
    if environment.is_given("encryption_key"):
        return None, False
    path = data / KEY_FILE
    with contextlib.suppress(FileNotFoundError):
        return path.read_text().strip(), False
    if (data / "postgres").exists():
        raise KeyMissing(
            f"{data} holds data, but its key {path} is missing, so the data cannot be decrypted. "
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
    """The port to listen on; 0 selects a free one. Raises PortBusy, before anything is started."""
    host = str(overrides.get("host") or os.environ.get("HOST") or "127.0.0.1")
    wanted = str(overrides.get("port") or os.environ.get("PORT") or 8000)
    if not wanted.isdecimal() or int(wanted) > 65535:
        return wanted  # loading the settings reports what is wrong with it
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, int(wanted)))
        except OSError as error:
            raise PortBusy(
                f"Cannot listen on {host}:{wanted} ({error.strerror}). "
                f"Stop the program that uses it, or choose another port: --port {int(wanted) + 1}, or PORT"
            ) from None
        return int(probe.getsockname()[1])
