"""Behaviour of mail servers that the public reported: mail is delivered, and the status is true."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import time
from collections.abc import Sequence
from typing import Any

import pytest

from fixtures.world import World, credentials, running
from superimap.db import engine
from superimap.db.accounts import connections, providers, users
from superimap.idler import main
from superimap.idler.timing import SessionTiming
from superimap.imap.types import Timeouts
from superimap.testing import ImapServer
from tests.support.dialogues import BY_CLASS, Dialogue

WITHIN_SECONDS = 10.0
WAITS = ("IDLE", "NOOP", "STATUS")
TIMING = SessionTiming(
    timeouts=Timeouts(command=1.0, fetch=0.4, done=0.5, logout=0.2),
    backoff_first=0.02, backoff_longest=0.1, throttled=0.1, poll=0.1,
)  # fmt: skip
FOUND = """
    SELECT u.tag, u.status, u.status_reason, d.uid, d.sha1
    FROM users u LEFT JOIN messages d ON d.user_id = u.id AND d.outcome = 'delivered'
"""


async def register(world: World, served: Sequence[tuple[Dialogue, ImapServer]]) -> None:
    """Create a provider and a user for each server, in one transaction."""
    partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    async with engine.sessions(world.database_url) as sessions, sessions.begin() as db:
        for dialogue, imap in served:
            number = dialogue.number
            provider = await providers.create(
                db, code=number, title=number, imap_host=imap.host, imap_port=imap.port, imap_tls="none",
                **dialogue.provider,
            )  # fmt: skip
            await connections.create(db, world.vault, partner.partner.id, provider, {})  # type: ignore[arg-type]
            linked = await connections.by_code(db, partner.partner.id, number)
            assert linked is not None
            await users.create(db, world.vault, linked, credentials(number, "joe", "pw"))  # type: ignore[arg-type]


async def deliver_late(dialogue: Dialogue, imap: ImapServer) -> None:
    """Deliver the late mail once the client waits. That it never does is found by `until_fulfilled`."""
    if dialogue.late is None:
        return
    with contextlib.suppress(TimeoutError):
        await imap.wait_for(lambda: any(event.name in WAITS for event in imap.log), WITHIN_SECONDS)
        imap.deliver("joe", dialogue.late, mailbox=dialogue.folder)


def shortcomings(dialogue: Dialogue, imap: ImapServer, rows: Sequence[Any]) -> list[str]:
    """What is missing of the required behaviour."""
    mine = [row for row in rows if row["tag"] == dialogue.number]
    status, reason = mine[0]["status"], mine[0]["status_reason"] or ""
    folder = imap.accounts["joe"].mailboxes[dialogue.folder]
    digests = {each.uid: hashlib.sha1(each.raw).digest() for each in folder.messages}
    found = {row["uid"] for row in mine if row["uid"] in digests and row["sha1"] == digests[row["uid"]]}
    missing = []
    if status != dialogue.status or dialogue.reason not in reason:
        missing.append(f"status {status}: {reason}")
    if not dialogue.delivered <= found:
        missing.append(f"delivered {found}")
    logins = sum(event.name in ("LOGIN", "AUTHENTICATE") for event in imap.log)
    if logins > dialogue.logins:
        missing.append(f"{logins} logins")
    return missing


async def until_fulfilled(
    world: World, served: Sequence[tuple[Dialogue, ImapServer]]
) -> dict[str, list[str]]:
    """Wait until every dialogue is fulfilled; return what is missing when time is up."""
    ends_at = time.monotonic() + WITHIN_SECONDS
    while True:
        rows = await world.rows(FOUND)
        missing = {each.number: lack for each, imap in served if (lack := shortcomings(each, imap, rows))}
        if not missing or time.monotonic() > ends_at:
            return missing
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("kind", BY_CLASS)
async def test_mail_is_delivered_despite_reported_behaviour_of_servers(world, monkeypatch, kind):
    async with contextlib.AsyncExitStack() as stack:
        served = []
        for index, dialogue in enumerate(BY_CLASS[kind], start=1):
            imap = await stack.enter_async_context(ImapServer(f"127.1.1.{index}"))
            account = imap.add_account("joe", "pw")
            if dialogue.folder != "INBOX":
                account.create(dialogue.folder)
            dialogue.prepare(imap)
            served.append((dialogue, imap))
        await register(world, served)
        for dialogue, imap in served:
            if dialogue.early is not None:
                imap.deliver("joe", dialogue.early, mailbox=dialogue.folder)
        renew = 1.0 if kind == "never pushing" else 300.0
        settings = world.settings.model_copy(update={"idle_renew": renew})
        async with running(functools.partial(main.serve, timing=TIMING), settings):
            *_, missing = await asyncio.gather(
                *(deliver_late(*each) for each in served), until_fulfilled(world, served)
            )

    assert missing == {}
