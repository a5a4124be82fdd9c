"""Sessions whose access tokens expire: they reconnect before, and token errors are reported and recovered from."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
from prometheus_client import REGISTRY

from fixtures.world import World, eventually, running
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.oauth.server import OAuthServer
from tests.support.consent import Consented, consented, provider
from tests.support.mails import mail

ANN, BEN = "ann@example.com", "ben@example.com"


@pytest.fixture
async def oauth(imap: ImapServer) -> AsyncIterator[OAuthServer]:
    async with provider() as server:
        imap.opens_for = lambda user, token: server.opens_for(token, user)
        for name in (ANN, BEN):
            imap.add_account(name, "unused")
        yield server


@pytest.fixture
async def acme(world: World, imap: ImapServer, oauth: OAuthServer) -> Consented:
    return await consented(world, oauth, imap=(imap.host, imap.port))


async def idling(imap: ImapServer, users: int = 1) -> None:
    await imap.wait_for(lambda: sum(session.idling for session in imap.sessions) == users, timeout=30)


async def status(world: World) -> str:
    return str(await world.value("SELECT status FROM users"))


async def delivered_mails(world: World) -> list[bytes]:
    """The SHA-1 of each mail that has a delivery, in order of arrival."""
    rows = await world.rows(
        "SELECT sha1 FROM messages m JOIN deliveries d ON d.message_id = m.id ORDER BY m.id"
    )
    return [bytes(row[0]) for row in rows]


def count(name: str) -> float:
    return REGISTRY.get_sample_value(f"superimap_{name}_total") or 0.0


def sha1(raw: bytes) -> bytes:
    return hashlib.sha1(raw, usedforsecurity=False).digest()


async def test_a_session_reconnects_with_a_new_token_before_its_own_expires(
    world, imap, oauth, acme, monkeypatch
):
    """No status, no backoff, no lost mail: the next session catches up with mail that arrived in between."""
    monkeypatch.setattr("superimap.idler.token_rollover.random", lambda: 0.0)  # at once, then at 75 %
    oauth.terms.expires_in = 2
    await acme.user(ANN)
    mails = [mail(number) for number in range(4)]
    coming = iter(mails)

    async def arrive(_session: object, _command: object) -> None:
        imap.deliver(ANN, next(coming))

    imap.on("LOGOUT", arrive)
    before = {name: count(name) for name in ("roll_overs", "disconnects")}
    async with running(services.run_idler, world.settings):
        await imap.wait_for(lambda: imap.logins == 2)
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'watching'"))
        since = await world.value("SELECT status_since FROM users")
        await imap.wait_for(lambda: imap.logins == 3)
        await idling(imap)
        await eventually(lambda: world.value("SELECT count(*) = 2 FROM deliveries"))

        assert await status(world) == "watching"
        assert await world.value("SELECT status_since FROM users") == since

    assert oauth.count("/token") == imap.logins == 3
    assert (imap.expired, imap.failed_logins) == (0, 0)
    assert {name: count(name) - was for name, was in before.items()} == {"roll_overs": 2, "disconnects": 0}
    assert await delivered_mails(world) == [sha1(raw) for raw in mails[:2]]


async def test_the_session_continues_with_the_old_token_while_no_new_one_is_available(
    world, imap, oauth, acme, monkeypatch
):
    monkeypatch.setattr("superimap.idler.token_rollover.random", lambda: 0.0)
    oauth.terms.expires_in = 4
    await acme.user(ANN)
    async with running(services.run_idler, world.settings):
        await imap.wait_for(lambda: imap.logins == 2)
        await idling(imap)
        oauth.faults.arm("server_error")
        await eventually(lambda: value(oauth.faults.struck))
        imap.deliver(ANN, mail(1))
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
        assert (imap.logins, await status(world)) == (2, "watching")

        await imap.wait_for(lambda: imap.logins == 3)

    assert (imap.expired, oauth.count("/token")) == (0, 4)


async def test_a_session_ends_and_is_reported_before_its_token_expires_if_the_grant_is_revoked(
    world, imap, oauth, acme, monkeypatch
):
    """After consent is withdrawn, the mailbox is not read for the rest of the token's hour."""
    monkeypatch.setattr("superimap.idler.token_rollover.random", lambda: 0.0)
    oauth.terms.expires_in = 4
    await acme.user(ANN)
    async with running(services.run_idler, world.settings):
        await imap.wait_for(lambda: imap.logins == 2)
        await idling(imap)
        oauth.revoke(ANN)
        await eventually(
            lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'authentication_failed'")
        )
        await imap.wait_for(lambda: not imap.sessions)

    assert "invalid_grant" in await world.value("SELECT status_reason FROM users")
    assert (imap.expired, imap.failed_logins, oauth.count("/token")) == (0, 0, 3)


async def value(of: object) -> object:
    return of


async def test_a_token_revoked_during_idle_is_reported_once_and_no_mail_is_lost_until_the_next_consent(
    world, imap, oauth, acme
):
    await acme.user(ANN)
    mails = [mail(number) for number in range(3)]
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver(ANN, mails[0])
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))
        oauth.revoke(ANN)
        for session in imap.sessions:
            session.send(b"* BYE Session expired, please login again.\r\n")
            session.close()
        imap.deliver(ANN, mails[1])
        await eventually(
            lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'authentication_failed'")
        )

        row = (await world.rows("SELECT status_reason, retry_at - now() AS wait FROM users"))[0]
        assert "invalid_grant" in row["status_reason"]
        assert 140 < row["wait"].total_seconds() < 460
        # The token that was kept is tried once, then the provider is asked once, and after that neither is asked.
        assert (imap.failed_logins, oauth.count("/token")) == (1, 2)

        imap.deliver(ANN, mails[2])
        again = oauth.grant(ANN).refresh_token
        await world.change_user(acme.partner, "ann", code="OAUTH", oauth2_refresh_token=again)
        await eventually(lambda: world.value("SELECT count(*) = 3 FROM deliveries"))
        await idling(imap)

    assert await delivered_mails(world) == [sha1(raw) for raw in mails]
    assert (imap.failed_logins, oauth.count("/token")) == (1, 3)


FAULTS = {
    # What the provider says: the status, a word of its reason, and from when to when it is tried again.
    "invalid_grant": ("authentication_failed", "connect again", (140, 460)),
    "consent_required": ("authentication_failed", "must consent again", (140, 460)),
    "unauthorized_client": ("authentication_failed", "client id or secret is wrong", (140, 460)),
    "server_error": ("backing_off", "HTTP 500", None),
    "hang": ("backing_off", "did not answer in time", None),
    "garbage": ("backing_off", "HTTP 200", None),
}


async def test_each_token_error_is_reported_with_its_remedy_and_without_a_login_storm(
    world, imap, oauth, acme, monkeypatch
):
    monkeypatch.setattr("superimap.oauth.token_endpoint.DEADLINE_SECONDS", 0.2)
    for fault in FAULTS:
        await acme.user(f"{fault}@example.com")
        oauth.faults.arm(fault, times=None, email=f"{fault}@example.com")
    with_reason = "SELECT count(*) = $1 FROM users WHERE status_reason IS NOT NULL"
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value(with_reason, len(FAULTS)))
        found = {row["tag"]: row for row in await world.rows("SELECT *, retry_at - now() AS wait FROM users")}

        for fault, (expected, says, wait) in FAULTS.items():
            row = found[fault]
            assert row["status"] == expected, fault
            assert says in row["status_reason"]
            if wait is None:
                assert row["wait"] is None
            else:
                assert wait[0] < row["wait"].total_seconds() < wait[1]
        assert imap.connects == 0

        oauth.faults.clear()  # what passes has passed; what does not waits
        passing = sum(expected == "backing_off" for expected, _, _ in FAULTS.values())
        for fault in FAULTS:
            if f"{fault}@example.com" not in imap.accounts:
                imap.add_account(f"{fault}@example.com", "unused")
        await idling(imap, passing)


async def test_a_pause_requested_by_the_provider_applies_to_the_whole_connection(world, imap, oauth, acme):
    oauth.faults.arm("throttled")  # Retry-After: 2
    await acme.user(ANN)
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM users WHERE status = 'throttled'"))
        wait = await world.value("SELECT extract(epoch FROM retry_at - now())::float8 FROM users")
        assert 1 < wait < 4.1
        assert "HTTP 429" in await world.value("SELECT status_reason FROM users")
        await acme.user(BEN)
        await idling(imap, 2)

    asked = [at for at, path in oauth.requests if path == "/token"]
    assert len(asked) == 3
    assert asked[1] - asked[0] > 2


async def test_a_wrong_client_secret_costs_one_request_for_all_users_and_its_fix_applies_to_all(
    world, imap, oauth, acme
):
    imap.any_login = True
    world.overrides["connects_in_flight"] = 1  # else as many may have asked as were in progress
    await acme.change(oauth2_client_secret="wr0ng-secret-of-acme")
    for number in range(12):
        await acme.user(f"user{number}@example.com")
    failed = "SELECT count(*) = 12 FROM users WHERE status = 'authentication_failed'"
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value(failed))
        assert (oauth.count("/token"), imap.connects) == (1, 0)
        reasons = await world.rows("SELECT DISTINCT status_reason FROM users")
        assert len(reasons) == 1
        assert "client id or secret is wrong" in reasons[0][0]

        await acme.change(oauth2_client_secret="cl13nt-s3cret-of-acme")
        await idling(imap, 12)


async def test_users_of_an_app_only_connection_need_only_their_address(world, imap, oauth):
    organisation = await consented(world, oauth, imap=(imap.host, imap.port), app_only=True)
    for name in (ANN, BEN):
        await organisation.user(name)
    assert await world.value("SELECT count(*) FROM users WHERE connected_at IS NOT NULL") == 2
    async with running(services.run_idler, world.settings):
        await idling(imap, 2)
        imap.deliver(BEN, mail(1))
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM deliveries"))

    assert {event.username for event in imap.log if event.username} == {ANN, BEN}
    assert (oauth.count("/token"), imap.failed_logins) == (1, 0)
