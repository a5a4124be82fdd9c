"""What is shipped: a software bill of materials, an offline audit of dependencies, and pinned base images.

python deploy/supply_chain.py sbom > sbom.json    CycloneDX 1.6, from requirements.lock
python deploy/supply_chain.py audit               exit code 1 if a check fails
python deploy/supply_chain.py pin-images          writes digests into Dockerfile and docker-compose.yml
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LOCK = ROOT / "requirements.lock"
IMAGE_FILES = (ROOT / "Dockerfile", ROOT / "docker-compose.yml")
SWAGGER = ROOT / "src/superimap/api/static/swagger-ui/VERSION"
SPEC_VERSION = "1.6"

# A reference as it stands in a line of IMAGE_FILES, with a tag, and perhaps with a digest.
IMAGE = re.compile(r"(?<=[=\s])((?:[a-z0-9./-]+):[\w.-]+)(@sha256:[0-9a-f]{64})?$", re.M)
IMAGE_LINE = re.compile(r"^(ARG PYTHON=|\s+image: (?!superimap))")

ALLOWED_LICENCES = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|ISC|MPL|Mozilla Public|Unlicense|0BSD|PostgreSQL|"
    r"GPL-3.0-only|GNU General Public License v3"  # aioimaplib alone, which a check makes sure of
)
GPL_PACKAGES = {"aioimaplib"}
LICENCES = {"httpx-aiohttp": "BSD-3-Clause", "imapclient": "BSD-3-Clause"}
"""Licences by their files, of packages whose metadata does not name them."""


@dataclass(frozen=True, slots=True)
class Package:
    """A package of a lock file: its name, version, and the SHA-256 digests of its files."""

    name: str
    version: str
    digests: tuple[str, ...]

    @property
    def purl(self) -> str:
        """The package URL (https://github.com/package-url/purl-spec)."""
        return f"pkg:pypi/{self.name}@{self.version}"


def locked_packages(text: str) -> list[Package]:
    """The packages of a lock file, by name."""
    entries = re.split(r"\n(?=\S)", text.strip())
    return [
        Package(
            re.sub(r"[-_.]+", "-", match[1]).lower(),
            match[2],
            tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)),
        )
        for entry in entries
        if (match := re.match(r"([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", entry))
    ]


# The bill of materials.


def bill_of_materials(packages: list[Package], *, version: str) -> dict[str, Any]:
    """A CycloneDX document (https://cyclonedx.org/docs/1.6/json/). The same packages give the same document."""
    root = f"pkg:generic/superimap@{version}"
    components = [_component(each) for each in packages] + [_swagger()]
    references = [each["bom-ref"] for each in components]
    content = json.dumps([version, references])
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPEC_VERSION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPEC_VERSION,
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, content)}",
        "version": 1,
        "metadata": {
            "component": {"type": "application", "bom-ref": root, "name": "superimap", "version": version}
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": _direct(packages)}, *_dependencies(packages)],
    }


def _component(package: Package) -> dict[str, Any]:
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": package.purl,
        "name": package.name,
        "version": package.version,
        "purl": package.purl,
        "scope": "optional" if package.name in _names("embedded") | _names("otel") else "required",
        "hashes": [
            {"alg": "SHA-256", "content": digest} for digest in package.digests
        ],  # of each of its files
    }
    if licence := licence_of(package.name):
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _swagger() -> dict[str, Any]:
    """The files of Swagger UI, which are part of this repository."""
    match = re.match(r"(\S+) (\S+) \((\S+)\)", SWAGGER.read_text())
    if match is None:
        raise SystemExit(f"{SWAGGER} must begin with a name, a version and a licence in parentheses.")
    name, version, licence = match.groups()
    purl = f"pkg:npm/{name}@{version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
        "licenses": [{"license": {"id": licence}}],
    }


def _direct(packages: list[Package]) -> list[str]:
    names = _names() | _names("embedded") | _names("otel")
    return [each.purl for each in packages if each.name in names]


def _names(extra: str = "") -> set[str]:
    """The packages that pyproject.toml names: those of every installation, or those of an extra."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return {
        _name(line)
        for line in (project["optional-dependencies"][extra] if extra else project["dependencies"])
    }


def _dependencies(packages: list[Package]) -> Iterator[dict[str, Any]]:
    """What each package depends on, as far as it is installed here."""
    known = {each.name: each.purl for each in packages}
    for each in packages:
        try:
            required = metadata.requires(each.name) or []
        except metadata.PackageNotFoundError:
            continue
        names = sorted({_name(line) for line in required if "extra ==" not in line} & known.keys())
        yield {"ref": each.purl, "dependsOn": [known[name] for name in names]}


def _name(requirement: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\[<>=!~; (]", requirement, maxsplit=1)[0]).lower()


def licence_of(name: str) -> str:
    """The licence of an installed package by its metadata; empty if it is not installed or names none."""
    if name in LICENCES:
        return LICENCES[name]
    try:
        found = metadata.metadata(name)
    except metadata.PackageNotFoundError:
        return ""
    classifiers = [
        line.rpartition(" :: ")[2] for line in found.get_all("Classifier", []) if "License" in line
    ]
    expression, text = (
        str([*found.get_all(field, []), ""][0]) for field in ("License-Expression", "License")
    )
    return expression or " AND ".join(classifiers) or text.strip().partition("\n")[0]


# The audit.


def audit(packages: list[Package]) -> list[str]:
    """What is wrong with the locked packages, without asking any server: known vulnerabilities are not checked."""
    faults = []
    for each in packages:
        if not each.digests:
            faults.append(f"{each.name} has no digest in {LOCK.name}; run `make lock`")
        try:
            installed = metadata.version(each.name)
        except metadata.PackageNotFoundError:
            continue  # for another platform
        if installed != each.version:
            faults.append(f"{each.name} {installed} is installed, and {each.version} is locked; set up again")
        licence = licence_of(each.name)
        if not ALLOWED_LICENCES.search(licence):
            faults.append(f"{each.name} has the licence {licence or 'unknown'}; see docs/licensing.md")
        is_gpl = bool(re.search(r"\bA?GPL|GNU (Affero )?General", licence))
        if is_gpl and each.name not in GPL_PACKAGES:
            faults.append(f"{each.name} is under {licence}, which applies to all of the image")
    return faults


# Base images.


def pin_images() -> None:
    """Write the present digest of each base image behind its tag. It needs docker and the registry."""
    for path in IMAGE_FILES:
        path.write_text("".join(map(_pinned, path.read_text().splitlines(keepends=True))))


def _pinned(line: str) -> str:
    if not IMAGE_LINE.match(line):
        return line

    def with_digest(match: re.Match[str]) -> str:
        command = ["docker", "buildx", "imagetools", "inspect", match[1], "--format", "{{.Manifest.Digest}}"]
        digest = subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
        if not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
            raise SystemExit(f"docker gave no digest of {match[1]}: {digest!r}")
        return f"{match[1]}@{digest}"

    return IMAGE.sub(with_digest, line)


def main(command: str) -> int:
    """Run a command; returns its exit code."""
    packages = locked_packages(LOCK.read_text())
    if command == "sbom":
        version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
        print(json.dumps(bill_of_materials(packages, version=version), indent=2))
    elif command == "audit":
        faults = audit(packages)
        print("\n".join(faults) or f"{len(packages)} packages: versions, digests and licences are as locked.")
        return int(bool(faults))
    elif command == "pin-images":
        pin_images()
    else:
        print(__doc__)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
