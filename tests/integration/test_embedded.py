"""The embedded engines lose nothing that was committed, and leave no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from arq.connections import RedisSettings, create_pool
from redis.asyncio import Redis
from redis.exceptions import RedisError

from fixtures.engines import open_folder
from superimap.launch import engines as embedded
from superimap.launch.engines import EmbeddedError, process, programs

pytestmark = pytest.mark.usefixtures("postgres_url")  # skips the tests if the engines are not installed
linux = pytest.mark.skipif(
    sys.platform != "linux", reason="needs Linux: /proc, and children that end with their parent"
)
root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")

OWNER = """
import asyncio, pathlib, sys
from superimap.launch import engines as embedded

async def main():
    data = pathlib.Path(sys.argv[1])
    async with embedded.postgres(data) as database, embedded.valkey(data) as redis:
        print(database, redis, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data() -> Iterator[Path]:
    """A data folder for this test."""
    with open_folder("superimap-data-") as folder:
        yield folder / "data"


@asynccontextmanager
async def connected(url: str):
    """Connect, also to a server that is still starting."""
    async with asyncio.timeout(20):
        while True:
            try:
                db = await asyncpg.connect(url)
                break
            except (OSError, asyncpg.PostgresError):
                await asyncio.sleep(0.05)
    try:
        yield db
    finally:
        db.terminate()


def postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split()[0])


def processes_in(data: Path) -> Iterator[int]:
    """Ids of the processes whose working folder is below `data`."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if (entry / "cwd").readlink().is_relative_to(data):
                yield int(entry.name)
        except OSError:
            continue


def start_owner(data: Path) -> subprocess.Popen[str]:
    """Start another process with engines on `data`; they are ready when this returns."""
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline().startswith("postgresql")
    return owner


async def test_rows_survive_a_restart(data):
    async with embedded.postgres(data) as url, connected(url) as db:
        await db.execute("CREATE TABLE kept (n int); INSERT INTO kept VALUES (1)")

    async with embedded.postgres(data) as url, connected(url) as db:
        assert await db.fetchval("SELECT n FROM kept") == 1
        assert await db.fetchval("SHOW timezone") == "UTC"
        assert await db.fetchval("SELECT current_database()") == "superimap"


@linux
async def test_committed_rows_survive_kill_9_and_the_engine_is_restarted(data):
    async with embedded.postgres(data) as url:
        async with connected(url) as db:
            await db.execute("CREATE TABLE kept (n int)")
        for n in range(3):
            async with connected(url) as db:
                await db.execute("INSERT INTO kept VALUES ($1)", n)
            os.kill(postmaster(data), signal.SIGKILL)

            async with connected(url) as db:
                assert await db.fetchval("SELECT count(*) FROM kept") == n + 1


async def test_an_engine_is_restarted_again_after_any_error_of_a_restart(data, monkeypatch):
    module = sys.modules["superimap.launch.engines.postgres"]
    usual, errors = module._answers, [RuntimeError("unexpected")]

    async def answers(sockets: Path) -> bool:
        if errors:
            raise errors.pop()
        return await usual(sockets)

    monkeypatch.setattr(process, "RESTART_SECONDS", 0.01)
    async with embedded.postgres(data) as url:
        monkeypatch.setattr(module, "_answers", answers)
        for _ in range(2):
            os.kill(postmaster(data), signal.SIGKILL)
            async with connected(url) as db:
                assert await db.fetchval("SELECT 1") == 1
    assert not errors


@linux
async def test_killing_the_owner_leaves_no_process_and_the_next_owner_starts(data):
    owner = start_owner(data)
    assert len(list(processes_in(data))) > 2

    owner.kill()
    owner.wait()

    end = time.monotonic() + 2
    while list(processes_in(data)) and time.monotonic() < end:
        await asyncio.sleep(0.02)
    assert list(processes_in(data)) == []
    async with embedded.postgres(data) as url, connected(url) as db:
        assert await db.fetchval("SELECT 1") == 1


@linux
async def test_the_next_owner_may_start_while_the_engines_of_a_killed_owner_still_end(data):
    owner = start_owner(data)
    owner.kill()

    async with embedded.postgres(data) as url, embedded.valkey(data), connected(url) as db:
        assert await db.fetchval("SELECT 1") == 1
    owner.wait()


@linux
async def test_a_pid_file_with_the_id_of_another_program_does_not_prevent_the_start(data):
    async with embedded.postgres(data):
        pass
    (data / "postgres" / "postmaster.pid").write_text(
        f"{os.getpid()}\n{data / 'postgres'}\n0\n5432\n\n\n0 0\n"
    )

    async with embedded.postgres(data) as url, connected(url) as db:
        assert await db.fetchval("SELECT 1") == 1


async def test_a_second_owner_is_refused_with_the_process_id_of_the_first(data):
    owner = start_owner(data)
    try:
        for engine in (embedded.postgres(data), embedded.valkey(data)):
            with pytest.raises(EmbeddedError) as refusal:
                async with engine:
                    pass
            assert str(data) in str(refusal.value)
            assert f"process {owner.pid}" in str(refusal.value)
            assert "--data" in str(refusal.value)
        assert embedded.read_url(data, "postgres").startswith("postgresql://")
    finally:
        owner.terminate()
        owner.wait()
    assert embedded.read_url(data, "postgres") is None


async def test_a_half_made_cluster_is_created_again(data):
    making = data / "postgres.new"
    making.mkdir(parents=True)
    data.chmod(0o755)
    (making / "PG_VERSION").write_text("18\n")

    async with embedded.postgres(data) as url, connected(url) as db:
        assert await db.fetchval("SELECT 1") == 1


async def test_a_cluster_of_another_version_is_refused(data):
    (data / "postgres").mkdir(parents=True)
    data.chmod(0o755)
    (data / "postgres" / "PG_VERSION").write_text("16\n")

    with pytest.raises(EmbeddedError, match="made by PostgreSQL 16"):
        async with embedded.postgres(data):
            pass


async def test_a_data_path_that_is_too_long_for_a_socket_or_needs_quoting_works(data):
    data = data / ("long" * 20) / "Üml, ut?#"

    async with embedded.postgres(data) as url, embedded.valkey(data) as redis_url, connected(url) as db:
        assert await db.fetchval("SELECT 1") == 1
        async with Redis.from_url(redis_url) as redis:
            assert await redis.ping()


async def test_data_of_valkey_survives_a_restart(data):
    async with embedded.valkey(data) as url, Redis.from_url(url) as redis:
        await redis.set("kept", "1")

    async with embedded.valkey(data) as url, Redis.from_url(url) as redis:
        assert await redis.get("kept") == b"1"


@linux
async def test_valkey_is_restarted_after_kill_9(data):
    async with embedded.valkey(data) as url, Redis.from_url(url) as redis:
        await redis.set("kept", "1")
        for pid in processes_in(data / "valkey"):
            os.kill(pid, signal.SIGKILL)

        async with asyncio.timeout(10):
            while True:
                try:
                    found = await redis.get("kept")
                    break
                except RedisError:
                    await asyncio.sleep(0.05)
        assert found == b"1"


async def test_valkey_renames_a_file_that_it_cannot_read(data):
    async with embedded.valkey(data) as url, Redis.from_url(url) as redis:
        await redis.set("lost", "1")
    for path in (data / "valkey" / "appendonlydir").iterdir():
        path.write_bytes(b"this is no append-only file\n" * 20)

    async with embedded.valkey(data) as url, Redis.from_url(url) as redis:
        assert await redis.get("lost") is None
    assert list(data.glob("valkey.unusable-*"))


async def test_arq_accepts_the_url_of_our_valkey(redis_url):
    pool = await create_pool(RedisSettings.from_dsn(redis_url))
    try:
        assert await pool.enqueue_job("ring") is not None
    finally:
        await pool.aclose()


@root
@linux
async def test_as_root_the_engines_run_as_nobody(data):
    async with embedded.postgres(data), embedded.valkey(data):
        pids = list(processes_in(data))
        owners = {Path(f"/proc/{pid}").stat().st_uid for pid in pids}

    assert pids
    assert owners == {65534}


@root
async def test_as_root_a_folder_that_the_engines_cannot_enter_is_refused(tmp_path):
    tmp_path.chmod(0o700)

    with pytest.raises(EmbeddedError, match=r"may not enter .*--data"):
        async with embedded.postgres(tmp_path / "data"):
            pass


@root
async def test_as_root_engines_in_a_closed_folder_are_copied_once(data, tmp_path, monkeypatch):
    monkeypatch.setattr(programs, "CACHE", data / "cache")
    site = tmp_path / "site"
    (site / "engine" / "bin").mkdir(parents=True)
    (site / "engine" / "bin" / "server").write_text("#!/bin/sh\n")
    (site / "engine" / "bin" / "server").chmod(0o700)
    tmp_path.chmod(0o700)

    copies = await asyncio.gather(
        *(asyncio.to_thread(programs._copied, site, ["engine"], key="engine-1", data=data) for _ in range(8))
    )

    assert set(copies) == {data / "cache" / "engine-1"}
    assert [path.name for path in (data / "cache").iterdir()] == ["engine-1"]
    assert (copies[0] / "engine" / "bin" / "server").stat().st_mode & 0o777 == 0o755


def test_the_environment_of_the_engines_contains_no_secrets(data, monkeypatch):
    monkeypatch.setenv("ENCRYPTION_KEY", "of-no-concern-to-them")
    data.mkdir()
    child = process.spawn(Path("/usr/bin/env"), folder=data, log_file=data / "env.log", death=signal.SIGKILL)

    assert child.wait(5) == 0
    assert "of-no-concern" not in (data / "env.log").read_text()
