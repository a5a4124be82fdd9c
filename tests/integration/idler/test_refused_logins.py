"""Refused logins of users: status, event and stored waits, and how often credentials are sent."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from datetime import timedelta
from typing import Any

import pytest
import pytest_asyncio

from fixtures.world import World, eventually, running
from superimap.db.accounts.partners import NewPartner
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import answering, only
from tests.integration.idler.test_watching import idling, mail, recorded

QUICK = functools.partial(main.serve, timing=SessionTiming(backoff_first=0.01, backoff_longest=0.05))
QQ = b"Login fail. Account is abnormal, service is not open, password is incorrect, or system is busy."


@pytest_asyncio.fixture
async def partner(world: World, imap: ImapServer) -> NewPartner:
    made = await world.partner(events_webhook="https://app.example.com/events")
    await world.provider(imap.host, imap.port)
    await world.connection(made)
    imap.add_account("joe", "pw")
    await world.user(made, "joe", login="joe", password="pw")
    return made


async def row(world: World) -> dict[str, Any]:
    (found,) = await world.rows("SELECT *, retry_at - now() AS wait FROM users")
    return dict(found)


async def in_status(world: World, status: str) -> dict[str, Any]:
    async def reached() -> dict[str, Any] | None:
        found = await row(world)
        return found if found["status"] == status else None

    found: dict[str, Any] = await eventually(reached, what=status)
    return found


def logins(imap: ImapServer) -> int:
    return sum(entry.name in ("LOGIN", "AUTHENTICATE") for entry in imap.log)


async def events(world: World) -> list[tuple[str, str]]:
    return [
        (each["kind"], each["reason"] or "")
        for each in await world.rows("SELECT * FROM user_events ORDER BY id")
    ]


NEW_CREDENTIALS = {
    "EVERYTHING": ([b"%(tag)s NO " + QQ], "password is incorrect"),
    "BAD": ([b"%(tag)s BAD tag LOGIN username password"], "tag LOGIN username password"),
    "UNTAGGED": (
        [b"* NO [AUTHENTICATIONFAILED] No such password", b"* BYE bye"],
        "[AUTHENTICATIONFAILED] No such",
    ),
    "BYE": ([b"* BYE Invalid credentials"], "Invalid credentials"),
    "APP": (
        [b"%(tag)s NO [ALERT] Application-specific password required"],
        "The account needs an app password. [",
    ),
    "IMAP_OFF": ([b"%(tag)s NO [ALERT] You are yet to enable IMAP."], "IMAP may be switched off"),
}


async def test_refused_new_credentials_are_told_at_once_and_sent_once(world):
    partner = await world.partner(events_webhook="https://app.example.com/events")
    async with contextlib.AsyncExitStack() as stack:
        servers = {}
        for code, (lines, _) in NEW_CREDENTIALS.items():
            servers[code] = server = await stack.enter_async_context(ImapServer())
            server.capabilities = ["IMAP4rev1", "IDLE", "AUTH=PLAIN"]
            server.on("LOGIN", answering(*lines))
            server.on("AUTHENTICATE", answering(b"%(tag)s BAD Unknown command"))
            await world.provider(server.host, server.port, code=code)
            await world.connection(partner, code=code)
            await world.user(partner, code, login="joe", password="pw", code=code)
        async with running(QUICK, world.settings):
            await eventually(lambda: world.value("SELECT count(*) = 6 FROM user_events"))

    rows = await world.rows(
        "SELECT u.*, retry_at - now() AS wait, kind, code, reason"
        " FROM users u JOIN user_events v ON v.user_id = u.id"
    )
    for found in rows:
        expected = NEW_CREDENTIALS[found["tag"]][1]
        assert expected in found["status_reason"], found["tag"]
        assert expected in found["reason"], found["tag"]
        assert (found["status"], found["kind"], found["code"], found["refusals"]) == (
            "authentication_failed", "reauth_required", "login_refused", 1,
        )  # fmt: skip
        assert found["wait"] > timedelta(seconds=200)
        assert logins(servers[found["tag"]]) <= (5 if found["tag"] == "BAD" else 1)


async def test_a_server_with_sasl_login_alone_is_watched(world, imap, partner):
    imap.capabilities = ["IMAP4rev1", "IDLE", "LOGINDISABLED", "AUTH=LOGIN"]
    async with running(QUICK, world.settings):
        await idling(imap)
        imap.deliver("joe", mail())
        await recorded(world, 1)

    assert (await row(world))["login_accepted"]


async def accept_once(world: World, imap: ImapServer) -> None:
    async with running(services.run_idler, world.settings):
        await in_status(world, "watching")
    assert (await row(world))["login_accepted"]


async def test_an_unclear_refusal_of_proven_credentials_is_told_after_hours_and_across_restarts(
    world, imap, partner
):
    await accept_once(world, imap)
    remove = imap.on("LOGIN", answering(b"%(tag)s NO " + QQ))
    async with running(QUICK, world.settings):
        found = await in_status(world, "backing_off")
        while not found["refusals"]:  # the first one is tried once more
            found = await row(world)
    assert "password is incorrect" in found["status_reason"]
    assert found["wait"] > timedelta(seconds=200)
    assert await events(world) == []

    await world.rows("UPDATE users SET retry_at = NULL, refusals = 3, refused_since = now() - interval '2 h'")
    async with running(QUICK, world.settings):
        await eventually(lambda: world.value("SELECT refusals = 4 FROM users"))
    assert (await row(world))["status"] == "backing_off"
    assert (await row(world))["wait"] > timedelta(seconds=1000)  # the pauses go on where they were

    await world.rows("UPDATE users SET retry_at = NULL, refused_since = now() - interval '3 h'")
    async with running(QUICK, world.settings):
        await in_status(world, "authentication_failed")
    assert [kind for kind, _ in await events(world)] == ["reauth_required"]

    remove()
    await world.change_user(partner, "joe", login_password="pw")
    assert (await row(world))["refusals"] == 0
    assert not (await row(world))["login_accepted"]
    async with running(QUICK, world.settings):
        await in_status(world, "watching")
    assert [kind for kind, _ in await events(world)] == ["reauth_required", "restored"]


async def test_a_single_refusal_of_proven_credentials_is_tried_once_more_after_a_restart_too(
    world, imap, partner
):
    await accept_once(world, imap)
    imap.on("LOGIN", only(answering(b"%(tag)s NO [AUTHENTICATIONFAILED] Authentication failed."), times=1))
    async with running(QUICK, world.settings):
        await idling(imap)

    assert await events(world) == []
    assert (await row(world))["refusals"] == 0


@pytest.mark.parametrize(
    ("hook", "status"),
    [
        (answering(b"* BYE Too many login failures"), "throttled"),
        (answering(b"%(tag)s NO [UNAVAILABLE] Temporary authentication failure."), "backing_off"),
    ],
)
async def test_a_server_that_lets_nobody_in_gets_few_logins_and_no_account_is_blamed(
    world, imap, partner, hook, status
):
    imap.on("LOGIN", hook)
    timing = SessionTiming(backoff_first=0.02, throttled=0.01)
    async with running(functools.partial(main.serve, timing=timing), world.settings):
        await imap.wait_for(lambda: logins(imap) >= 3)
        found = await in_status(world, status)
        began = asyncio.get_running_loop().time()
        await imap.wait_for(lambda: logins(imap) >= 4)

    assert asyncio.get_running_loop().time() - began > 0.1  # the pauses grow: half of 0.08 s, 0.24 s, 0.72 s
    assert await events(world) == []
    assert (found["refusals"], found["refused_since"]) == (0, None)


async def test_a_server_that_stays_temporarily_unavailable_never_blames_the_account_and_says_for_how_long(
    world, imap, partner
):
    await world.rows("UPDATE users SET login_accepted = true, last_proven_alive_at = now() - interval '30 h'")
    await world.rows("UPDATE users SET connected_at = last_proven_alive_at")
    imap.on("LOGIN", answering(b"%(tag)s NO Service not available, please try again later"))
    async with running(QUICK, world.settings):
        found = await in_status(world, "backing_off")

    assert "not available" in found["status_reason"]
    assert (
        "no login accepted for 30 h; the account or its password may be the cause" in found["status_reason"]
    )
    assert (found["refusals"], found["refused_since"]) == (0, None)
    assert await events(world) == []


async def test_a_wrong_password_that_the_server_invites_to_try_again_is_told_after_hours(
    world, imap, partner
):
    imap.on("LOGIN", answering(b"%(tag)s NO Authentication failed. Please try again."))
    await world.rows(
        "UPDATE users SET login_accepted = true, refusals = 3, refused_since = now() - interval '3 h'"
    )
    async with running(QUICK, world.settings):
        await in_status(world, "authentication_failed")
    assert [kind for kind, _ in await events(world)] == ["reauth_required"]
