"""`superimap up` and `superimap demo`: start from nothing, stop on a signal, and leave no process behind."""

import os
import re
import signal
import socket
import stat
import time
from pathlib import Path

import httpx
import pytest

from fixtures.world import eventually
from tests.support.processes import started


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}


def children_of(data: str) -> list[str]:
    """Return the command lines of running processes that contain this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue
            if data in line:
                found.append(line)
    return found


async def test_the_demo_verifies_its_webhooks(env, unused_tcp_port):
    async with started("demo", "--mails", "10", "--port", str(unused_tcp_port), env=env) as demo:
        assert await demo.ended(within=60) == 0, demo.output
    assert "10 of 10 mails produced a verified webhook" in demo.output


async def test_up_keeps_data_and_key_and_ends_within_5_s(env, open_folder: Path, unused_tcp_port):
    data = open_folder / "kept"
    command = ("up", "--data", str(data), "--port", str(unused_tcp_port))
    async with started(*command, env=env) as first:
        await first.says("Ctrl-C ends it.")
        assert "created just now" in first.output
        key = data / "encryption.key"
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
        secret = key.read_text()
        assert secret.strip() not in first.output
        began = time.monotonic()
        first.popen.send_signal(signal.SIGINT)
        assert await first.ended() == 0
        assert time.monotonic() - began < 5
    async with started(*command, env=env) as second:
        await second.says("Ctrl-C ends it.")
        assert "created just now" not in second.output
        assert key.read_text() == secret


async def test_kill_9_leaves_no_process_behind(env, open_folder: Path, unused_tcp_port):
    data = open_folder / "killed"
    async with started("up", "--data", str(data), "--port", str(unused_tcp_port), env=env) as whole:
        await whole.says("Ctrl-C ends it.")
        assert any("postgres" in line for line in children_of(str(data)))
        assert any("valkey" in line for line in children_of(str(data)))
        whole.kill()

        async def gone() -> bool:
            return not children_of(str(data))

        await eventually(gone, within=5)


async def test_a_busy_port_is_reported_with_its_setting(env, open_folder: Path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with started(
            "up", "--data", str(open_folder / "busy"), "--port", str(port), env=env
        ) as process:
            assert await process.ended() == 1
    assert f"127.0.0.1:{port}" in process.output
    assert "PORT" in process.output
    assert len(process.output.strip().splitlines()) == 1


@pytest.mark.slow
async def test_the_demo_prints_a_curl_line_that_works(env, unused_tcp_port):
    async with started("up", "--demo", "--port", str(unused_tcp_port), env=env) as process:
        await process.says("both signatures verified", within=60)
        line = re.search(r"curl -H 'x-api-key: (\S+)' (\S+)", process.output)
        assert line is not None
        async with httpx.AsyncClient() as client:
            user = (await client.get(line[2], headers={"x-api-key": line[1]})).json()
            docs = re.search(r"Swagger UI  (\S+)", process.output)
            assert re.search(r"Dashboard   http://\S+/admin/invitation\?link=\S{43}", process.output)
            assert docs is not None
            page = await client.get(docs[1])
        assert user["tag"] == "demo-user"
        assert user["status"] == "watching"
        assert page.status_code == 200


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("PORT", "eighty", "PORT"),
        ("MAX_SESSIONS", "0", "MAX_SESSIONS"),
        ("MAX_USER_THREADS", "-3", "MAX_USER_THREADS"),
        ("DATABASE_URL", "mysql://x", "postgresql://"),
        ("ENCRYPTION_KEY", "tooshort", "generate-key"),
    ],
)
async def test_a_wrong_setting_is_one_line_that_names_it(env, variable, value, expected):
    right = {
        "DATABASE_URL": "postgresql://localhost/x",
        "ENCRYPTION_KEY": "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=",
    }
    async with started("idler", env=env | right | {variable: value}) as process:
        assert await process.ended() == 1
    assert expected in process.output
    assert len(process.output.strip().splitlines()) == 1


async def test_an_unreachable_database_is_reported_with_the_bundled_one_as_alternative(
    env, open_folder: Path, unused_tcp_port
):
    theirs = {"DATABASE_URL": "postgresql://ann:hush@127.0.0.1:1/x"}
    command = ("up", "--data", str(open_folder / "theirs"), "--port", str(unused_tcp_port))
    async with started(*command, env=env | theirs) as process:
        assert await process.ended() == 1

    assert "unset it" in process.output.splitlines()[-1]
    assert "hush" not in process.output


@pytest.mark.slow
async def test_up_refuses_data_whose_key_is_missing_and_creates_no_new_key(
    env, open_folder: Path, unused_tcp_port
):
    data = open_folder / "keyless"
    command = ("up", "--data", str(data), "--port", str(unused_tcp_port))
    async with started(*command, env=env) as first:
        await first.says("Ctrl-C ends it.")
    (data / "encryption.key").rename(data / "elsewhere.key")

    async with started(*command, env=env) as second:
        assert await second.ended() == 1

    assert f"key {data}/encryption.key is missing" in second.output
    assert not (data / "encryption.key").exists()


async def test_ctrl_c_during_the_start_stops_it(env, open_folder: Path, unused_tcp_port):
    data = open_folder / "early"
    async with started("up", "--data", str(data), "--port", str(unused_tcp_port), env=env) as process:

        async def is_starting() -> bool:
            return (data / "encryption.key").exists()

        await eventually(is_starting)
        process.popen.send_signal(signal.SIGINT)
        began = time.monotonic()
        await process.ended()
        assert time.monotonic() - began < 5
        assert "Traceback" not in process.output
    assert not children_of(str(data))
