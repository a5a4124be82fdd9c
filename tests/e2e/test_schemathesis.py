"""The API conforms to its own OpenAPI description for all kinds of requests."""

import re
import sys
from pathlib import Path

import pytest

from tests.e2e.api import run, running

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,"
    "response_headers_conformance,unsupported_method,allow_header_conformance,ignored_auth"
)


@pytest.mark.slow
async def test_no_request_gets_an_undocumented_response(database_url, tmp_path):
    async with running(database_url) as api:
        output = await run(
            str(Path(sys.executable).with_name("schemathesis")),
            "run",
            f"{api.url}/openapi.json",
            *("--header", f"x-api-key: {api.api_key}", "--header", f"Authorization: Bearer {api.token}"),
            *("--checks", CHECKS, "--phases", "examples,coverage,fuzzing,stateful", "--mode", "all"),
            # One worker: two that compile concurrently break CPython 3.11's ast module.
            *("--max-examples", "15", "--max-time", "25", "--seed", "1", "--workers", "1"),
            *("--request-timeout", "10", "--suppress-health-check", "all"),
            *("--report", "ndjson", "--report-ndjson-path", "report.ndjson", "--output-sanitize", "true"),
            cwd=tmp_path,
        )

    # With a wrong key every response would be 401, and the test would prove nothing.
    report = (tmp_path / "report.ndjson").read_text()
    statuses = {int(status) for status in re.findall(r'"status_code": ?(\d+)', report)}
    assert {200, 201, 401, 404, 405, 409, 422} <= statuses, output
    assert not [status for status in statuses if status >= 500], output
