"""The statements, samples and commands of the pages work as written."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from superimap.domain.presets import presets
from superimap.launch import demo
from tests.support.pages import OPERATIONS, PROVIDERS, QUICKSTART, README, blocks, first_cells, section
from tests.support.webhook_examples import webhook


@pytest.mark.parametrize(
    "statement", [part for block in blocks(OPERATIONS, "sql") for part in block.split(";") if part.strip()]
)
async def test_statements_of_the_runbooks_run(database_url, statement):
    db = await asyncpg.connect(database_url)
    try:
        await db.execute(statement)
    finally:
        await db.close()


def test_the_readme_shows_what_the_demo_prints():
    shown = re.findall(r"^webhook +(\d+) +(.+?) +(\d+) ms  .*$", README.read_text(), re.M)
    lines = re.findall(r"^webhook +\d.*$", README.read_text(), re.M)

    assert lines == [
        demo.format_arrival(demo.Arrival(int(n), subject, float(ms))) for n, subject, ms in shown
    ]
    arrivals = [demo.Arrival(int(n), subject, float(ms)) for n, subject, ms in shown[-5:]]
    assert (
        f"5 of 5 mails produced a verified webhook: {demo.format_latencies(arrivals)}" in README.read_text()
    )


def test_the_readme_is_short_and_shows_two_commands():
    text = README.read_text()

    assert len(text.splitlines()) < 150
    assert re.findall(r"^(python3 run\.py.*?) +#", blocks(README, "sh")[0], re.M) == [
        "python3 run.py",
        "python3 run.py test",
    ]


def test_the_sample_in_the_readme_equals_the_webhook_sent():
    (sample,) = [json.loads(block) for block in blocks(README, "json")]
    sent = json.loads(webhook()[1])

    left_out = {"rfc822_base64", "mailbox", "special_use"}  # only in some webhooks
    assert list(sample) == [name for name in sent if name not in left_out]
    assert list(sample["envelope"]) == list(sent["envelope"])
    assert list(sample["envelope"]["from"][0]) == list(sent["envelope"]["from"][0])
    assert sample["sha1"] == hashlib.sha1(sample["rfc822"].encode()).hexdigest()


def test_providers_lists_every_preset():
    listed = first_cells(section(PROVIDERS, "Presets"))

    assert listed == {preset.code for preset in presets()}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def quickstart_steps(folder: Path, ports: dict[str, int]) -> SimpleNamespace:
    """The code blocks of "Your first webhook", adapted to this folder and these ports."""

    def moved(text: str) -> str:
        for written, port in ports.items():
            text = re.sub(rf"\b{written}\b", str(port), text)
        return text.replace("/tmp/superimap-try", str(folder / "data"))

    text = section(QUICKSTART, "Your first webhook")
    found = [
        (language, moved(block))
        for language, block in re.findall(r"^```(sh|python|)\n(.*?)^```$", text, re.M | re.S)
    ]
    shell = [block for language, block in found if language == "sh"]
    code = {
        block.split("\n", 1)[0].removeprefix("# "): block for language, block in found if language == "python"
    }
    shown = [block for language, block in found if not language]
    return SimpleNamespace(shell=shell, code=code, shown=shown)


def test_the_quick_start_works_as_written(open_folder):
    ports = {"8000": free_port(), "10143": free_port(), "9000": free_port()}
    folder = open_folder / "quickstart"
    folder.mkdir(mode=0o755)
    steps = quickstart_steps(folder, ports)
    set_up, up, fake_imap, operate, receiver, send, by_api = steps.shell
    assert set_up.splitlines()[0] == "python3 run.py setup"
    for name, source in steps.code.items():
        (folder / name).write_text(source)
    ours = {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": os.environ.get("HOME", "/"),
    }
    # The test uses free ports instead of the default ones.
    up, fake_imap = (
        f"exec {up.strip()} --port {ports['8000']}",
        f"exec {fake_imap.strip()} --port {ports['10143']}",
    )
    operate = operate.replace(
        "superimap connections",
        f"superimap providers update PLAIN --imap-port {ports['10143']}\nsuperimap connections",
        1,
    )
    operate = operate.replace("superimap users list", "sleep 3; superimap users list")
    receiver = f"{receiver.replace('&', '> received.txt 2>&1 &')}\necho $! > receiver.pid\nsleep 1"
    script = "\n".join(["set -e", operate, receiver, send, by_api])
    running = [start(line, folder, ours) for line in (up, fake_imap)]
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{ports['8000']}/readyz"), 60)
        done = subprocess.run(
            ["bash", "-c", script],
            cwd=folder,
            env=ours,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert steps.shown[0].splitlines()[0] in done.stdout
        assert re.search(r"^ada +ada@example.com +watching", done.stdout, re.M), done.stdout
        api = f"http://127.0.0.1:{ports['8000']}/api/v1/connections/OTHER/users/grace"
        key = re.findall(r"sip_\S+", (folder / "data/acme.txt").read_text())[0]
        wait_until(lambda: '"status":"watching"' in fetched(api, key), 20)
        wait_until(lambda: (folder / "received.txt").read_text().startswith(steps.shown[1]), 10)
    finally:
        if (folder / "receiver.pid").exists():
            os.kill(int((folder / "receiver.pid").read_text()), signal.SIGTERM)
        for process in running:
            process.send_signal(signal.SIGTERM)
        for process in running:
            process.wait(20)


def start(line: str, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
    with (folder / "log.txt").open("ab") as log:
        return subprocess.Popen(["bash", "-c", line], cwd=folder, env=environment, stdout=log, stderr=log)


def answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def fetched(url: str, key: str) -> str:
    with urllib.request.urlopen(urllib.request.Request(url, headers={"x-api-key": key}), timeout=5) as answer:
        return str(answer.read().decode())


def wait_until(holds: Any, seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "not in time"
        time.sleep(0.2)
