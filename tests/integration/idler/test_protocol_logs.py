"""Protocol logs of idlers: requested by a row, without secrets and mails, bounded, ended by PostgreSQL's clock."""

from __future__ import annotations

import base64
import contextlib
import time
from dataclasses import replace

from fixtures.engines import as_role
from fixtures.world import World, eventually, running
from superimap.db import engine, postgres
from superimap.db.accounts import protocol_logs as requests
from superimap.db.accounts import user_retries
from superimap.db.delivery import liveness
from superimap.db.models import User
from superimap.db.privileges import Role
from superimap.db.watching import protocol_logs
from superimap.db.watching.protocol_logs import LoggedLine
from superimap.domain.protocol_logs import MAX_LINES
from superimap.imap.connection import connect
from superimap.imap.transcript import LineDirection
from superimap.imap.types import OAuth, ServerAddress
from superimap.launch import services
from superimap.testing.oauth.server import OAuthServer
from tests.support.dovecot import Dovecot
from tests.support.dovecot_oauth import trusting

PASSWORDS = ("sword-fish", "schwert-fisch-ü")
"""A login by LOGIN, and one by AUTHENTICATE PLAIN, which is used for text beyond ASCII."""
SUBJECT, BODY, SENDER = "Merger with Globex", "The price is a million", "grace@example.com"
MAIL = f"From: Grace <{SENDER}>\r\nSubject: {SUBJECT}\r\n\r\n{BODY}\r\n".encode()


async def request(world: World, user_id: int) -> None:
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        user = await db.get(User, user_id)
        assert user is not None
        await requests.start(db, user)


async def try_now(world: World, user_id: int) -> None:
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        user = await db.get(User, user_id)
        assert user is not None
        await user_retries.try_now(db, user)


async def said(world: World, user_id: int) -> str:
    rows = await world.rows(
        "SELECT direction, line FROM protocol_log_lines WHERE user_id = $1 ORDER BY id", user_id
    )
    return "\n".join(f"{row['direction']} {row['line']}" for row in rows)


def assert_is_harmless(text: str, login: str, password: str) -> None:
    """Assert that a log shows the conversation, and neither the login nor the mail."""
    payload = base64.b64encode(f"\0{login}\0{password}".encode()).decode()
    for secret in (password, payload, payload[:12], SUBJECT, BODY, "price", SENDER, "grace", "Globex"):
        assert secret not in text, secret
    for expected in (
        "sent ",
        "received * OK",
        "EXAMINE",
        "FETCH",
        "IDLE",
        "DONE",
        "note ended: closed by us",
        "LOGOUT",
    ):
        assert expected in text, expected


async def test_a_conversation_with_dovecot_is_logged_without_secrets_and_mails(
    world: World, dovecot: Dovecot
):
    world = replace(world, overrides={**world.overrides, "reconcile_interval": 0.2})
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider("127.0.0.1", dovecot.port)
    await world.connection(partner)
    logins = dovecot.add_users(PASSWORDS)
    users = [
        await world.user(partner, login, login=login, password=password)
        for login, password in zip(logins, PASSWORDS, strict=True)
    ]
    other = await world.user(partner, "other", login=dovecot.add_user(), password="secret")
    for user in users:
        await request(world, user)

    async def deliver_and_wait() -> None:
        recorded = await world.value("SELECT count(*) FROM messages")
        for login in logins:
            dovecot.deliver(login, MAIL)
        await eventually(lambda: world.value(f"SELECT count(*) = {recorded + len(logins)} FROM messages"))

    async def are_read() -> bool:
        return all([await contains(world, user, f"{{{len(MAIL)}}}") for user in users])

    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT count(*) = 3 FROM users WHERE status = 'watching'"))
        while True:  # a log may begin after the first mail was read
            await deliver_and_wait()
            with contextlib.suppress(TimeoutError):
                await eventually(are_read, within=2.0)
                break
        for user, login in zip(users, ("LOGIN", "AUTHENTICATE PLAIN"), strict=True):
            await try_now(world, user)
            await eventually(lambda user=user, login=login: contains(world, user, f" {login} …"))
            await eventually(lambda user=user: contains(world, user, "EXAMINE"))
            await eventually(lambda user=user: contains(world, user, "note ended: closed by us"))
        texts = [await said(world, user) for user in users]

    assert " LOGIN …" in texts[0]
    assert " AUTHENTICATE PLAIN …" in texts[1]
    for text, login, password in zip(texts, logins, PASSWORDS, strict=True):
        assert_is_harmless(text, login, password)
    assert await said(world, other) == ""

    await world.rows("UPDATE protocol_logs SET ends_at = now()")  # as after 15 minutes
    counts = [len(text) for text in texts]
    async with running(services.run_idler, world.settings):  # another idler
        await deliver_and_wait()
        assert [len(await said(world, user)) for user in users] == counts
        await request(world, users[0])  # of a connection that is open
        assert await said(world, users[0]) == ""
        await eventually(lambda: world.value("SELECT count(*) = 3 FROM users WHERE status = 'watching'"))

        async def is_logged() -> bool:
            dovecot.deliver(logins[0], MAIL)
            return await contains(world, users[0], "EXISTS")

        await eventually(is_logged)
        again = await said(world, users[0])
    async with running(services.run_idler, world.settings):  # the request is a row: the next idler goes on

        async def goes_on() -> bool:
            dovecot.deliver(logins[0], MAIL)
            return len(await said(world, users[0])) > len(again)

        await eventually(goes_on)


async def contains(world: World, user_id: int, text: str) -> bool:
    return text in await said(world, user_id)


async def test_the_payload_of_xoauth2_is_not_shown():
    lines: list[str] = []
    async with OAuthServer() as provider:
        with trusting(provider) as dovecot:
            dovecot.add_user("ann@example.com")
            token = provider.grant("ann@example.com").access_token
            server = ServerAddress("localhost", dovecot.tls_port)
            for given in (token, "made-up-token"):
                credentials = OAuth("ann@example.com", given, "XOAUTH2")
                try:
                    async with connect(
                        server,
                        credentials,
                        tls_context=dovecot.ssl_context(),
                        trace=lambda _, line: lines.append(line),
                    ):
                        pass
                except Exception as error:  # the refusal, which is logged as well
                    assert "token" not in type(error).__name__

    text = "\n".join(lines)
    assert text.count("AUTHENTICATE XOAUTH2 …") == 2
    assert "NO [AUTHENTICATIONFAILED]" in text
    for given in (token, "made-up-token"):
        payload = base64.b64encode(f"user=ann@example.com\1auth=Bearer {given}\1\1".encode()).decode()
        assert given not in text
        assert payload[:16] not in text
    assert "ann@" not in text


async def test_lines_are_stored_only_of_logs_that_run_and_have_room_and_for_a_day(world: World):
    partner = await world.partner()
    await world.provider("127.0.0.1", 1)
    await world.connection(partner)
    users = [
        await world.user(partner, tag, login=tag, password="x") for tag in ("runs", "ended", "full", "old")
    ]
    for user in users:
        await request(world, user)
    await world.rows("UPDATE protocol_logs SET ends_at = now() WHERE user_id = $1", users[1])
    await world.rows("UPDATE protocol_logs SET lines = $2 WHERE user_id = $1", users[2], MAX_LINES - 1)
    lines = [
        LoggedLine(user, time.time(), LineDirection.SENT.value, f"NOOP {number}")
        for user in users
        for number in range(2)
    ]
    async with postgres.pool(as_role(world.database_url, Role.IDLER), size=2) as pool:
        await protocol_logs.write_lines(pool, lines)
        active = {each.user_id for each in await protocol_logs.list_active(pool)}
    stored = await world.rows("SELECT user_id, line FROM protocol_log_lines ORDER BY id")

    assert active == {users[0], users[2], users[3]}
    assert [tuple(row) for row in stored] == [
        (users[0], "NOOP 0"), (users[0], "NOOP 1"), (users[2], "NOOP 0"), (users[3], "NOOP 0"),
        (users[3], "NOOP 1"),
    ]  # fmt: skip
    assert await world.value("SELECT max(lines) FROM protocol_logs") == MAX_LINES  # as the page says
    await world.rows(
        "UPDATE protocol_logs SET ends_at = now() - interval '25 hours' WHERE user_id = $1", users[3]
    )
    async with postgres.pool(as_role(world.database_url, Role.DISPATCHER), size=2) as pool:
        assert await liveness.delete_old_protocol_logs(pool, days=1.0) == 1
    assert await world.value("SELECT count(*) FROM protocol_log_lines") == 3
