"""Watched folders: each mail once, whichever folder it is in, and every folder that is not watched is named."""

import asyncio
import dataclasses
import functools
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.world import eventually, running
from superimap.idler import main
from superimap.launch import services
from tests.integration.idler.test_watching import QUICK, contents, idling, mail, outcomes, recorded

URL = "https://app.example.com/hook"
HOUR = timedelta(hours=1)


async def set_up(world, imap, *folders, selectors):
    """A user with these folders beside INBOX, and with a list of folders to watch."""
    account = imap.add_account("joe", "pw")
    for name in folders:
        account.create(name)
    world.overrides.setdefault("folder_status_seconds", "1")
    partner = await world.partner(new_mail_webhook=URL)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    user = {"tag": "joe", "email": "joe", "login_username": "joe", "login_password": "pw"}
    await world.add_users(partner, [user | {"folders": selectors}])
    return partner, account


async def webhooks(world):
    """The folder and the subject of each webhook."""
    found = await contents(world)
    return sorted((each["mailbox"], each["envelope"]["subject"]) for each in found)


async def status(world):
    return tuple((await world.rows("SELECT status, status_reason FROM users"))[0])


async def folders_with_cursors(world, count):
    async def enough():
        rows = await world.rows("SELECT name FROM mailboxes WHERE last_uid IS NOT NULL ORDER BY name")
        return [row["name"] for row in rows] if len(rows) >= count else None

    return await eventually(enough)


def move(account, source, target, uid):
    """Move a mail as IMAP's MOVE does: the same bytes and date, another UID."""
    (found,) = [each for each in account.mailboxes[source].messages if each.uid == uid]
    account.mailboxes[target].append(found.raw, found.internal_date)
    account.mailboxes[source].expunge(uid)


async def test_mails_of_all_listed_folders_have_one_webhook_each_on_one_connection(world, imap):
    _, account = await set_up(
        world, imap, "Projects/a", "Projects/b", "Other", selectors=["INBOX", "Projects/*"]
    )
    account.create("Projects/Gesendet", special_use="\\Sent")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for folder in ("Projects/b", "Other", "Projects/Gesendet", "INBOX", "Projects/a"):
            imap.deliver("joe", mail(f"in {folder}"), folder)
        await recorded(world, 3)
        imap.deliver("joe", mail("second in b"), "Projects/b")
        await recorded(world, 4)
        assert await status(world) == ("watching", None)

    assert await webhooks(world) == [
        ("INBOX", "in INBOX"), ("Projects/a", "in Projects/a"),
        ("Projects/b", "in Projects/b"), ("Projects/b", "second in b"),
    ]  # fmt: skip
    assert imap.connects == 1
    assert await world.value("SELECT count(*) FROM mailboxes WHERE opened_at IS NOT NULL") == 1


async def test_a_move_between_watched_folders_causes_no_second_webhook(world, imap):
    _, account = await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    async with running(services.run_idler, world.settings):
        await idling(imap)
        uid = imap.deliver("joe", mail("moved"))
        await recorded(world, 1)
        move(account, "INBOX", "Archive", uid)
        assert await recorded(world, 2) == [(1, "delivered"), (1, "duplicate")]
        move(account, "Archive", "INBOX", 1)
        found = await recorded(world, 3)

    assert sorted(outcome for _, outcome in found) == ["delivered", "duplicate", "duplicate"]


async def test_sent_mail_is_news_only_if_its_folder_is_named(world, imap):
    _, account = await set_up(world, imap, selectors=["\\Sent", "*"])
    account.create("Gesendet", special_use="\\Sent")
    account.create("Spam", special_use="\\Junk")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("junk"), "Spam")
        imap.deliver("joe", mail("received"))
        imap.deliver("joe", mail("sent"), "Gesendet")
        await recorded(world, 2)

    assert await webhooks(world) == [("Gesendet", "sent"), ("INBOX", "received")]
    uses = {each["mailbox"]: each["special_use"] for each in await contents(world)}
    assert uses == {"Gesendet": "\\Sent", "INBOX": None}


async def test_old_mail_of_an_added_folder_is_no_news(world, imap):
    partner, _ = await set_up(world, imap, "Support", selectors=None)
    await world.rows("UPDATE users SET connected_at = now() - interval '10 hours'")
    imap.deliver("joe", mail("old"), "Support", internal_date=datetime.now(UTC) - HOUR)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("before the list"))
        imap.deliver("joe", mail("while unlisted"), "Support", internal_date=datetime.now(UTC) - 0.1 * HOUR)
        await recorded(world, 1)
        await world.change_user(partner, "joe", folders=["Support", "INBOX"])
        await folders_with_cursors(world, 2)
        imap.deliver("joe", mail("after"), "Support")
        imap.deliver("joe", mail("in the inbox"))

        async def three():
            return await world.value("SELECT count(*) FROM deliveries") == 3

        await eventually(three)

    found = {each["envelope"]["subject"]: each.get("mailbox") for each in await contents(world)}
    assert found == {"before the list": None, "after": "Support", "in the inbox": "INBOX"}


async def test_a_new_and_a_renamed_folder_are_found_and_only_new_mail_of_them_is_news(
    world, imap, monkeypatch
):
    monkeypatch.setattr("superimap.idler.folder_pace.LIST_SECONDS", 1.0)
    _, account = await set_up(world, imap, "Projects/a", "Left", selectors=["INBOX", "Projects/*"])
    old = datetime.now(UTC) - 100 * HOUR
    imap.deliver("joe", mail("never recorded"), "Left", internal_date=old)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("first"), "Projects/a")
        await recorded(world, 1)
        account.rename("Projects/a", "Projects/renamed")
        account.rename("Left", "Projects/left")
        account.create("Projects/new")
        imap.deliver("joe", mail("in new"), "Projects/new")
        imap.deliver("joe", mail("in renamed"), "Projects/renamed")

        async def three():
            return await world.value("SELECT count(*) FROM deliveries") == 3

        await eventually(three)
        await folders_with_cursors(world, 5)
        account.delete("Projects/new")
        imap.deliver("joe", mail("last"), "Projects/left")

        async def four():
            return await world.value("SELECT count(*) FROM deliveries") == 4

        await eventually(four)

    assert await webhooks(world) == [
        ("Projects/a", "first"), ("Projects/left", "last"),
        ("Projects/new", "in new"), ("Projects/renamed", "in renamed"),
    ]  # fmt: skip
    assert imap.connects == 1


@pytest.mark.parametrize("first", ["INBOX", "Closed"])
async def test_folders_that_are_missing_or_refused_are_named_and_the_others_are_watched(world, imap, first):
    selectors = [first, *sorted({"INBOX", "Closed", "Gone", "Root", "Open"} - {first})]
    _, account = await set_up(world, imap, "Closed", "Open", selectors=selectors)
    account.create("Root", selectable=False)

    async def refuse(session, command):
        if b"Closed" in command.text(0):
            return b"%s NO [NOPERM] not for you\r\n" % command.tag
        return None

    imap.on("EXAMINE", refuse)
    imap.on("SELECT", refuse)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("hello"), "Open")
        await recorded(world, 1)
        state, why = await status(world)

    assert state == "watching"
    assert why.startswith("folders that are not watched: no folder: Gone; not to be opened: Root; left out")
    assert "Closed (EXAMINE: NO [NOPERM] not for you)" in why


async def test_without_any_of_its_folders_a_user_is_not_watched(world, imap):
    await set_up(world, imap, selectors=["Nowhere"])
    async with running(functools.partial(main.serve, timing=QUICK), world.settings):

        async def is_told():
            _, why = await status(world)
            return why

        why = await eventually(is_told)
        state, _ = await status(world)

    assert state != "watching"
    assert why.startswith("none of the folders to watch can be opened; no folder: Nowhere")


@pytest.mark.parametrize("selectors", [["INBOX", "Broken", "Fine"], ["Broken", "Fine", "INBOX"]])
async def test_a_folder_in_which_sessions_end_is_left_out_and_the_others_are_caught_up(
    world, imap, selectors
):
    """A hostile folder must not keep the others from being read, nor cause a login storm."""
    await set_up(world, imap, "Broken", "Fine", selectors=selectors)

    async def end(session, command):
        if b"Broken" in command.text(0):
            session.send(b"* BYE trouble\r\n")
            session.close()
            return b""
        return None

    imap.on("EXAMINE", end)
    imap.on("SELECT", end)
    async with running(functools.partial(main.serve, timing=QUICK), world.settings):
        await idling(imap)
        imap.deliver("joe", mail("hello"), "Fine")
        await recorded(world, 1)
        state, why = await status(world)

    assert state == "watching"
    assert "left out for now: Broken (closed by the server" in why
    assert imap.logins <= 6


async def test_a_user_follows_the_list_of_its_connection(world, imap):
    partner, _ = await set_up(world, imap, "Support", selectors=None)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await world.change_connection(partner, folders=["Support"])
        await folders_with_cursors(world, 2)
        imap.deliver("joe", mail("inbox"))
        imap.deliver("joe", mail("support"), "Support")
        await recorded(world, 1)

    assert await webhooks(world) == [("Support", "support")]


async def test_mail_of_an_outage_is_found_in_every_folder_at_the_next_sign_in(world, imap):
    _, account = await set_up(world, imap, "Projects/a", selectors=["INBOX", "Projects/*"])
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await folders_with_cursors(world, 2)
    imap.deliver("joe", mail("one"), "Projects/a")
    account.create("Projects/made")
    imap.deliver("joe", mail("two"), "Projects/made")
    async with running(services.run_idler, world.settings):
        await recorded(world, 2)

    assert await webhooks(world) == [("Projects/a", "one"), ("Projects/made", "two")]


async def test_a_mail_of_a_further_folder_that_cannot_be_read_is_tried_again_and_stays_where_it_is(
    world, imap, monkeypatch
):
    """The first folder must not take the deferred mails of the others for mails that were moved."""
    monkeypatch.setattr("superimap.idler.folder_pace.DEFERRED_SECONDS", 0.1)
    partner, _ = await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    is_broken = True

    async def fail(session, command):
        if is_broken and b"poison" in (usual := session.usual_answer(command)) and b"BODY[]" in usual:
            return command.tag + b" NO [SERVERBUG] later\r\n"
        return None

    imap.on("UID FETCH", fail)
    timing = dataclasses.replace(QUICK, retry_first=0.05, retry_longest=0.1)
    async with running(functools.partial(main.serve, timing=timing), world.settings):
        await idling(imap)
        imap.deliver("joe", mail("good"), "Archive")
        imap.deliver("joe", mail("poison"), "Archive")
        imap.deliver("joe", mail("better"), "Archive")
        assert await recorded(world, 3) == [(1, "delivered"), (2, "deferred"), (3, "delivered")]
        await world.change_user(partner, "joe", tag="joe-2")  # another session: it enters INBOX first
        imap.deliver("joe", mail("in the inbox"))
        await recorded(world, 4)

        async def is_told():
            return await status(world) == ("watching", "1 mail could not be read yet; it is tried again")

        await eventually(is_told)
        is_broken = False

        async def all_delivered():
            return [outcome for _, outcome in await outcomes(world)] == ["delivered"] * 4

        await eventually(all_delivered)

    assert ("Archive", "poison") in await webhooks(world)
    assert await world.value("SELECT count(*) FROM deferred_mails") == 0


async def test_a_moved_mail_whose_record_is_deleted_has_no_second_webhook(world, imap):
    await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    await world.rows("UPDATE users SET connected_at = now() - interval '200 days'")
    now = datetime.now(UTC)
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 2)
        imap.deliver("joe", mail("recent"), "Archive", internal_date=now - timedelta(days=50))
        imap.deliver("joe", mail("forgotten"), "Archive", internal_date=now - timedelta(days=100))
        imap.deliver("joe", mail("before"), "Archive", internal_date=now - timedelta(days=300))
        found = await recorded(world, 3)

    assert found == [(1, "delivered"), (2, "before_connect"), (3, "delivered")]
    why = await world.value("SELECT detail FROM messages WHERE uid = 2")
    assert why.startswith("older than MESSAGE_RETENTION_DAYS and moved here")


async def test_announced_mail_of_a_further_folder_is_found_at_once_and_no_counts_are_asked_for(world, imap):
    """NOTIFY: the interval of the counts does not matter."""
    imap.capabilities.append("NOTIFY")
    world.overrides["folder_status_seconds"] = "3600"
    _, account = await set_up(world, imap, "Projects/a", "Projects/b", selectors=["INBOX", "Projects/*"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 3)
        await idling(imap)
        began = len(imap.log)
        for number, folder in enumerate(("Projects/b", "INBOX", "Projects/a", "Projects/b"), 1):
            imap.deliver("joe", mail(f"mail {number}"), folder)
            await recorded(world, number)
        await idling(imap)
        account.mailboxes["Projects/b"].expunge(1)  # no news, which wakes nobody
        imap.deliver("joe", mail("mail 5"), "Projects/a")
        await recorded(world, 5)
        commands = [entry.name for entry in list(imap.log)[began:]]

    assert len(await webhooks(world)) == 5
    assert commands.count("LIST") == 0
    assert commands.count("STATUS") <= commands.count("EXAMINE") / 2  # of the visited folder, when it is left
    assert imap.connects == 1


async def test_mail_that_comes_while_a_folder_is_left_is_found(world, imap):
    """It is announced neither as of the open mailbox nor as of another one."""
    imap.capabilities.append("NOTIFY")
    world.overrides["folder_status_seconds"] = "3600"
    _, account = await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 2)
        await idling(imap)
        left = []

        async def slip_in(session, command):
            if session.mailbox is account.mailboxes["Archive"] and not left:
                left.append(True)
                account.mailboxes["Archive"].append(mail("second"))  # the answer to EXAMINE does not tell
            return None

        imap.on("EXAMINE", slip_in)
        imap.deliver("joe", mail("first"), "Archive")
        await recorded(world, 2)

    assert await webhooks(world) == [("Archive", "first"), ("Archive", "second")]


async def test_when_announcements_end_the_counts_are_asked_for_again(world, imap):
    imap.capabilities.append("NOTIFY")
    await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 2)
        await idling(imap)
        (session,) = imap.sessions
        session.end_announcements()
        session.push(b"* OK [NOTIFICATIONOVERFLOW] too much\r\n")
        await imap.wait_for(lambda: [entry for entry in imap.log if entry.name == "STATUS"])
        imap.deliver("joe", mail("late"), "Archive")
        await recorded(world, 1)

    assert await webhooks(world) == [("Archive", "late")]


async def test_a_flood_of_announcements_costs_a_bounded_amount(world, imap):
    """A hostile server announces new names and new mail that is not there, all the time."""
    imap.capabilities.append("NOTIFY")
    await set_up(world, imap, "Archive", selectors=["INBOX", "Archive"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 2)
        await idling(imap)
        (session,) = imap.sessions
        began = len(imap.log)
        for number in range(2000):
            flood = b'* LIST () "/" "x%d"\r\n* STATUS Archive (UIDNEXT %d)\r\n' % (number, number % 7 + 1)
            session.send(flood)
            if number % 50 == 0:
                await asyncio.sleep(0.02)
        imap.deliver("joe", mail("hello"))
        await recorded(world, 1)
        commands = [entry.name for entry in list(imap.log)[began:]]

    assert commands.count("EXAMINE") + commands.count("LIST") < 60


async def test_a_new_folder_is_announced_and_the_subscription_is_made_anew(world, imap, monkeypatch):
    """Dovecot announces nothing after a second NOTIFY SET, unless NOTIFY NONE comes between."""
    monkeypatch.setattr("superimap.idler.folder_pace.SOONEST_LIST_SECONDS", 0.1)
    imap.capabilities.append("NOTIFY")
    world.overrides["folder_status_seconds"] = "3600"
    _, account = await set_up(world, imap, "Projects/a", selectors=["INBOX", "Projects/*"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 2)
        await idling(imap)
        account.create("Projects/new")
        await folders_with_cursors(world, 3)
        await idling(imap)
        imap.deliver("joe", mail("in new"), "Projects/new")
        await recorded(world, 1)
        given = [entry.line.split()[2] for entry in imap.log if entry.name == "NOTIFY"]

    assert given == ["SET", "NONE", "SET"]
    assert imap.connects == 1


async def test_mail_that_is_announced_amid_the_answer_to_another_command_is_found(world, imap):
    """The answer to STATUS of one folder may have the announcement of another one."""
    imap.capabilities.append("NOTIFY")
    world.overrides["folder_status_seconds"] = "3600"
    await set_up(world, imap, "Archive", "Support", selectors=["INBOX", "Archive", "Support"])
    async with running(services.run_idler, world.settings):
        await folders_with_cursors(world, 3)
        await idling(imap)
        came = []

        async def slip_in(session, command):
            if not came:
                came.append(imap.deliver("joe", mail("second"), "Support"))
            return None

        imap.on("STATUS", slip_in)  # of Archive, after it was visited
        imap.deliver("joe", mail("first"), "Archive")
        await recorded(world, 2)

    assert await webhooks(world) == [("Archive", "first"), ("Support", "second")]
