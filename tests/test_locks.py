"""Do the lock files hold what pyproject.toml asks for, and nothing that ties them to one package index?"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> dict[str, str]:
    """Package and version of every line of a lock."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", (ROOT / name).read_text(), re.M)
    return {normal(package): version for package, version in pins}


def asked_for(*extras: str) -> set[str]:
    """Names of the dependencies in pyproject.toml."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {normal(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in lines}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_address(lock):
    assert "://" not in lock.read_text()


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_line_of_a_lock_has_a_version_and_hashes(lock):
    for entry in re.split(r"\n(?=\S)", lock.read_text().strip()):
        assert re.match(r"[A-Za-z0-9._-]+==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("requirements.lock", ["embedded"]), ("requirements-dev.lock", ["embedded", "dev"])],
)
def test_a_lock_holds_every_dependency(lock, extras):
    missing = asked_for(*extras) - locked(lock).keys()

    assert not missing, "run `make lock`"


def test_development_runs_the_versions_that_production_runs():
    development = locked("requirements-dev.lock")

    assert locked("requirements.lock").items() <= development.items()
    for package, version in locked("requirements-tools.lock").items():
        assert development.get(package, version) == version
