"""A short set of faults for every test run: no mail is lost, repeated or sent to the wrong partner."""

import pytest
import pytest_asyncio

from fixtures.engines import open_folder
from trials.faults import engines
from trials.faults.catalogue import run_fault
from trials.faults.engines import Engines
from trials.faults.fault_run import SHORT_SCALE

NAMES = ["F02", "kills"]


@pytest_asyncio.fixture(scope="module")
async def both():
    with open_folder("superimap-faults-") as folder:
        async with engines.running(folder) as running:
            yield running


@pytest.mark.parametrize("name", NAMES)
async def test_every_promise_is_kept_under(name: str, both: Engines):
    report = await run_fault(name, both, SHORT_SCALE)

    assert report.broken == ()
    assert report.mails > 0
