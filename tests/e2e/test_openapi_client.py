"""A client that is generated from the OpenAPI description can do what the README says."""

import json
import os
import shutil
from pathlib import Path

from superimap.api.app import openapi
from tests.e2e.api import run, running
from tests.support import needs

ROOT = Path(__file__).parents[2]
BIN = ROOT / ".venv-client" / "bin"


async def test_a_generated_client_completes_the_flow_of_the_readme(database_url, tmp_path):
    generator = BIN / "openapi-python-client"
    if not generator.exists():
        needs("openapi-python-client 0.29.1 in .venv-client: python3 run.py test")
    (tmp_path / "openapi.json").write_text(json.dumps(openapi()))
    shutil.copy(Path(__file__).with_name("readme_flow.py"), tmp_path)
    # The generator formats its output with the ruff in its own environment.
    env = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}"}
    options = ("--path", "openapi.json", "--meta", "none", "--output-path", "superimap_client")

    await run(str(generator), "generate", *options, "--fail-on-warning", cwd=tmp_path, env=env)
    async with running(database_url) as api:
        output = await run(str(BIN / "python"), "readme_flow.py", api.url, api.api_key, cwd=tmp_path)

    assert "flow done" in output
