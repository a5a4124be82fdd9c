"""The stress test as a whole: it passes a sound system, and notices one without leases of deliveries."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from superimap.launch.stress.plan import StressPlan
from trials.stress.__main__ import failed_checks, run_without

SMALL = StressPlan(seconds=6.0, emails_per_minute=1800.0, users=40, idlers=1)


@pytest.mark.slow
async def test_deliveries_without_leases_are_noticed(tmp_path):
    verdict = await run_without("lease", SMALL, tmp_path)

    assert "duplicates" in failed_checks(verdict)
    assert verdict.exit_code == 1
    page = (tmp_path / "report.html").read_text()
    assert "Failed" in page


@pytest.mark.slow
async def test_a_sound_system_loses_doubles_and_forges_nothing(tmp_path):
    verdict = await run_without(None, replace(SMALL, seconds=5.0), tmp_path)

    assert verdict.exit_code in {0, 2}, verdict.checks  # 2: other tests use this machine as well
    assert verdict.account.lost == verdict.account.doubled == 0
    written = json.loads((tmp_path / "verdict.json").read_text())
    assert written["account"]["parts"] == {"accepted": verdict.account.sent}
