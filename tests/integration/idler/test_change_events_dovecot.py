"""Change events on Dovecot: with QRESYNC, with CONDSTORE alone, and by comparison."""

import asyncio

import pytest

from fixtures.world import eventually
from superimap.idler.change_looks import ChangeLooks
from superimap.idler.change_reading import ChangeReader
from tests.integration.idler.test_change_events import EVENTS, HOOK, brief, events, idler
from tests.integration.idler.test_folders_dovecot import caught_up, delivered, save
from tests.support import dovecot as servers

BASE = "IMAP4rev1 IDLE LITERAL+ UIDPLUS SPECIAL-USE LIST-EXTENDED LIST-STATUS ESEARCH"


@pytest.fixture(params=["QRESYNC and NOTIFY", "CONDSTORE", "comparison"])
def dovecot(request):
    extra = "" if request.param == "comparison" else " CONDSTORE"
    settings = f"imap_capability = {BASE}{extra}\n"
    if "QRESYNC" in request.param:
        settings = "mailbox_list_index = yes\n"
    with servers.running(settings) as server:
        yield server


async def set_up(world, dovecot, **fields):
    world.overrides["folder_status_seconds"] = "1"
    partner = await world.partner(new_mail_webhook=HOOK, events_webhook=EVENTS)
    await world.provider(dovecot.host, dovecot.port)
    await world.connection(partner)
    login = dovecot.add_user()
    dovecot._maildir(login, "Archive")
    dovecot.wait_for_login(login, "secret")
    user = {"tag": login, "email": login, "login_username": login, "login_password": "secret"}
    await world.add_users(partner, [user | {"change_events": True} | fields])
    return login


def flag(dovecot, login, command, flags, uid, folder="INBOX"):
    dovecot.doveadm("flags", command, "-u", login, flags, "mailbox", folder, "uid", str(uid))


async def looked(world, count=1):
    await eventually(
        lambda: world.value("SELECT count(changes_seen_at) >= $1 FROM mailboxes", count), within=30
    )


async def test_changes_by_another_client_are_reported_once_while_watching_and_after_a_restart(world, dovecot):
    login = await set_up(world, dovecot)
    async with idler(world):
        await looked(world)
        for name in ("one", "two", "three"):
            save(dovecot, login, name, "INBOX")
        await delivered(world, 3)
        flag(dovecot, login, "add", "\\Seen $Label", 1)
        await events(world, 1)
        flag(dovecot, login, "remove", "\\Seen", 1)
        dovecot.doveadm("expunge", "-u", login, "mailbox", "INBOX", "uid", "2")
        await events(world, 3)
    flag(dovecot, login, "add", "\\Flagged", 1)
    dovecot.doveadm("expunge", "-u", login, "mailbox", "INBOX", "uid", "3")
    async with idler(world):
        await events(world, 5)
    async with idler(world):
        await caught_up(world, 1)
        flag(dovecot, login, "remove", "$Label", 1)
        found = await events(world, 6)

    assert [brief(each) for each in found[:1]] == [("mail_flags_changed", 1, ["$Label", "\\Seen"])]
    assert sorted(map(brief, found[1:3])) == [("mail_deleted", 2), ("mail_flags_changed", 1, ["\\Seen"])]
    assert sorted(map(brief, found[3:5])) == [("mail_deleted", 3), ("mail_flags_changed", 1, ["\\Flagged"])]
    assert [brief(each) for each in found[5:]] == [("mail_flags_changed", 1, ["$Label"])]


async def test_a_mailbox_of_the_same_highestmodseq_is_read_only_without_qresync(world, dovecot, monkeypatch):
    login = await set_up(world, dovecot)
    async with idler(world):
        await looked(world)
        save(dovecot, login, "one", "INBOX")
        await delivered(world, 1)
        flag(dovecot, login, "add", "\\Seen", 1)
        await events(world, 1)
    done = []
    for owner, name in ((ChangeReader, "read"), (ChangeLooks, "look")):
        monkeypatch.setattr(owner, name, noting(done, name, getattr(owner, name)))
    async with idler(world):
        await eventually(lambda: asyncio.sleep(0, "look" in done))

    has_qresync = "imap_capability" not in dovecot.extra
    assert ("read" in done) is not has_qresync


def noting(done, name, method):
    async def noted(*args):
        result = await method(*args)
        done.append(name)
        return result

    return noted


async def test_a_move_by_another_client_is_followed(world, dovecot):
    login = await set_up(world, dovecot, folders=["INBOX", "Archive"])
    async with idler(world):
        await looked(world, 2)
        save(dovecot, login, "one", "INBOX")
        await delivered(world, 1)
        dovecot.doveadm("move", "-u", login, "Archive", "mailbox", "INBOX", "all")
        (moved,) = await events(world, 1)
        flag(dovecot, login, "add", "\\Answered", 1, "Archive")
        save(dovecot, login, "so that the folder is visited", "Archive")
        _, flagged = await events(world, 2)

    assert (moved["event"], moved["to_mailbox"]) == ("mail_moved", "Archive")
    assert (flagged["message"], flagged["added"]) == (moved["to_message"], ["\\Answered"])
