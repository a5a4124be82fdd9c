"""Debian packages in a folder of their own, and processes that see them laid over the system's files.

Mail servers conflict with each other as packages, and their installation starts daemons. So nothing is installed:
the packages are downloaded and unpacked, and each server runs in a mount namespace in which overlays of `/usr` and
`/etc` show them. It needs root, Linux and apt.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from superimap.core.errors import SuperImapError

CACHE = Path(__file__).parents[2] / "build/servers"
APT_SECONDS = 300.0
SCRIPT_SECONDS = 60.0
END_SECONDS = 10.0


class NotInstallable(SuperImapError):
    """A server cannot be run on this machine; the text says why."""


def unpacked(name: str, packages: Sequence[str]) -> Path:
    """The folder with these packages and what they depend on, unpacked; made on the first call.

    Raises NotInstallable.
    """
    folder = CACHE / name
    wanted = " ".join(packages)
    done = folder / "packages"
    if done.is_file() and done.read_text() == wanted:
        return folder / "root"
    if os.geteuid() != 0 or not all(map(shutil.which, ("apt-get", "dpkg", "unshare"))):
        raise NotInstallable(f"{name} needs root, apt-get, dpkg and unshare")
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "archives/partial").mkdir(parents=True)
    try:
        _download(folder / "archives", packages)
        for archive in sorted((folder / "archives").glob("*.deb")):
            _run("dpkg", "-x", str(archive), str(folder / "root"))
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        output = error.stderr.decode(errors="replace")[-500:] if error.stderr else str(error)
        raise NotInstallable(f"{name} cannot be downloaded: {output}") from None
    _merge_lib(folder / "root")
    shutil.rmtree(folder / "archives")
    done.write_text(wanted)
    return folder / "root"


def _download(archives: Path, packages: Sequence[str]) -> None:
    options = [
        "-o",
        f"Dir::Cache::Archives={archives}",
        "-o",
        "Debug::NoLocking=1",
        "--no-install-recommends",
    ]
    command = ["apt-get", "install", "--yes", "--download-only", "--reinstall", *options, *packages]
    try:
        _run(*command)
    except subprocess.CalledProcessError:  # no package lists, or outdated ones
        _run("apt-get", "update")
        _run(*command)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=APT_SECONDS)


def _merge_lib(root: Path) -> None:
    """Move `/lib` into `/usr/lib`, as on a system where the former is a link."""
    if (root / "lib").is_dir():
        shutil.copytree(root / "lib", root / "usr/lib", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(root / "lib")


class PrivateProcesses:
    """The processes of one server, in namespaces of their own. kill() ends all of them by SIGKILL."""

    def __init__(self, root: Path, base: Path) -> None:
        """`root` has the packages; `base` the server's files. What is in `base/etc` is seen in `/etc`."""
        self._root = root
        self._base = base
        self._process: subprocess.Popen[bytes] | None = None

    def command(self, script: str) -> list[str]:
        """The command that runs a shell script within the private root."""
        layers = [
            str(self._base / "etc"),
            *([str(self._root / "etc")] if (self._root / "etc").is_dir() else []),
        ]
        mounts = [
            f"mount -t overlay -o ro,lowerdir={shlex.quote(str(self._root / 'usr'))}:/usr usr /usr",
            f"mount -t overlay -o ro,lowerdir={':'.join(map(shlex.quote, layers))}:/etc etc /etc",
            "mount -t tmpfs -o mode=0755 run /run",
        ]
        unshare = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        return [*unshare, "sh", "-ec", "\n".join([*mounts, script])]

    def run(self, script: str) -> str:
        """Run a script to its end; returns its output. Raises RuntimeError if it fails."""
        done = subprocess.run(
            self.command(script),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SCRIPT_SECONDS,
        )
        output = done.stdout.decode(errors="replace")
        if done.returncode:
            raise RuntimeError(f"exit code {done.returncode} of {script!r}: {output[-1000:]}")
        return output

    def start(self, script: str) -> None:
        """Start the server: a script that ends by `exec`. Its output goes to `base/log`."""
        with (self._base / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self.command(script),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=_end_with_parent,  # noqa: PLW1509 - one system call
            )

    def has_ended(self) -> bool:
        """Whether the server ended by itself."""
        return self._process is None or self._process.poll() is not None

    def kill(self) -> None:
        """kill -9 of all processes of the server."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(END_SECONDS)
            self._process = None


def wait_until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `condition()` holds. Raises RuntimeError after `seconds`."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(what)
        time.sleep(0.02)


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL))
