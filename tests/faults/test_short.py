"""A short set of the faults, in every run of the tests: nothing is lost, nothing comes twice, nothing astray."""

import pytest
import pytest_asyncio

from fixtures.engines import open_folder
from trials.faults import engines
from trials.faults.bed import SHORT
from trials.faults.catalogue import run
from trials.faults.engines import Engines

NAMES = ["F02", "kills"]


@pytest_asyncio.fixture(scope="module")
async def both():
    with open_folder("superimap-faults-") as folder:
        async with engines.running(folder) as running:
            yield running


@pytest.mark.parametrize("name", NAMES)
async def test_what_was_promised_holds_under(name: str, both: Engines):
    verdict = await run(name, both, SHORT)

    assert verdict.broken == ()
    assert verdict.mails > 0
