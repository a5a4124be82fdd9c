"""The stress test as a whole notices that deliveries have no leases."""

from __future__ import annotations

import json

import pytest

from superimap.launch.stress.plan import StressPlan
from trials.stress.__main__ import failed_checks, run_without

SMALL = StressPlan(seconds=6.0, emails_per_minute=1800.0, users=40, idlers=1)


@pytest.mark.slow
async def test_deliveries_without_leases_are_noticed(tmp_path):
    verdict = await run_without("lease", SMALL, tmp_path)

    assert "duplicates" in failed_checks(verdict)
    assert verdict.exit_code == 1
    assert verdict.account.lost == verdict.account.doubled == 0  # nothing else is wrong
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["account"]["parts"] == {"accepted": verdict.account.sent}
    assert "accepted again" in (tmp_path / "report.html").read_text()
