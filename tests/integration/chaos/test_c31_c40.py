"""Faults C31 to C40: answers out of step, bad certificates, restarts, bursts and reused UIDs."""

from __future__ import annotations

import dataclasses
import time
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.world import eventually
from tests.integration.chaos.scene import BYSTANDER, FAST, VICTIM


async def test_C31_a_literal_that_is_too_short_causes_no_truncated_mail(scene):
    scene.timing = dataclasses.replace(FAST, timeouts=dataclasses.replace(FAST.timeouts, fetch=0.2))
    scene.chaos.add("C31", only=VICTIM, times=3)
    async with scene.watching():
        await scene.both_find(2)

    assert await scene.outcomes() == {"delivered": 2}


async def test_C32_an_answer_with_a_wrong_tag_ends_only_its_session(scene):
    scene.chaos.add("C32 wrong tag", only=VICTIM, times=4)
    async with scene.watching():
        await scene.both_find(2)

    assert scene.chaos.struck("C32 wrong tag") == 4
    assert await scene.outcomes() == {"delivered": 2}


async def test_C32_a_second_tagged_answer_is_passed_over(scene):
    scene.chaos.add("C32 second tagged ok", only=VICTIM)
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(2)

    assert scene.chaos.struck("C32 second tagged ok") >= 2
    assert scene.connections(VICTIM) == 1
    assert await scene.outcomes() == {"delivered": 2}


async def test_C33_compression_is_never_requested(scene):
    scene.chaos.add("C33")
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(1)

        assert "COMPRESS=DEFLATE" in scene.imap.capabilities, "the server offered no compression"
    assert not scene.chaos.struck("C33")
    assert not [event for event in scene.imap.log if event.name == "COMPRESS"]


@pytest.mark.parametrize("kind", ["self-signed", "expired", "of another host"])
async def test_C34_a_bad_certificate_is_reported_and_no_password_is_sent(empty_scene, kind):
    scene = empty_scene
    scene.partner = await scene.world.partner(new_mail_webhook="https://app.example.com/hook")
    scene.chaos.add(f"C34 certificate {kind}")
    await scene.user_elsewhere(VICTIM, host="localhost", port=scene.imap.port, tls="tls")
    async with scene.running_idler():
        await scene.wait_for_status("backing_off", reason="certificate")

    assert not scene.imap.logins
    assert not [event for event in scene.imap.log if event.name in {"LOGIN", "AUTHENTICATE"}]


async def test_C35_three_dead_addresses_do_not_prevent_the_connection(scene):
    scene.chaos.add("C35")
    await scene.user_elsewhere("kim", host="mail.example.com", port=993)
    async with scene.watching("kim", BYSTANDER):
        scene.deliver("found all the same", to="kim")
        await scene.all_found()


async def test_C36_all_sessions_reconnect_after_a_restart_but_not_at_once(empty_scene):
    scene, most = empty_scene, 5
    logins = [f"user{number}" for number in range(50)]
    await scene.set_up(*logins)
    scene.overrides["connects_in_flight"] = most
    unproven: list[int] = []

    def count(session: object) -> None:
        unproven.append(sum(each.username is None for each in scene.imap.sessions))

    async def all_idle() -> None:
        await scene.imap.wait_for(lambda: sum(each.idling for each in scene.imap.sessions) == len(logins), 20)

    async with scene.running_idler():
        await all_idle()
        scene.chaos.add("C36", down=0.3)
        await scene.imap.wait_for(lambda: not scene.imap.sessions)
        for login in logins:
            scene.deliver("while down", to=login)
        usual = scene.imap.joined
        scene.imap.joined = lambda session: (usual(session), count(session))[0]
        await eventually(lambda: _listens(scene))
        await all_idle()
        await scene.all_found()

    assert len(logins) <= len(unproven) < 2 * len(logins), "each comes back, and hardly any twice"
    assert max(unproven) <= most


async def _listens(scene) -> bool:
    return scene.imap.is_listening


async def test_C37_a_burst_in_one_mailbox_does_not_delay_others(scene):
    burst = 1000
    async with scene.watching(VICTIM, BYSTANDER):
        for number in range(burst):
            scene.deliver(f"burst {number}")
        waits = []
        for number in range(5):
            began = time.monotonic()
            scene.deliver(f"in between {number}", to=BYSTANDER)
            want = number + 1
            await eventually(lambda want=want: _has(scene, BYSTANDER, want))
            waits.append(time.monotonic() - began)
        await scene.all_found(within=40)
        scene.bystander_is_undisturbed()

    assert sorted(waits)[2] < 1.0, waits


async def _has(scene, login: str, count: int) -> bool:
    return (await scene.outcomes(login))["delivered"] >= count


async def test_C38_no_command_marks_a_mail_as_read(scene):
    scene.chaos.add("C38")
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(3)

    assert scene.chaos.struck("C38") == 0
    assert all(not message.flags for message in scene.imap.accounts[VICTIM].inbox.messages)


async def test_C39_a_date_in_the_future_hides_no_later_mail(scene):
    account = scene.imap.accounts[VICTIM]
    async with scene.watching(VICTIM, BYSTANDER):
        scene.chaos.add("C39", only=VICTIM, times=2)
        scene.deliver("from the future")
        await scene.all_found()
        scene.chaos.clear()
    latest = await scene.world.value("SELECT max(last_internal_date) FROM mailboxes")
    assert latest < datetime.now(UTC) + timedelta(seconds=5)
    # An outage of five days with another UIDVALIDITY at its end: only the date says what is new.
    await scene.world.rows("UPDATE users SET connected_at = connected_at - interval '30 days'")
    await scene.world.rows("UPDATE mailboxes SET last_internal_date = last_internal_date - interval '5 days'")
    scene.deliver("three days ago", at=datetime.now(UTC) - timedelta(days=3))
    account.inbox.set_uidvalidity(77)
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.all_found()


async def test_C40_a_uid_reused_in_an_open_session_is_another_mail(scene):
    inbox = scene.imap.accounts[VICTIM].inbox
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(2)
        for number in range(3):
            last = inbox.messages[-1].uid
            inbox.expunge(last)
            inbox.uidnext = last
            scene.deliver(f"under an old number {number}", body=b"x" * number)
            await scene.all_found()

        assert scene.connections() == 1
    assert {message.uid for message in inbox.messages} == {1, 2}


@pytest.mark.parametrize("ends", ["connection, before it is noticed", "connection", "process"])
async def test_C40_restarted_uids_are_remembered_if_the_catch_up_by_date_is_interrupted(scene, ends):
    at_a_glance = ends.endswith("noticed")
    inbox = scene.imap.accounts[VICTIM].inbox
    cut: list[object] = []

    async def cut_once(session, command):
        asked = repr(command.arguments)
        if (
            session.username == VICTIM
            and "BODY.PEEK[]" in asked
            and ("<0." in asked) is at_a_glance
            and not cut
        ):
            cut.append(session)
            session.close()
            return b""
        return None

    async with scene.watching(VICTIM, BYSTANDER):
        for number in range(3):
            scene.deliver(f"old {number}")
        await scene.all_found()
        await scene.wait_until_idling()
        scene.imap.on("UID FETCH", cut_once)
        if ends == "process":
            scene.timing = dataclasses.replace(FAST, backoff_first=600.0, backoff_longest=600.0)
        for message in list(inbox.messages):
            inbox.expunge(message.uid)
        inbox.uidnext = 1
        for number in range(3):
            scene.deliver(f"new {number}")
        if ends == "process":
            await scene.imap.wait_for(lambda: cut)
        else:
            await scene.all_found()
    if ends == "process":
        async with scene.watching():
            await scene.all_found()
    assert cut


async def test_C40_the_scenario_by_name_reuses_uids(scene):
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.both_find(2)
        await scene.wait_until_idling()
        scene.chaos.add("C40 uid reused", only=VICTIM, times=1)
        scene.imap.sessions_of(VICTIM)[0].end_idle()
        await scene.imap.wait_for(lambda: scene.chaos.struck("C40"))
        scene.deliver("again", body=b"other")
        await scene.all_found()


@pytest.mark.parametrize("left", [0, 3])
async def test_C40_restarted_uids_under_one_uidvalidity_lose_no_mail(scene, left):
    inbox = scene.imap.accounts[VICTIM].inbox
    async with scene.watching(VICTIM, BYSTANDER):
        for number in range(9):
            scene.deliver(f"first life {number}")
        await scene.all_found()
        for message in list(inbox.messages)[: 9 - left]:
            inbox.expunge(message.uid)
        scene.chaos.add("C40 uids begin again", only=VICTIM, times=1)
        scene.imap.sessions_of(VICTIM)[0].close()
        await scene.imap.wait_for(lambda: scene.chaos.struck("C40"))
        for number in range(4):
            scene.deliver(f"second life {number}")
        await scene.all_found()
        scene.imap.sessions_of(VICTIM)[0].close()
        scene.deliver("after another connect")
        await scene.all_found()

    outcomes = await scene.outcomes()
    assert outcomes["duplicate"] == left, "the second connect must go on by UID"


async def test_C40_uids_restarted_while_no_session_ran_are_noticed_at_once(scene):
    inbox = scene.imap.accounts[VICTIM].inbox
    async with scene.watching(VICTIM, BYSTANDER):
        for number in range(9):
            scene.deliver(f"first life {number}")
        await scene.all_found()
    for message in list(inbox.messages):
        inbox.expunge(message.uid)
    inbox.set_uidvalidity(inbox.uidvalidity)
    scene.deliver("second life")
    async with scene.watching(VICTIM, BYSTANDER):
        await scene.all_found()
