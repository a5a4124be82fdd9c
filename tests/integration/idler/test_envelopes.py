"""The envelope of a webhook is read from the mail's own bytes, on whatever way the mail was found."""

from __future__ import annotations

import base64

import pytest

from fixtures.world import running
from superimap.launch import services
from tests.integration.idler.test_watching import contents, idling, recorded, set_up

ODD = {
    "<LONG@example.com>": b"Message-ID:\r\n <LONG@example.com>\r\nSubject: a long subject\r\n in two lines\r\n",
    "<first@example.com>": b"Message-ID: <first@example.com>\r\nMessage-ID: <second@example.com>\r\n"
    b"From: root (Cron Daemon)\r\nTo: undisclosed-recipients:;\r\n",
    "<latin@example.com>": b"From: Some Body\r\nTo: Bee, Ann <ann@x.org>\r\nMessage-ID: <latin@example.com>\r\n"
    b"Subject: caf\xe9\r\n",
    "<behind@example.com>": b"X-A: %s\r\n" % (b"a" * 40_000)
    + b"Message-ID: <behind@example.com>\r\nSubject: s\r\n",
}


def address(name: str | None, mailbox: str | None, host: str | None) -> dict[str, str | None]:
    return {"name": name, "route": None, "mailbox": mailbox, "host": host}


@pytest.mark.parametrize("way", ["announced", "searched for"])
async def test_odd_headers_are_read_the_same_for_webhook_and_table(world, imap, way):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        if way == "searched for":
            imap.accounts["joe"].inbox.uidnext = 9
        for number, head in enumerate(ODD.values(), start=1):
            imap.deliver("joe", head + b"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\n\r\ntext\r\n")
            await recorded(world, number)

    found = {content["envelope"]["message_id"]: content for content in await contents(world)}
    rows = await world.rows("SELECT message_id, fingerprint FROM messages ORDER BY uid")
    assert [row["message_id"] for row in rows] == list(ODD)
    assert found.keys() == ODD.keys()
    assert all(row["fingerprint"] for row in rows)
    long, first, latin, _ = (found[name] for name in ODD)
    assert long["envelope"]["subject"] == "a long subject in two lines"
    assert first["envelope"]["from"] == first["envelope"]["sender"] == [address("Cron Daemon", "root", None)]
    assert first["envelope"]["to"] == [
        address(None, "undisclosed-recipients", None),
        address(None, None, None),
    ]
    assert latin["envelope"]["from"] == [address("Some Body", None, None)]
    assert latin["envelope"]["to"] == [address("Bee, Ann", "ann", "x.org")]
    assert latin["envelope"]["subject"] == "caf\ufffd"
    assert b"Subject: caf\xe9\r\n" in base64.b64decode(latin["rfc822_base64"])
    assert "ENVELOPE" not in str(imap.log)
