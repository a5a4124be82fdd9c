"""Modules that a process of one service loads: none that the service does not use."""

from __future__ import annotations

import subprocess
import sys

import pytest

COMMAND_LINES = {"rich", "pygments", "click"}
UNUSED = {
    "api": {"rich", "pygments"},
    "idler": {"sqlalchemy", "fastapi", "jinja2", "authlib"} | COMMAND_LINES,
    "dispatcher": {"sqlalchemy", "fastapi", "jinja2", "authlib", "httpx", "imapclient"} | COMMAND_LINES,
}


@pytest.mark.parametrize("service", UNUSED)
def test_a_service_loads_no_library_that_it_does_not_use(service):
    script = f"""
import sys
from superimap.launch import services
{"" if service == "dispatcher" else "services.import_httpx()"}
import superimap.{service}.main
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert {name for name in loaded.split() if "." not in name} & UNUSED[service] == set()
