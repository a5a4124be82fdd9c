"""A watched folder that is deleted, recreated or renamed while it is watched, on both servers."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from fixtures.world import World, eventually, running
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.testing.chaos.hostile_mails import small_mail
from tests.integration.scenarios.servers import PASSWORD, TIMEOUTS, MailServer

TIMING = SessionTiming(
    timeouts=TIMEOUTS, backoff_first=0.05, backoff_longest=0.3, poll=0.3, longest_round=0.4
)

pytestmark = [
    pytest.mark.parametrize("server", ["fake-none", "dovecot-none"], indirect=True),
    pytest.mark.usefixtures("trusting"),
]


@pytest.fixture
async def user(world: World, server: MailServer) -> str:
    """A user whose provider has the folder Archive watched, which does not exist yet."""
    name = await server.user()
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider(server.host, server.port, tls=server.tls, folders="Archive")
    await world.connection(partner)
    await world.user(partner, name, login=name, password=PASSWORD)
    return name


@asynccontextmanager
async def watching(world: World) -> AsyncIterator[None]:
    async with running(functools.partial(main.serve, timing=TIMING), world.settings):
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"))
        yield


async def found(world: World, folder: str, count: int) -> None:
    await eventually(
        lambda: world.value(
            "SELECT count(*) = $1 FROM messages m JOIN mailboxes b ON b.id = m.mailbox_id"
            " WHERE b.name = $2 AND m.outcome = 'delivered'",
            count,
            folder,
        ),
        what=f"{count} mails of {folder}",
    )


async def is_watched(world: World, folder: str) -> None:
    await eventually(
        lambda: world.value("SELECT count(*) = 1 FROM mailboxes WHERE name = $1", folder), what=folder
    )


async def test_the_wanted_folder_is_watched_once_it_exists_and_until_then_the_status_says_so(
    world, server, user
):
    async with watching(world):
        reason = await world.value("SELECT status_reason FROM users")
        assert reason == "INBOX is watched: no folder Archive"
        server.deliver(user, small_mail("to the substitute"))
        await found(world, "INBOX", 1)

        await server.create(user, "Archive")
        await is_watched(world, "Archive")
        server.deliver(user, small_mail("to the folder"), "Archive")
        await found(world, "Archive", 1)
        await eventually(lambda: world.value("SELECT status_reason IS NULL FROM users"))


async def test_a_mailbox_opened_by_select_is_watched_and_its_mails_stay_unread(world, server, user):
    await world.rows("UPDATE providers SET folders = NULL, open_by = 'select'")
    async with watching(world):
        server.deliver(user, small_mail("small"))
        server.deliver(user, small_mail("large", body=b"large\r\n" * 10_000))
        await found(world, "INBOX", 2)

    assert server.seen(user) == 0


async def test_a_folder_that_is_deleted_and_created_again_is_watched_again(world, server, user):
    await server.create(user, "Archive")
    async with watching(world):
        server.deliver(user, small_mail("before"), "Archive")
        await found(world, "Archive", 1)
        await server.delete(user, "Archive")
        await server.create(user, "Archive")
        server.deliver(user, small_mail("after"), "Archive")
        await found(world, "Archive", 2)


async def test_a_folder_that_is_renamed_is_replaced_by_the_substitute_until_it_returns(world, server, user):
    await server.create(user, "Archive")
    async with watching(world):
        server.deliver(user, small_mail("before"), "Archive")
        await found(world, "Archive", 1)
        await server.rename(user, "Archive", "Elsewhere")
        await eventually(
            lambda: world.value("SELECT coalesce(status_reason LIKE '%no folder Archive', false) FROM users")
        )
        await server.rename(user, "Elsewhere", "Archive")
        server.deliver(user, small_mail("after"), "Archive")
        await found(world, "Archive", 2)
