"""Watched folders on Dovecot: names, counts by LIST-STATUS, moves, renames and deletions."""

import pytest

from fixtures.world import eventually, running
from superimap.launch import services
from tests.integration.idler.test_folders import webhooks
from tests.integration.idler.test_watching import mail
from tests.support import dovecot as servers
from tests.support import needs

NO_NOTIFY = (
    "imap_capability = IMAP4rev1 IDLE LITERAL+ UIDPLUS SPECIAL-USE LIST-EXTENDED LIST-STATUS ESEARCH\n"
)
LISTED = ["INBOX", "Projects/*", "Größe", "\\Sent"]


WITH_NOTIFY = "mailbox_list_index = yes\n"


@pytest.fixture(params=[NO_NOTIFY, WITH_NOTIFY], ids=["counts", "NOTIFY"])
def dovecot(request):
    if servers.DOVECOT_PROGRAM is None:
        needs("Dovecot: apt-get install dovecot-imapd")
    with servers.running(request.param) as server:
        yield server


async def set_up(world, dovecot, *, count=1):
    world.overrides["folder_status_seconds"] = "1"
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider(dovecot.host, dovecot.port)
    await world.connection(partner)
    logins = [dovecot.add_user() for _ in range(count)]
    for login in logins:
        for folder in ("Projects/a", "Gr&APYA3w-e", "Sent"):
            dovecot._maildir(login, folder)
        dovecot.wait_for_login(login, "secret")
    await world.add_users(
        partner,
        [
            {
                "tag": each,
                "email": each,
                "login_username": each,
                "login_password": "secret",
                "folders": LISTED,
            }
            for each in logins
        ],
    )
    return logins


def save(dovecot, login, name, folder):
    """Deliver a mail as Dovecot's delivery agent does, which updates the index of the mailboxes."""
    path = dovecot.base / f"{login}.eml"
    path.write_bytes(mail(name))
    path.chmod(0o644)
    dovecot.doveadm("save", "-u", login, "-m", folder, str(path))


async def delivered(world, count):
    async def enough():
        return await world.value("SELECT count(*) FROM deliveries") >= count

    await eventually(enough, within=30)


async def caught_up(world, count):
    async def all_of_them():
        return await world.value("SELECT count(*) FROM mailboxes WHERE last_uid IS NOT NULL") >= count

    await eventually(all_of_them, within=30)


async def test_each_mail_has_one_webhook_through_moves_renames_and_deletions(world, dovecot, monkeypatch):
    monkeypatch.setattr("superimap.idler.folder_pace.LIST_SECONDS", 2.0)
    (login,) = await set_up(world, dovecot)
    async with running(services.run_idler, world.settings):
        await caught_up(world, 4)
        for folder in ("Größe", "INBOX", "Projects/a", "Sent"):
            save(dovecot, login, f"in {folder}", folder)
        await delivered(world, 4)
        dovecot.doveadm("move", "-u", login, "Projects/a", "mailbox", "INBOX", "all")
        dovecot.doveadm("mailbox", "rename", "-u", login, "Projects/a", "Projects/b")
        save(dovecot, login, "after the rename", "Projects/b")
        await delivered(world, 5)
        dovecot.doveadm("mailbox", "delete", "-u", login, "Projects/b")
        save(dovecot, login, "after the deletion", "Größe")
        await delivered(world, 6)

    assert await webhooks(world) == [
        ("Größe", "after the deletion"), ("Größe", "in Größe"), ("INBOX", "in INBOX"),
        ("Projects/a", "in Projects/a"), ("Projects/b", "after the rename"), ("Sent", "in Sent"),
    ]  # fmt: skip
    assert await world.value("SELECT count(*) FROM messages WHERE outcome = 'duplicate'") >= 1
