"""Faults C21 to C30: refusals, unusual greetings, floods and hostile mail."""

from __future__ import annotations

import dataclasses
import re
import ssl

import pytest
import trustme

from fixtures.world import eventually
from superimap.imap.connection import connect
from superimap.imap.errors import TlsFailed
from superimap.imap.types import Login, ServerAddress, Timeouts
from superimap.testing import Chaos, ImapServer
from superimap.testing.chaos.hostile_mails import hostile_mails, small_mail
from tests.integration.chaos.scene import BYSTANDER, FAST, HOOK, IMPATIENT, VICTIM


async def test_C21_a_refused_login_is_reported_and_not_repeated(scene):
    scene.chaos.add("C21 authentication failed", only=VICTIM)
    async with scene.watching():
        await scene.wait_for_status("authentication_failed", reason="AUTHENTICATIONFAILED")
        scene.deliver("for the other", to=BYSTANDER)
        await scene.all_found()

        assert scene.chaos.struck("C21") == 1
        scene.bystander_is_undisturbed()


async def test_C21_credentials_accepted_before_are_tried_once_more(scene):
    async with scene.watching(VICTIM, BYSTANDER):
        scene.chaos.add("C21 authentication failed", only=VICTIM, times=1)
        scene.imap.sessions_of(VICTIM)[0].close()
        await scene.both_find(1)

        await scene.wait_until_idling()
        scene.chaos.clear()
        scene.chaos.add("C21 authentication failed", only=VICTIM)
        scene.imap.sessions_of(VICTIM)[0].close()
        await scene.wait_for_status("authentication_failed")
        assert scene.chaos.struck("C21") == 1 + 2


async def test_C21_a_login_refused_as_unavailable_is_retried(scene):
    scene.chaos.add("C21 login unavailable", only=VICTIM)
    async with scene.watching():
        await scene.wait_for_status("backing_off", reason="UNAVAILABLE")
        scene.chaos.clear()
        await scene.both_find(1)
        await scene.wait_for_status("watching")


@pytest.mark.parametrize("case", ["C22 no greeting", "C22 slow greeting"])
async def test_C22_a_missing_greeting_is_awaited_until_the_timeout(scene, case):
    scene.timing = dataclasses.replace(FAST, timeouts=dataclasses.replace(FAST.timeouts, connect=0.2))
    scene.chaos.add(case)
    async with scene.running_idler():
        await scene.wait_for_status("backing_off", reason="took more than")
        scene.chaos.clear()
        scene.deliver("after all")
        await scene.all_found()


async def test_C23_a_bye_as_greeting_is_reported_with_its_text(scene):
    scene.chaos.add("C23", text="Down for maintenance")
    async with scene.running_idler():
        await scene.wait_for_status("backing_off", reason="Down for maintenance")
        scene.chaos.clear()
        scene.deliver("after all")
        await scene.all_found()


async def test_C23_a_bye_about_too_many_connections_counts_as_throttling(scene):
    scene.chaos.add("C23", text="Maximum number of connections from user+IP exceeded")
    async with scene.running_idler():
        await scene.wait_for_status("throttled", reason="Maximum number")
        scene.chaos.clear()
        scene.deliver("after all")
        await scene.all_found()


async def test_C24_preauth_opens_the_account_that_the_server_chose(scene):
    scene.chaos.add("C24")
    async with connect(ServerAddress(scene.imap.host, scene.imap.port, "none"), Login("x", "y")) as client:
        assert (await client.examine("INBOX")).exists == 0
    assert not scene.imap.logins


async def test_C24_preauth_is_watched_without_a_login(empty_scene):
    scene = empty_scene
    await scene.set_up(VICTIM)
    scene.chaos.add("C24")
    async with scene.watching(VICTIM):
        scene.deliver("to whom the server says")
        await scene.all_found()
        scene.imap.sessions_of(VICTIM)[0].close()
        scene.deliver("and after another connect")
        await scene.all_found()

    assert not scene.imap.logins
    assert not [event for event in scene.imap.log if event.name in {"LOGIN", "AUTHENTICATE"}]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(authority: trustme.CA) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """TLS contexts: the server's, and a client's that trusts it."""
    serving, trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.issue_cert("localhost").configure_cert(serving)
    authority.configure_trust(trusting)
    return serving, trusting


async def test_C25_no_password_is_sent_if_starttls_is_stripped(authority):
    serving, trusting = contexts(authority)
    async with ImapServer(starttls=serving, any_login=True) as server:
        with Chaos(server).add("C25 starttls stripped"), pytest.raises(TlsFailed):
            async with connect(
                ServerAddress("localhost", server.port, "starttls"), Login("x", "y"), tls_context=trusting
            ):
                pass
        assert not [event for event in server.log if event.name in {"LOGIN", "AUTHENTICATE"}]


async def test_C25_responses_injected_before_tls_are_discarded(authority):
    serving, trusting = contexts(authority)
    async with ImapServer(starttls=serving, any_login=True) as server:
        with Chaos(server).add("C25 starttls injected") as chaos:
            where = ServerAddress("localhost", server.port, "starttls")
            async with connect(where, Login("x", "y"), tls_context=trusting) as client:
                assert "EVIL" not in client.capabilities
            assert server.logins == 1
            assert chaos.struck("C25") == 1


@pytest.mark.parametrize(
    "case", ["C26 four gigabyte literal", "C26 nested literals", "C26 impossible numbers"]
)
async def test_C26_impossible_numbers_and_literals_lose_no_mail(scene, case):
    scene.chaos.add(case, only=VICTIM, times=2)
    async with scene.watching():
        await scene.both_find(2)

    assert scene.chaos.struck(case) == 2
    assert (await scene.outcomes())["delivered"] == 2


async def test_C26_a_server_that_announces_every_mail_as_four_gigabytes_loses_none(scene):
    async with scene.watching(VICTIM, BYSTANDER):
        scene.chaos.add("C26 four gigabyte literal", only=VICTIM)
        scene.deliver("poison")
        await eventually(lambda: one_is("deferred", scene))
        scene.chaos.clear()
        await scene.both_find(1)


async def test_C26_a_mail_whose_metadata_breaks_every_connection_is_delivered_without_it(scene):
    """A process of the server crashes on the metadata of one mail."""
    scene.timing = IMPATIENT
    poison = []

    async def die(session, command):
        if session.username != VICTIM or b"RFC822.SIZE" not in repr(command.arguments).encode():
            return None
        usual = session.usual_answer(command)
        if any(b"UID %d " % uid in usual for uid in poison):
            session.close()
            return b""
        return usual

    scene.imap.on("UID FETCH", die)
    async with scene.watching(VICTIM, BYSTANDER):
        poison.append(scene.deliver("poison"))
        await scene.both_find(1)

    assert await scene.outcomes() == {"delivered": 2}


async def test_a_mail_that_is_always_deferred_is_eventually_skipped(scene):
    """The server defers the mail for two days, shortened to a moment here."""
    scene.timing = dataclasses.replace(IMPATIENT, give_up=0.2)
    put_off = []

    async def refuse(session, command):
        is_body = session.username == VICTIM and b"BODY.PEEK[]" in repr(command.arguments).encode()
        if not is_body or b"poison" not in session.usual_answer(command):
            return None
        put_off.append(session)
        return command.tag + b" NO [UNAVAILABLE] Server error - please try again later\r\n"

    async with scene.watching(VICTIM, BYSTANDER):
        scene.imap.on("UID FETCH", refuse)
        scene.imap.deliver(VICTIM, small_mail("poison"))
        await scene.both_find(1)
        await eventually(lambda: one_is("unreadable", scene))

    assert len(put_off) > 3
    assert await scene.outcomes() == {"unreadable": 1, "delivered": 1}


@pytest.mark.parametrize("has_events_url", [False, True])
async def test_C26_a_mail_larger_than_its_announced_size_is_too_big(scene, has_events_url):
    if has_events_url:
        await scene.world.rows("UPDATE endpoints SET url = $1 WHERE kind = 'events'", HOOK)
    huge = small_mail("huge", body=b"0123456789abcde\n" * 200_000)

    async def lie(session, command):
        return re.sub(rb"RFC822.SIZE \d+", b"RFC822.SIZE 900", session.usual_answer(command))

    scene.timing = dataclasses.replace(IMPATIENT, give_up=0.2)
    scene.imap.on("UID FETCH", lie)
    async with scene.watching(VICTIM, BYSTANDER):
        scene.imap.deliver(VICTIM, huge)
        await scene.both_find(1)
        await eventually(lambda: one_is("too_big", scene))

    (row,) = await scene.world.rows("SELECT size, detail FROM messages WHERE outcome = 'too_big'")
    assert row["size"] == len(huge)
    assert str(len(huge)) in row["detail"]
    events = await scene.world.value("SELECT count(*) FROM deliveries WHERE kind = 'events'")
    assert events == has_events_url


async def one_is(outcome, scene) -> bool:
    return (await scene.outcomes())[outcome] == 1


async def test_C27_an_endless_line_ends_only_its_session(scene):
    scene.chaos.add("C27", only=VICTIM, times=2, megabytes=16)
    async with scene.watching():
        await scene.both_find(2)


@pytest.mark.slow
async def test_C28_three_hundred_thousand_lines_delay_no_other_session(scene):
    scene.timing = dataclasses.replace(FAST, timeouts=Timeouts(logout=0.1))
    scene.chaos.add("C28", only=VICTIM, times=1)
    async with scene.watching():
        await scene.both_find(2, within=30)

        assert scene.connections() == 1


async def test_C29_a_mail_sent_drop_by_drop_ends_at_the_timeout(scene):
    scene.timing = dataclasses.replace(FAST, timeouts=dataclasses.replace(FAST.timeouts, fetch=0.2))
    scene.chaos.add("C29", only=VICTIM, times=3, seconds=0.1)
    async with scene.watching():
        await scene.both_find(2)

    assert await scene.outcomes() == {"delivered": 2}


async def test_C29_a_server_that_sends_every_mail_drop_by_drop_loses_none(scene):
    scene.timing = dataclasses.replace(
        FAST, backoff_longest=0.05, timeouts=dataclasses.replace(FAST.timeouts, fetch=0.05)
    )
    async with scene.watching(VICTIM, BYSTANDER):
        scene.chaos.add("C29", only=VICTIM, seconds=0.1)
        scene.deliver("drip")
        await eventually(lambda: one_is("deferred", scene))
        scene.chaos.clear()
        await scene.both_find(1)


@pytest.mark.parametrize("most", [1 << 20, 8 << 20])
async def test_C30_hostile_mail_is_recorded_and_delays_nothing(scene, most):
    scene.overrides |= {"max_email_size": most, "bytes_in_flight": 64 << 20}
    scene.timing = dataclasses.replace(FAST, timeouts=Timeouts(logout=0.1))
    header = 10 << 20 if most < 2 << 20 else 2 << 20
    scene.chaos.add("C30", only=VICTIM, times=1, header=header)
    async with scene.watching():
        await scene.imap.wait_for(lambda: scene.chaos.struck("C30"))
        count = len(hostile_mails())

        async def recorded() -> bool:
            outcomes = await scene.outcomes()  # a busy machine may defer one of them first
            return sum(outcomes.values()) == count and not outcomes["deferred"]

        await eventually(recorded, within=30)
        scene.deliver("and after them", to=BYSTANDER)
        scene.deliver("and after them")

        async def after() -> bool:
            return scene.ledger.keys() <= (await scene.count_deliveries()).keys()

        await eventually(after)
        scene.bystander_is_undisturbed()
    outcomes = await scene.outcomes()
    assert outcomes["delivered"] == (count + 1 if most > header else count - 1), outcomes
    assert max((await scene.count_deliveries()).values()) == 1
