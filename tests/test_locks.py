"""Lock files: they contain every dependency of pyproject.toml and do not depend on one package index."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LOCKS = sorted(ROOT.glob("requirements*.lock"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(name: str) -> dict[str, str]:
    """Return the package and version of every line of a lock file."""
    pins = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==(\S+)", (ROOT / name).read_text(), re.M)
    return {normalised(package): version for package, version in pins}


def required(*extras: str) -> set[str]:
    """Return the names of the dependencies in pyproject.toml."""
    lines = [*PROJECT["dependencies"]]
    for extra in extras:
        lines += PROJECT["optional-dependencies"][extra]
    return {normalised(re.split(r"[\[<>=!~; ]", line, maxsplit=1)[0]) for line in lines}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_contains_no_url(lock):
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
def test_a_lock_contains_every_dependency(lock, extras):
    missing = required(*extras) - locked(lock).keys()

    assert not missing, "run `make lock`"


def test_development_uses_the_versions_of_production():
    development = locked("requirements-dev.lock")

    assert locked("requirements.lock").items() <= development.items()
    for package, version in locked("requirements-tools.lock").items():
        assert development.get(package, version) == version
