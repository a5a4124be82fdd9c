#!/usr/bin/env python3
"""Set up SuperIMAP in .venv and run it, with only Python 3.11 and pip installed.

    python3 run.py                     run `superimap up --demo`
    python3 run.py demo --mails 50     run `superimap` with any arguments
    python3 run.py test [-k idle]      run the tests, with Dovecot, Chromium and others where they can be installed
    python3 run.py setup [--dev]       only set up

SUPERIMAP_VENV names another folder for the environment. SUPERIMAP_NO_APT=1 keeps `test` from calling apt-get.
"""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

ROOT = Path(__file__).resolve().parent
VENV = Path(os.environ.get("SUPERIMAP_VENV") or ROOT / ".venv").absolute()
CLIENT = VENV.with_name(VENV.name + "-client")
NPM_PACKAGES = {  # folder of tests with locked npm packages: what is tested with them
    "receivers": "the JavaScript library that verifies webhooks",
    "openid": "an OpenID provider that is not ours",
}
TOOLS = "requirements-tools.lock"  # uv, and what builds the project itself
LOCKS = {
    "runtime": ["requirements.lock", TOOLS],
    "dev": ["requirements-dev.lock", TOOLS],
    "client": ["requirements-client.lock"],
}
PROGRAMS = {  # by Debian package; the languages are those of docs/webhooks.md
    "dovecot-imapd": ["dovecot", "/usr/sbin/dovecot"],
    "chromium": ["chromium", "chromium-browser"],
    "pgbouncer": ["pgbouncer", "/usr/sbin/pgbouncer"],
    "nginx-light": ["nginx", "/usr/sbin/nginx"],
    "ruby": ["ruby"],
    "php-cli": ["php"],
    "golang-go": ["go"],
    "spin": ["spin"],
    "prometheus": ["promtool"],
    "gcc": ["gcc"],
    "libc6-dev": ["gencat"],  # a program of the package that comes with it
}
REMOVED_VARIABLES = {"VIRTUAL_ENV", "PYTHONHOME", "PYTHONPATH", "PIP_TARGET", "PIP_PREFIX"}


# Three workers on two cores: most tests wait most of the time.
WHOLE_SUITE = ("-n", "3", "--dist", "worksteal")


class SetupError(Exception):
    """Set-up failed; the message says why and what to do."""


def main(arguments):
    """Set up the environment that the command needs, then replace this process by the command."""
    find_python()
    command = arguments[0] if arguments else "up"
    try:
        with one_at_a_time():
            set_up("dev" if command == "test" or "--dev" in arguments[1:2] else "runtime")
            if command == "test":
                set_up_client()
                install_programs()
                for folder in NPM_PACKAGES:
                    set_up_npm(folder)
    except SetupError as error:
        sys.exit(f"run.py: {error}")
    except KeyboardInterrupt:
        sys.exit("run.py: interrupted; the next run continues the set-up")
    if command == "test":
        os.chdir(ROOT)
        become("pytest", *(arguments[1:] or WHOLE_SUITE))
    elif command != "setup":
        become("superimap", *(arguments or ["up", "--demo"]))


def find_python():
    """Continue under Python 3.11 or newer, or exit with a message if there is none."""
    if fcntl is None:
        sys.exit("run.py: SuperIMAP needs Linux or macOS; on Windows use WSL or the container image")
    if sys.version_info >= (3, 11):  # noqa: UP036 - an older Python gets the message below
        return
    for name in ("python3.14", "python3.13", "python3.12", "python3.11"):
        found = shutil.which(name)
        if found:
            os.execv(found, [found, str(Path(__file__).resolve()), *sys.argv[1:]])
    sys.exit(
        f"run.py: SuperIMAP needs Python 3.11 or newer, but {sys.executable} is {sys.version.split()[0]}. "
        "Install a newer Python and call it by name: python3.12 run.py"
    )


@contextlib.contextmanager
def one_at_a_time():
    """Hold a lock on this folder, so that only one run.py sets it up."""
    with (ROOT / "pyproject.toml").open("rb") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def become(program, *arguments):
    """Replace this process by a program of .venv, so that it keeps the process id and gets signals."""
    path = str(VENV / "bin" / program)
    os.execv(path, [path, *arguments])


def python_of(venv):
    """The Python interpreter of an environment."""
    return venv / "bin" / "python"


def set_up(kind):
    """Make .venv match the lock files; a dev environment also serves as a runtime environment."""
    if stamped(VENV, "dev") or (kind == "runtime" and stamped(VENV, kind)):
        return
    if stamp(VENV, "dev").exists():
        kind = "dev"
    say(f"setting up {VENV} …")
    with remade(VENV, kind):
        pip = find_pip()
        uv = find_uv(pip)
        try:
            synchronise(uv, VENV, LOCKS[kind])
        except SetupError as error:
            if not pip:
                raise
            say(f"uv failed; trying pip, which takes half a minute … ({error})")
            call([*pip, "install", "--require-hashes", *(f"--requirement={lock}" for lock in LOCKS[kind])])
            uv = []
        by_uv = [*uv, "pip", "install", "--python", str(python_of(VENV)), "--offline"]
        install = by_uv if uv else [*pip, "install"]
        call([*install, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)])


def set_up_client():
    """Set up an environment for the generator of API clients, which needs another version of typer."""
    if stamped(CLIENT, "client"):
        return
    say(f"setting up {CLIENT} …")
    try:
        with remade(CLIENT, "client"):
            synchronise([str(python_of(VENV)), "-m", "uv"], CLIENT, LOCKS["client"])
    except SetupError as error:
        say(f"tests with a generated API client are skipped: its generator cannot be installed: {error}")


def synchronise(uv, venv, locks):
    """Install exactly the packages of the lock files."""
    call([*uv, "pip", "sync", "--python", str(python_of(venv)), "--require-hashes", *locks])


def fingerprint(venv, kind):
    """A digest of what an environment was made from: its Python, the project folder and the lock files."""
    python = python_of(venv).resolve()
    digest = hashlib.sha256(f"{python} {python.stat().st_mtime_ns} {ROOT}".encode())
    for name in [*LOCKS[kind], "pyproject.toml"]:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def stamp(venv, kind):
    """The file that holds the fingerprint of a finished environment."""
    return venv / f"superimap-{kind}.stamp"


def stamped(venv, kind):
    """Whether the environment is finished and matches the current files."""
    try:
        return stamp(venv, kind).read_text() == fingerprint(venv, kind)
    except OSError:
        return False


@contextlib.contextmanager
def remade(venv, kind):
    """Change an environment inside the block; one whose set-up was interrupted is created again."""
    started = time.monotonic()
    unfinished = venv / "superimap-unfinished"
    try:
        if unfinished.exists() or not is_sound(venv):
            shutil.rmtree(venv, ignore_errors=True)
        venv.mkdir(parents=True, exist_ok=True)
        unfinished.touch()
        for other in LOCKS:
            stamp(venv, other).unlink(missing_ok=True)
    except OSError as error:
        raise SetupError(
            f"{venv} cannot be written ({error.strerror}). Copy the project to a folder that you own, or name "
            "another folder for it: SUPERIMAP_VENV=/tmp/superimap-venv python3 run.py"
        ) from error
    if not is_sound(venv):
        call([sys.executable, "-m", "venv", "--without-pip", str(venv)])
    yield
    stamp(venv, kind).write_text(fingerprint(venv, kind))
    unfinished.unlink()
    say(f"… done in {time.monotonic() - started:.1f} s")


def is_sound(venv):
    """Whether the environment's Python runs, is new enough, and is still the version it was made with."""
    ask = "import sys; print(sys.version_info >= (3, 11) and sys.prefix != sys.base_prefix, *sys.version_info[:2])"
    try:
        made_with = re.search(r"^version *= *(\d+)\.(\d+)", (venv / "pyvenv.cfg").read_text(), re.M)
        command = [str(python_of(venv)), "-c", ask]
        answer = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    except OSError:
        return False
    return made_with is not None and answer == ["True", *made_with.groups()]


def find_pip():
    """A pip command that works on .venv: the caller's, or Python's bundled one; [] if there is neither."""
    python = str(python_of(VENV))
    theirs = [sys.executable, "-m", "pip", "--python", python]
    bundled = [python, "-m", "pip"]
    if works([*theirs, "--version"]):
        return theirs
    if works([*bundled, "--version"]) or works([python, "-m", "ensurepip"]):
        return bundled
    return []


def find_uv(pip):
    """A uv command: the locked version, installed by pip, or else the caller's own."""
    if pip:
        call([*pip, "install", "--require-hashes", "--requirement", TOOLS])
        return [str(python_of(VENV)), "-m", "uv"]
    found = shutil.which("uv")
    if found:
        return [found]
    raise SetupError(
        f"{sys.executable} has no pip, or one older than 22.3. Install it (Debian and Ubuntu: "
        "apt-get install python3-pip; Fedora: dnf install python3-pip; Alpine: apk add py3-pip), or uv, "
        "and try again"
    )


def set_up_npm(folder):
    """Install the npm packages that are locked in a folder of tests, beside the environment."""
    wanted = ["package.json", "package-lock.json"]
    ours, theirs = ROOT / "tests" / folder, VENV.with_name(f"{VENV.name}-{folder}")
    with contextlib.suppress(OSError):
        # npm writes this file last, when everything is installed.
        if (theirs / "node_modules" / ".package-lock.json").exists() and all(
            (theirs / name).read_bytes() == (ours / name).read_bytes() for name in wanted
        ):
            return
    say(f"setting up {theirs} …")
    shutil.rmtree(theirs, ignore_errors=True)
    theirs.mkdir(parents=True)
    for name in wanted:
        shutil.copy(ours / name, theirs)
    if not works(["npm", "ci", "--prefix", str(theirs), "--ignore-scripts", "--no-audit", "--no-fund"]):
        say(f"{NPM_PACKAGES[folder]} cannot be installed with npm: its tests are skipped")


def install_programs():
    """Install the programs that some tests need, if this process may run apt-get."""
    missing = [package for package, names in PROGRAMS.items() if not any(map(shutil.which, names))]
    if not missing:
        return
    if os.geteuid() != 0 or not shutil.which("apt-get") or os.environ.get("SUPERIMAP_NO_APT"):
        say(f"{' and '.join(missing)} not installed (needs root and apt-get): some tests are skipped")
        return
    os.environ["DEBIAN_FRONTEND"] = "noninteractive"
    say(f"apt-get update, to install {' and '.join(missing)} for the tests …")
    works(["apt-get", "update", "-qq"])
    for package in missing:
        say(f"apt-get install {package} …")
        if not works(["apt-get", "install", "-y", "-qq", "--no-install-recommends", package], limit=600):
            say(f"{package} cannot be installed: some tests are skipped")


def works(command, limit=120):
    """Whether a command ends with exit code 0 within `limit` seconds."""
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True}
    try:
        return subprocess.run(command, env=environment(), check=False, timeout=limit, **quiet).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def call(command):
    """Run a command of the set-up. Raises SetupError with the end of its output if it fails."""
    quiet = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    try:
        ended = subprocess.run(command, cwd=ROOT, env=environment(), check=False, **quiet)
    except OSError as error:
        raise SetupError(f"{command[0]} cannot be run: {error.strerror}") from error
    if ended.returncode != 0:
        output = "\n  ".join((ended.stdout + ended.stderr).strip().splitlines()[-15:])
        raise SetupError(f"a command failed: {' '.join(command)}\n  {output}")


def environment():
    """Our environment without variables that redirect packages, and with a cache if there is no home folder."""
    ours = {name: value for name, value in os.environ.items() if name not in REMOVED_VARIABLES}
    ours |= {"PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0", "PIP_NO_INPUT": "1"}
    if not os.access(os.path.expanduser("~"), os.W_OK):  # noqa: PTH111 - Path.home() raises where there is none
        ours |= {"UV_CACHE_DIR": str(VENV / "cache"), "PIP_NO_CACHE_DIR": "1", "UV_NO_CONFIG": "1"}
    for theirs, name in {"PIP_INDEX_URL": "UV_DEFAULT_INDEX", "PIP_CERT": "SSL_CERT_FILE"}.items():
        if theirs in ours:
            ours.setdefault(name, ours[theirs])
    return ours


def say(sentence):
    """Print one line about the set-up on standard error, apart from the program's own output."""
    print(f"run.py: {sentence}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
