"""Support for tests: servers, processes, mails, and `needs` for a server that is not installed."""

import os
from typing import NoReturn

import pytest


def needs(what: str) -> NoReturn:
    """Skip the test because `what` is missing; in CI (SUPERIMAP_CI=1), where all must be there, fail it."""
    if os.environ.get("SUPERIMAP_CI") == "1":
        pytest.fail(f"needs {what}", pytrace=False)
    pytest.skip(f"needs {what}")
