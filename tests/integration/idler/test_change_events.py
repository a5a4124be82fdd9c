"""Change events: each change of a mail that had its webhook is reported once, and nothing that did not happen."""

import asyncio
import dataclasses
import functools

import pytest

from fixtures.world import eventually, running
from superimap.idler import main
from superimap.testing.imap.hooks import answering
from tests.integration.idler.test_folders import move
from tests.integration.idler.test_watching import QUICK, contents, idling, mail, recorded

HOOK = "https://app.example.com/hook"
EVENTS = "https://app.example.com/events"
SWIFT = dataclasses.replace(QUICK, change_pause=0.1, change_wait=1.0, change_doubt=2.0)


def idler(world, timing=SWIFT):
    return running(functools.partial(main.serve, timing=timing), world.settings)


async def set_up(world, imap, *, url=EVENTS, **fields):
    imap.add_account("joe", "pw")
    partner = await world.partner(new_mail_webhook=HOOK, events_webhook=url)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    user = {"tag": "joe", "email": "joe", "login_username": "joe", "login_password": "pw"}
    await world.add_users(partner, [user | {"change_events": True} | fields])
    return partner


async def looked(world, count=1):
    """Wait until so many mails have a known state."""

    async def enough():
        return await world.value("SELECT count(*) FROM mail_flags") >= count

    await eventually(enough)


async def baseline(world, imap, *subjects):
    """Deliver mails, and wait until their webhooks and their states are recorded; return their UIDs."""
    await idling(imap)
    await eventually(lambda: world.value("SELECT changes_seen_at IS NOT NULL FROM mailboxes"))
    uids = [imap.deliver("joe", mail(each)) for each in subjects]
    await recorded(world, len(uids))
    return uids


async def events(world, count=0):
    """The change events, once there are so many."""

    async def enough():
        found = [each for each in await contents(world) if "event" in each]
        return found if len(found) >= count else None

    return await eventually(enough) if count else [e for e in await contents(world) if "event" in e]


def brief(event):
    """An event without its ids and times."""
    parts = [event["event"], event["uid"]]
    return tuple(parts + [sorted(event[key]) for key in ("added", "removed") if event.get(key)])


async def test_flags_deletions_and_nothing_else_are_reported_at_once(world, imap):
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        first, second = await baseline(world, imap, "first", "second")
        inbox.set_flags(first, ["\\Seen", "$Label"])
        await events(world, 1)
        inbox.set_flags(first, ["\\seen"])
        await events(world, 2)
        inbox.expunge(second)
        found = await events(world, 3)

    assert [brief(each) for each in found] == [
        ("mail_flags_changed", first, ["$Label", "\\Seen"]),
        ("mail_flags_changed", first, ["$Label"]),
        ("mail_deleted", second),
    ]
    new_mail = (await contents(world))[0]
    assert found[0]["mail_sha1"] == new_mail["sha1"]
    assert found[0]["mailbox"] == "INBOX"
    assert found[0]["flags"] == ["$Label", "\\Seen"]


async def test_what_was_so_at_the_first_look_is_no_news_and_what_changes_while_away_is_reported_once(
    world, imap
):
    await set_up(world, imap)
    await world.rows("UPDATE users SET change_events = false")
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        await idling(imap)
        uids = [imap.deliver("joe", mail(str(each))) for each in range(4)]
        await recorded(world, 4)
        inbox.set_flags(uids[0], ["\\Seen"])
        inbox.expunge(uids[3])
    await world.rows("UPDATE users SET change_events = true, change_events_since = now()")
    async with idler(world):
        await looked(world, 4)
    inbox.set_flags(uids[0], [])
    inbox.expunge(uids[1])
    inbox.set_flags(uids[2], ["\\Flagged"])
    inbox.set_flags(uids[2], ["\\Seen"])
    for _ in range(3):
        async with idler(world):
            await events(world, 3)
            await idling(imap)

    assert sorted(map(brief, await events(world))) == [
        ("mail_deleted", uids[1]),
        ("mail_flags_changed", uids[0], ["\\Seen"]),
        ("mail_flags_changed", uids[2], ["\\Seen"]),
    ]


@pytest.mark.parametrize("is_back", [True, False])
async def test_an_empty_mailbox_is_doubted_before_its_mails_count_as_deleted(world, imap, is_back):
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        await baseline(world, imap, "one", "two")
        inbox.set_flags(1, ["\\Seen"])
        await events(world, 1)
    mails, inbox.messages = inbox.messages, []
    async with idler(world):
        await eventually(lambda: world.value("SELECT count(absent_since) = 2 FROM mail_flags"))
        if is_back:
            inbox.messages = mails
            for session in list(imap.sessions):
                session.close()
            await eventually(lambda: world.value("SELECT count(absent_since) = 0 FROM mail_flags"))
        else:
            await events(world, 3)

    found = [each["event"] for each in await events(world)]
    assert found == ["mail_flags_changed"] + ([] if is_back else ["mail_deleted"] * 2)


async def test_more_changes_than_one_look_records_are_all_reported_once(world, imap, monkeypatch):
    monkeypatch.setattr("superimap.idler.change_looks.PAUSE_SECONDS_PER_CHANGE", 0.001)
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        uids = await baseline(world, imap, *map(str, range(130)))
        for uid in uids:
            inbox.set_flags(uid, ["\\Seen"])
        await events(world, 130)
        inbox.set_flags(1, ["\\Flagged"])
        found = await events(world, 131)

    assert sorted(each["uid"] for each in found) == sorted([1, *uids])


@pytest.mark.parametrize(("url", "is_on"), [(None, True), (EVENTS, False)])
async def test_without_the_setting_or_a_url_nothing_is_asked_and_nothing_recorded(world, imap, url, is_on):
    await set_up(world, imap, url=url)
    await world.rows("UPDATE users SET change_events = $1", is_on)
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        inbox.set_flags(1, ["\\Seen"])
        imap.deliver("joe", mail("two"))
        await recorded(world, 2)

    assert not [entry for entry in imap.log if "FLAGS" in entry.line]
    assert await world.value("SELECT count(*) FROM mail_flags") == 0


async def test_a_server_that_refuses_flags_is_watched_on_and_reports_later(world, imap):
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with idler(world):
        await baseline(world, imap, "one", "two")
        refusal = answering(b"%(tag)s NO not now")

        async def refusing(session, command):
            return await refusal(session, command) if "(UID FLAGS)" in imap.log[-1].line else None

        undo = imap.on("UID FETCH", refusing)
        inbox.set_flags(1, ["\\Seen"])
        await asyncio.sleep(0)
        imap.deliver("joe", mail("three"))
        await recorded(world, 3)
        assert await events(world) == []
        undo()
        inbox.set_flags(2, ["\\Seen"])
        found = await events(world, 2)

    assert sorted(map(brief, found)) == [("mail_flags_changed", uid, ["\\Seen"]) for uid in (1, 2)]
    assert imap.logins == 1


async def test_answers_without_data_are_no_deletions(world, imap):
    await set_up(world, imap)
    inbox = imap.accounts["joe"].inbox
    nothing = answering(b"%(tag)s OK done")

    async def empty(session, command):
        asked = imap.log[-1].line
        return await nothing(session, command) if "FLAGS" in asked or "SEARCH UID" in asked else None

    async with idler(world):
        await baseline(world, imap, "one", "two", "three")
        inbox.set_flags(1, ["\\Seen"])
        await events(world, 1)
        undo = imap.on("*", empty)
        inbox.set_flags(2, ["\\Seen"])
        await imap.wait_for(lambda: [each for each in imap.log if "FETCH 1:3 (UID FLAGS)" in each.line][1:])
        await idling(imap)
        assert await world.value("SELECT count(absent_since) FROM mail_flags") == 0
        undo()
        inbox.set_flags(3, ["\\Seen"])
        found = await events(world, 3)

    assert sorted(map(brief, found)) == [("mail_flags_changed", uid, ["\\Seen"]) for uid in (1, 2, 3)]


async def test_a_server_that_ends_sessions_instead_of_an_answer_is_watched_without_looks(world, imap):
    await set_up(world, imap)

    async def ending(session, command):
        if "(UID FLAGS)" in imap.log[-1].line:
            session.close()
            return b""
        return None

    imap.on("UID FETCH", ending)
    async with idler(world):
        await idling(imap)
        await eventually(lambda: world.value("SELECT changes_seen_at IS NOT NULL FROM mailboxes"))
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        imap.accounts["joe"].inbox.set_flags(1, ["\\Seen"])
        await eventually(lambda: world.value("SELECT status_reason LIKE '%FETCH FLAGS%' FROM users"))
        await idling(imap)
        imap.deliver("joe", mail("two"))
        await recorded(world, 2)

    assert imap.logins == 3


async def test_moves_between_watched_folders_are_followed(world, imap):
    account = await set_up_folders(world, imap)
    async with idler(world):
        await baseline(world, imap, "one", "two")
        await eventually(lambda: world.value("SELECT count(changes_seen_at) = 2 FROM mailboxes"))
        move(account, "INBOX", "Archive", 1)
        (moved,) = await events(world, 1)
        account.mailboxes["Archive"].set_flags(1, ["\\Seen"])
        imap.deliver("joe", mail("so that the folder is visited"), "Archive")
        _, flagged = await events(world, 2)
        move(account, "INBOX", "Elsewhere", 2)
        *_, deleted = await events(world, 3)

    assert (moved["event"], moved["mailbox"], moved["to_mailbox"]) == ("mail_moved", "INBOX", "Archive")
    assert (flagged["message"], flagged["mailbox"]) == (moved["to_message"], "Archive")
    assert flagged["mail_sha1"] == moved["mail_sha1"]
    assert brief(deleted) == ("mail_deleted", 2)


async def set_up_folders(world, imap):
    world.overrides["folder_status_seconds"] = "4"  # longer than a mail may be absent
    await set_up(world, imap, folders=["INBOX", "Archive"])
    account = imap.accounts["joe"]
    account.create("Archive")
    account.create("Elsewhere")
    return account
