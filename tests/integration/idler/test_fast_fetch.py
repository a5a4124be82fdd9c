"""Fast fetch: an idler reads a new mail in one command, and searches where that could miss one."""

import asyncio
import functools
from typing import Any

import pytest

from fixtures.world import World, running
from superimap.idler import main
from superimap.imap.fetching import PEEK_BYTES
from superimap.launch import services
from superimap.testing import ImapServer
from tests.integration.idler.test_watching import QUICK, contents, idling, mail, recorded, set_up


@pytest.fixture(autouse=True)
async def joe(world: World, imap: ImapServer) -> None:
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")


def is_fast_fetch(command: Any) -> bool:
    return b"<0." in repr(command.arguments).encode()


async def deliver_and_list_commands(world: World, imap: ImapServer, raw: bytes) -> list[str]:
    """Deliver a mail to an idling session; return the commands from then on until it idles again."""
    idles = sum(event.name == "IDLE" for event in imap.log)
    known = len(await world.rows("SELECT 1 FROM messages"))
    imap.deliver("joe", raw)
    await recorded(world, known + 1)
    await imap.wait_for(lambda: sum(event.name == "IDLE" for event in imap.log) > idles)
    await idling(imap)
    names = [event.name for event in imap.log]
    began = [index for index, name in enumerate(names) if name == "IDLE"]
    return [
        name
        for name in names[began[idles - 1] + 1 : began[-1]]
        if name not in ("connect", "disconnect", "DONE")
    ]


async def test_a_new_mail_takes_one_fetch_and_is_not_marked_as_read(world, imap):
    async with running(services.run_idler, world.settings):
        await idling(imap)
        asked = await deliver_and_list_commands(world, imap, mail("hello"))

    assert asked == ["UID FETCH"]
    (content,) = await contents(world)
    assert content["rfc822"] == mail("hello").decode()
    assert content["envelope"]["subject"] == "hello"
    assert not imap.accounts["joe"].inbox.get(1).flags & {"\\Seen"}


async def test_the_rest_of_a_big_mail_is_fetched_too(world, imap):
    big = mail("big", body="0123456789abcde\n" * (PEEK_BYTES // 16))
    async with running(services.run_idler, world.settings):
        await idling(imap)
        asked = await deliver_and_list_commands(world, imap, big)

    assert asked == ["UID FETCH", "UID FETCH"]
    assert (await contents(world))[0]["rfc822"] == big.decode()


async def test_after_a_uid_gap_mails_are_searched_for_until_uids_are_dense_again(world, imap):
    inbox = imap.accounts["joe"].inbox
    async with running(services.run_idler, world.settings):
        await idling(imap)
        asked = []
        for uid in (7, 20, 21, 22):
            inbox.uidnext = uid
            asked.append(await deliver_and_list_commands(world, imap, mail(f"mail {uid}")))

    by_search = ["UID SEARCH", "UID FETCH", "UID FETCH"]
    assert asked == [["UID FETCH", *by_search], by_search, by_search, ["UID FETCH"]]


@pytest.mark.parametrize("number", [1, 2])
async def test_a_mail_that_an_answer_leaves_out_is_not_skipped(world, imap, number):
    kept_back, left_out = [], []

    def both_at_once(_session: Any, data: bytes) -> bytes:
        kept_back.append(data)
        return b"".join(kept_back) if len(kept_back) == 2 else b""

    async def leave_out(session: Any, command: Any) -> bytes | None:
        if left_out or not is_fast_fetch(command):
            return None
        lines: bytes = session.usual_answer(command)
        start = lines.index(b"* %d FETCH" % number)
        end = lines.index(b")\r\n", start) + 3
        left_out.append(lines[start:end])
        return lines[:start] + lines[end:]

    imap.on_push = both_at_once
    imap.on("UID FETCH", leave_out)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        imap.deliver("joe", mail("two"))
        found = await recorded(world, 2)

    assert b"Message-ID" in left_out[0]
    assert found == [(1, "delivered"), (2, "delivered")]


@pytest.mark.parametrize("answer", [b" BAD I cannot cut mails\r\n", b" NO not today\r\n"])
async def test_fast_fetches_stop_after_three_refusals_of_partial_mails(world, imap, answer):
    asked = 0

    async def refuse(_session: Any, command: Any) -> bytes | None:
        nonlocal asked
        asked += is_fast_fetch(command)
        return bytes(command.tag + answer) if is_fast_fetch(command) else None

    imap.on("UID FETCH", refuse)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for number in range(8):
            await deliver_and_list_commands(world, imap, mail(f"mail {number}"))

    assert asked == 3
    assert sum(event.name == "connect" for event in imap.log) == 1


async def test_fast_fetches_stop_after_three_disconnects(world, imap):
    asked = 0

    async def hang_up(session: Any, command: Any) -> bytes | None:
        nonlocal asked
        if not is_fast_fetch(command):
            return None
        asked += 1
        session.close()
        return b""

    imap.on("UID FETCH", hang_up)
    async with running(functools.partial(main.serve, timing=QUICK), world.settings):
        for number in range(5):
            await idling(imap)
            imap.deliver("joe", mail(f"mail {number}"))
            found = await recorded(world, number + 1)

    assert asked == 3
    assert found == [(uid, "delivered") for uid in range(1, 6)]


@pytest.mark.parametrize("size", [0, 17, 2 * len(mail("hello"))])
async def test_an_estimated_size_truncates_no_mail(world, imap, size):
    async def estimate(session: Any, command: Any) -> bytes:
        real = b"RFC822.SIZE %d" % len(mail("hello"))
        return bytes(session.usual_answer(command).replace(real, b"RFC822.SIZE %d" % size))

    imap.on("UID FETCH", estimate)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        asked = await deliver_and_list_commands(world, imap, mail("hello"))

    assert asked == ["UID FETCH", "UID FETCH"]
    assert (await contents(world))[0]["rfc822"] == mail("hello").decode()


@pytest.mark.parametrize("in_fast_fetch", [True, False])
async def test_an_unresponsive_host_does_not_take_the_room_of_other_hosts(world, imap, in_fast_fetch):
    """Many of its sessions in a fast fetch, or one of them reading a big mail."""

    async def hang(session: Any, command: Any) -> bytes:
        if "BODY.PEEK[]" in repr(command.arguments) and is_fast_fetch(command) is in_fast_fetch:
            await asyncio.get_running_loop().create_future()
        size = b"RFC822.SIZE %d" % len(mail("hangs"))
        return bytes(session.usual_answer(command).replace(size, b"RFC822.SIZE 1048576"))

    world.overrides = {"bytes_in_flight": 1024 * 1024}
    async with ImapServer("127.0.0.2") as other:
        other.on("UID FETCH", hang)
        await world.provider(other.host, other.port, code="OTHER_HOST")
        partner = await world.partner("other", new_mail_webhook="https://app.example.com/hook")
        await world.connection(partner, code="OTHER_HOST")
        names = [f"user{number}" for number in range(8)]
        for name in names:
            other.add_account(name, "pw")
        await world.users(partner, {name: name for name in names}, password="pw", code="OTHER_HOST")
        async with running(services.run_idler, world.settings):
            await idling(imap)
            await idling(other, len(names))
            for name in names:
                other.deliver(name, mail("hangs"))
            await other.wait_for(lambda: any(session.busy for session in other.sessions))
            imap.deliver("joe", mail("hello"))

            assert await recorded(world, 1) == [(1, "delivered")]
