"""Faults C01 to C10: silence, BYE, resets and changing UIDs."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.world import eventually
from superimap.imap.types import Timeouts
from superimap.testing import ChaosProxy
from superimap.testing.chaos.hostile_mails import small_mail
from tests.integration.chaos.scene import BYSTANDER, FAST, VICTIM


def days_ago(days: float) -> datetime:
    return datetime.now(UTC) - timedelta(days=days)


async def test_C01_an_unanswered_done_reveals_a_black_hole(scene):
    scene.overrides["idle_renew"] = 0.3
    scene.chaos.add("C01", only=VICTIM, times=1)
    async with scene.watching():
        await scene.imap.wait_for(lambda: scene.chaos.struck("C01"))
        scene.deliver("into the dark")
        scene.deliver("beside it", to=BYSTANDER)
        await scene.all_found()

        assert scene.connections() == 2
        scene.bystander_is_undisturbed()
        await scene.wait_for_status("watching")


async def test_C02_a_connection_that_a_nat_forgot_is_replaced(scene):
    scene.overrides["idle_renew"] = 0.3
    async with ChaosProxy(scene.imap.host, scene.imap.port) as proxy:
        await scene.user_elsewhere("kim", host=proxy.host, port=proxy.port)
        async with scene.watching("kim", BYSTANDER):
            scene.deliver("before", to="kim")
            await scene.all_found()
            proxy.links[0].fault = dataclasses.replace(proxy.fault, black_hole=True)
            scene.deliver("after", to="kim")
            await scene.all_found()

            assert proxy.connects >= 2
            scene.bystander_is_undisturbed()


async def test_C02_the_scenario_by_name_drops_the_connection_after_silence(scene):
    scene.overrides["idle_renew"] = 0.4
    scene.chaos.add("C02", only=VICTIM, times=1, seconds=0.1)
    async with scene.watching():
        await scene.imap.wait_for(lambda: scene.chaos.struck("C02"))
        scene.deliver("into the forgotten flow")
        await scene.all_found()
        await scene.both_find(1)

        assert scene.connections() == 2


async def test_C03_a_server_that_never_pushes_is_searched(scene):
    scene.overrides["idle_renew"] = 0.3
    scene.chaos.add("C03")
    async with scene.watching():
        await scene.both_find(2)

        assert scene.connections() == 1


async def test_C04_a_reset_within_a_mail_records_no_partial_mail(scene):
    scene.chaos.add("C04", only=VICTIM, times=3)
    async with scene.watching():
        await scene.both_find(2)

    assert scene.chaos.struck("C04") == 3
    assert await scene.outcomes() == {"delivered": 2}


async def test_C04_mails_read_before_the_reset_are_recorded_at_once(scene):
    scene.chaos.add("C04", only=VICTIM, rate=0.3)
    async with scene.watching():
        for number in range(30):
            scene.deliver(f"one of many {number}")
        await scene.all_found()

    assert scene.chaos.struck("C04") > 2


async def test_C04_an_interrupted_first_catch_up_gets_further_each_time(scene):
    """No attempt reads all 30 mails; mails that are recorded are not read again."""
    scene.chaos.add("C04", only=VICTIM, rate=0.3)
    for number in range(30):
        scene.deliver(f"one of many {number}")
    async with scene.watching():
        await scene.all_found()
        await scene.wait_until_idling()

    assert scene.chaos.struck("C04") > 2
    bodies = [event for event in scene.imap.log if event.username == VICTIM and "BODY.PEEK[]" in str(event)]
    failed = scene.chaos.struck("C04")
    assert 30 + failed <= len(bodies) <= 30 + 2 * failed, (
        "each failure is followed by one read as a proof at most"
    )


async def test_C05_a_bye_during_idle_is_followed_by_a_new_session(scene):
    scene.chaos.add("C05", only=VICTIM, times=4, seconds=0.02)  # else some BYEs arrive with the "+"
    async with scene.watching():
        await scene.both_find()
        await scene.imap.wait_for(lambda: scene.chaos.struck("C05") == 4)
        await scene.wait_for_status("watching")


async def test_C05_a_server_that_always_sends_bye_causes_no_login_storm(scene):
    scene.timing = dataclasses.replace(FAST, backoff_first=0.2, backoff_longest=60.0)
    scene.chaos.add("C05", only=VICTIM)
    async with scene.watching():
        await scene.wait_for_status("backing_off", reason="BYE")

        assert scene.connections() < 10


async def test_C06_an_idle_that_the_server_ends_is_restarted(scene):
    scene.chaos.add("C06", only=VICTIM, times=5, seconds=0.02)
    async with scene.watching():
        await scene.both_find()
        await scene.imap.wait_for(lambda: scene.chaos.struck("C06") == 5)

        assert scene.connections() == 1


@pytest.mark.parametrize("case", ["C07 uidvalidity changes at select", "C07 uidvalidity changes in idle"])
async def test_C07_a_new_uidvalidity_neither_loses_nor_resends_mail(scene, case):
    for number in range(30):
        scene.imap.deliver(VICTIM, small_mail(f"old {number}"), internal_date=days_ago(10 + number))
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find()
        scene.chaos.add(case, only=VICTIM, times=2)
        scene.imap.sessions_of(VICTIM)[0].close()
        await scene.imap.wait_for(lambda: scene.chaos.struck(case) == 2 or "in idle" not in case)
        await scene.both_find(4)
        scene.imap.sessions_of(VICTIM)[0].close()
        scene.deliver("the last")
        await scene.all_found()

    assert scene.chaos.struck(case) == 2
    outcomes = await scene.outcomes()
    assert outcomes["duplicate"] <= 3 * len(scene.ledger), outcomes
    assert outcomes["before_connect"] == 0, "old mail was looked at"


async def test_C07_mail_of_a_long_outage_with_a_new_uidvalidity_is_found(scene):
    async with scene.watching(VICTIM, BYSTANDER):
        scene.deliver("before the outage")
        await scene.all_found()
    await scene.world.rows("UPDATE users SET connected_at = connected_at - interval '60 days'")
    await scene.world.rows(
        "UPDATE mailboxes SET last_internal_date = last_internal_date - interval '20 days'"
    )
    for days in (19, 9, 4, 1, 0):
        scene.deliver(f"{days} days old", at=days_ago(days))
    scene.imap.accounts[VICTIM].inbox.set_uidvalidity(4711)
    async with scene.watching():
        await scene.all_found()


async def test_C07_a_crash_during_the_catch_up_by_date_loses_no_mail(scene):
    scene.timing = dataclasses.replace(FAST, backoff_first=0.01, backoff_longest=0.02)
    async with scene.watching(VICTIM, BYSTANDER):
        pass
    await scene.world.rows("UPDATE users SET connected_at = connected_at - interval '60 days'")
    dates = [0, 30, 1, 25, 2, 20, 3, 15] * 20  # UIDs are in no order of dates
    for number, days in enumerate(dates):
        scene.deliver(f"mail {number}", at=days_ago(days))
        scene.imap.deliver(VICTIM, small_mail(f"before the connect {number}"), internal_date=days_ago(400))
    scene.imap.accounts[VICTIM].inbox.set_uidvalidity(4711)
    scene.chaos.add("C04", only=VICTIM, rate=0.02)
    async with scene.watching():
        await scene.all_found(within=30)

    assert scene.chaos.struck("C04")


async def test_C08_a_gap_of_a_million_uids_hides_no_mail(scene):
    scene.chaos.add("C08", only=VICTIM)
    async with scene.watching():
        await scene.both_find()

    assert scene.imap.accounts[VICTIM].inbox.messages[-1].uid > 1_000_000


@pytest.mark.parametrize("lie", ["missing", "too high", "too low"])
async def test_C09_a_wrong_uidnext_loses_no_mail(scene, lie):
    for number in range(5):
        scene.imap.deliver(VICTIM, small_mail(f"old {number}"), internal_date=days_ago(5))
    scene.chaos.add(f"C09 uidnext {lie}")
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find()
        scene.imap.sessions_of(VICTIM)[0].close()
        scene.deliver("while away")
        await scene.all_found()
        await scene.wait_until_idling()
        scene.imap.sessions_of(VICTIM)[0].close()
        await eventually(lambda: _true(scene.connections() == 3))
        scene.deliver("at last")
        await scene.all_found()

    assert set(await scene.outcomes()) == {"delivered"}


async def _true(value: bool) -> bool:
    return value


async def test_C10_a_mail_expunged_between_search_and_fetch_is_recorded_as_gone(scene):
    async with scene.watching(VICTIM, BYSTANDER):
        scene.chaos.add("C10", only=VICTIM, times=1)
        scene.imap.accounts[VICTIM].inbox.uidnext += 1  # or it would be read without a search
        scene.imap.deliver(VICTIM, small_mail("gone at once"))
        await scene.imap.wait_for(lambda: scene.chaos.struck("C10"))
        await scene.both_find()

        assert scene.connections() == 1
    assert await scene.outcomes() == {"delivered": 3, "gone": 1}


async def test_timeouts_of_these_tests_are_those_of_the_product_scaled_down():
    fast, real = FAST.timeouts, Timeouts()

    assert all(
        getattr(fast, field.name) < getattr(real, field.name) for field in dataclasses.fields(Timeouts)
    )
