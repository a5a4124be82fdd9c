"""Two PostgreSQL clusters under Patroni, with a third member that only votes; all on loopback.

Patroni keeps its state in its own Raft, which needs a majority: two of three members remain when the machine of
the primary is lost. The packages `patroni` and `python3-pysyncobj` come from apt and are not installed by `setup`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from fixtures.engines import TEMPLATE, create_database, open_folder
from superimap.db.failures import UNAVAILABLE
from superimap.launch.engines import folders
from superimap.launch.engines.postgres import NAME, bin_folder
from superimap.launch.engines.process import spawn, tail
from trials.faults.engines import EngineControl, Engines

START_SECONDS = 90.0
STOP_SECONDS = 10.0
TIMES = {"ttl": 10, "loop_wait": 2, "retry_timeout": 4}
"""A third of Patroni's defaults, in seconds. The lock of a lost primary ends after `ttl`."""

_LOOPBACK = "127.0.0.1"


@dataclass
class PatroniMember:
    """A member of the cluster: its folder, its ports, and Patroni's process."""

    name: str
    home: Path
    ports: dict[str, int]
    process: subprocess.Popen[bytes] | None = None

    def place(self, port: str) -> str:
        """The address of one of its ports."""
        return f"{_LOOPBACK}:{self.ports[port]}"

    async def state(self, http: httpx.AsyncClient) -> dict[str, Any]:
        """What its Patroni says; empty while it does not answer."""
        try:
            found: dict[str, Any] = (await http.get(f"http://{self.place('rest')}/patroni")).json()
        except (httpx.TransportError, ValueError):
            return {}
        return found

    def kill(self) -> None:
        """kill -9 of Patroni and its PostgreSQL, as when the machine is lost."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(STOP_SECONDS)
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (each / "cwd").readlink() == self.home / "postgres":
                    os.kill(int(each.name), signal.SIGKILL)


@dataclass
class PatroniEngines(Engines):
    """Engines whose PostgreSQL is a cluster under Patroni. `postgres.url` names both hosts."""

    members: list[PatroniMember] = field(default_factory=list)

    async def lose_primary(self) -> float:
        """Lose the machine of the primary; returns the seconds until the other member takes writes."""
        async with httpx.AsyncClient(trust_env=False) as http:
            primary, standby = await self._by_role(http)
        began = time.monotonic()
        await asyncio.to_thread(primary.kill)
        await _wait_for_writes(standby)
        return time.monotonic() - began

    async def switch_over(self) -> float:
        """Let the members change their roles, as for maintenance; returns the seconds until that is done."""
        async with httpx.AsyncClient(trust_env=False, timeout=START_SECONDS) as http:
            primary, standby = await self._by_role(http)
            began = time.monotonic()
            answer = await http.post(
                f"http://{primary.place('rest')}/switchover",
                json={"leader": primary.name, "candidate": standby.name},
            )
        answer.raise_for_status()
        await _wait_for_writes(standby)
        return time.monotonic() - began

    async def _by_role(self, http: httpx.AsyncClient) -> list[PatroniMember]:
        """The primary, and the standby."""
        roles = [(str((await each.state(http)).get("role")), each) for each in self.members]
        return [each for _, each in sorted(roles, key=lambda role: role[0] != "master")]


class _Hosts(EngineControl):
    """The cluster under one URL."""

    def __init__(self, url: str) -> None:
        self.url = url


@contextlib.asynccontextmanager
async def under_patroni(both: Engines) -> AsyncIterator[Engines]:
    """The same Valkey, and a PostgreSQL under Patroni in synchronous mode."""
    program = shutil.which("patroni")
    if program is None:
        raise RuntimeError("there is no Patroni: apt-get install patroni python3-pysyncobj")
    with open_folder("superimap-patroni-") as folder:
        members = [_member(folder, name) for name in ("a", "b", "vote")]
        programs = bin_folder(folders.prepare_data_folder(folder / "a"))
        try:
            for each in members:
                _start(each, members, program, programs)
            clusters = members[:2]
            await _wait_until_replicated(clusters)
            hosts = ",".join(each.place("postgres") for each in clusters)
            url = f"postgresql://{NAME}@{hosts}/postgres?target_session_attrs=read-write"
            await create_database(url, TEMPLATE)
            yield PatroniEngines(_Hosts(url), both.valkey, None, 0, clusters)
        finally:
            for each in members:
                await asyncio.to_thread(each.kill)


def _member(folder: Path, name: str) -> PatroniMember:
    home = folders.make_private(folders.prepare_data_folder(folder / name) / "home")
    return PatroniMember(name, home, {each: _free_port() for each in ("raft", "rest", "postgres")})


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind((_LOOPBACK, 0))
        port: int = sock.getsockname()[1]
        return port


def _start(member: PatroniMember, members: list[PatroniMember], program: str, programs: Path) -> None:
    """Start Patroni, or for the member that only votes its Raft."""
    raft = {
        "data_dir": str(member.home / "raft"),
        "self_addr": member.place("raft"),
        "partner_addrs": [each.place("raft") for each in members if each is not member],
    }
    is_voter = member is members[-1]
    chosen = {"raft": raft} if is_voter else {"raft": raft, **_cluster(member, programs)}
    configuration = member.home / "patroni.json"
    configuration.write_text(json.dumps(chosen))
    configuration.chmod(0o644)  # it holds no secret
    member.process = spawn(
        Path(f"{program}_raft_controller" if is_voter else program),
        str(configuration),
        folder=member.home,
        log_file=member.home / "patroni.log",
        death=signal.SIGKILL,
    )


def _cluster(member: PatroniMember, programs: Path) -> dict[str, Any]:
    """Patroni's configuration of a member with PostgreSQL."""
    rest, postgres = member.place("rest"), member.place("postgres")
    login = {"password": "loopback-only"}
    return {
        "scope": NAME,
        "name": member.name,
        "restapi": {"listen": rest, "connect_address": rest},
        "bootstrap": {
            "dcs": {**TIMES, "synchronous_mode": True},
            "initdb": [{"encoding": "UTF8"}, {"locale": "C"}],
        },
        "postgresql": {
            "listen": postgres,
            "connect_address": postgres,
            "data_dir": str(member.home / "postgres"),
            "bin_dir": str(programs),
            "pgpass": str(member.home / "pgpass"),
            "authentication": {
                "superuser": {"username": NAME, **login},
                "replication": {"username": "replicator", **login},
            },
            "pg_hba": [f"host {each} all {_LOOPBACK}/32 trust" for each in ("all", "replication")],
            "parameters": {"unix_socket_directories": "", "max_connections": 200, "io_method": "sync"},
        },
    }


async def _wait_until_replicated(clusters: list[PatroniMember]) -> None:
    """Wait until one member is the primary and the other its synchronous standby."""
    try:
        async with asyncio.timeout(START_SECONDS), httpx.AsyncClient(trust_env=False) as http:
            while True:
                states = [await each.state(http) for each in clusters]
                roles = {"sync_standby" if each.get("sync_standby") else each.get("role") for each in states}
                if roles == {"master", "sync_standby"}:
                    return
                await asyncio.sleep(0.2)
    except TimeoutError:
        logs = "\n".join(tail(each.home / "patroni.log") for each in clusters)
        raise RuntimeError(f"Patroni did not start its cluster:\n{logs}") from None


async def _wait_for_writes(member: PatroniMember) -> None:
    url = f"postgresql://{NAME}@{member.place('postgres')}/postgres?target_session_attrs=read-write"
    async with asyncio.timeout(START_SECONDS):
        while True:
            with contextlib.suppress(asyncpg.PostgresError, *UNAVAILABLE):
                await (await asyncpg.connect(url, timeout=2)).close()
                return
            await asyncio.sleep(0.1)
