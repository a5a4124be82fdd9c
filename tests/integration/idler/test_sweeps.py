"""Sweeps: the history of a mailbox becomes webhooks, each mail once, at a pace that leaves live mail its place."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

import pytest

from fixtures.world import credentials, eventually, running
from superimap.db.watching import sweeps as sweep_queries
from superimap.domain import sweeps as pace
from superimap.domain.sweeps import SweepDirection, SweepState
from superimap.launch import services
from superimap.testing.imap.hooks import answering, ending, only
from tests.integration.idler.sweeping import OLD, olds
from tests.integration.idler.test_watching import contents, idling, mail


async def test_each_mail_of_the_range_has_one_webhook_and_none_at_the_second_sweep(history):
    await history.set_up(6)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        since, until = OLD + timedelta(minutes=1), OLD + timedelta(minutes=5)
        first = await history.ended(await history.start(since=since, until=until))
        second = await history.ended(await history.start())

    assert (first["state"], first["sent"], first["known"], first["done"]) == ("finished", 4, 0, 6)
    assert (second["sent"], second["known"], second["total"]) == (2, 4, 6)
    assert Counter(await history.subjects()) == Counter(olds(0, 1, 2, 3, 4, 5))
    assert not history.changes


@pytest.mark.parametrize("dry_run", [False, True])
async def test_a_sweep_goes_on_after_it_has_given_its_place_to_others(history, monkeypatch, dry_run):
    monkeypatch.setattr(pace, "SLICE_SECONDS", 0.0)  # each batch is a slice
    await history.set_up(12)
    paying = asyncio.create_task(history.paying())
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        logins = history.imap.logins
        row = await history.ended(await history.start(dry_run=dry_run))
    paying.cancel()

    assert (row["state"], row["sent"], row["done"], row["failures"]) == ("finished", 12, 12, 0)
    assert sorted(await history.subjects()) == sorted(olds(*([] if dry_run else range(12))))
    assert dry_run or history.imap.logins > logins + 1


async def test_a_partner_whose_receiver_is_slow_leaves_room_for_sweeps_of_others(history, monkeypatch):
    """Its sweeps wait with their connections for what its endpoint owes."""
    monkeypatch.setattr(pace, "BACKLOG_WAIT_SECONDS", 600.0)
    world, imap = history.world, history.imap
    await history.set_up(0)
    slow = history.partner
    other = await world.partner("other", new_mail_webhook="https://other.example.com/hook")
    await world.connection(other, code="TEST")
    names = [f"slow{number}" for number in range(6)]
    for name in (*names, "bob"):
        imap.add_account(name, "pw")
        for number in range(7):
            imap.deliver(name, mail(f"{name} {number}"), internal_date=OLD)
    await world.add_users(slow, [credentials(name, name, "pw") for name in names], code="TEST")
    (bob,) = await world.add_users(other, [credentials("bob", "bob", "pw")], code="TEST")
    make = """
        INSERT INTO sweeps (partner_id, user_id, shard, direction, actor_kind, made_by)
        SELECT partner_id, id, shard, 'newest', 'operator', 'x' FROM users WHERE tag <> 'joe' AND (id = $1) = $2
    """

    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT bool_and(status = 'watching') FROM users"))
        await world.rows(make, bob, False)
        await eventually(lambda: world.value("SELECT count(*) >= 2 FROM sweeps WHERE state = 'running'"))
        await world.rows(make, bob, True)
        await eventually(lambda: world.value(f"SELECT sum(sent) >= 5 FROM sweeps WHERE user_id = {bob}"))

    running_now = "SELECT count(*) FROM sweeps WHERE partner_id = $1 AND done > 0"
    assert await world.value(running_now, slow.partner.id) <= pace.MAX_PARTNER_SERVER_SWEEPS


async def test_the_latest_or_the_earliest_mails_are_sent_first(history):
    await history.set_up(6)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        await history.ended(await history.start(max_mails=2))
        newest = await history.subjects()
        row = await history.ended(await history.start(max_mails=2, direction=SweepDirection.OLDEST))

    assert sorted(newest) == olds(4, 5)
    assert sorted(await history.subjects()) == olds(0, 1, 4, 5)
    assert (row["state"], row["sent"], row["total"]) == ("finished", 2, 6)


async def test_a_row_without_a_webhook_gets_one_and_again_sends_each_once_more(history):
    await history.set_up(3)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        box = "SELECT user_id, partner_id, id, uid_validity, 2, 9, 'before_connect' FROM mailboxes"
        await history.world.rows(
            f"INSERT INTO messages (user_id, partner_id, mailbox_id, uid_validity, uid, size, outcome) {box}"
        )
        history.imap.deliver("joe", mail("old 0"), internal_date=OLD)  # a copy, with the same bytes
        await eventually(lambda: history.world.value("SELECT count(*) = 2 FROM messages"))
        await history.world.rows("DELETE FROM deliveries")
        await history.world.rows("UPDATE messages SET outcome = 'no_webhook' WHERE uid = 4")
        first = await history.ended(await history.start())
        again = await history.ended(await history.start(again=True))

    assert (first["sent"], first["known"]) == (3, 1)
    assert (again["sent"], again["known"]) == (3, 1)
    assert sorted(await history.subjects()) == sorted(olds(0, 1, 2) * 2)
    assert await history.world.value("SELECT count(DISTINCT id) FROM deliveries") == 6


async def test_a_dry_run_counts_and_writes_nothing_but_its_counts(history):
    await history.set_up(5)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        row = await history.ended(await history.start(dry_run=True))
        limited = await history.ended(await history.start(dry_run=True, max_mails=2))

    assert (row["state"], row["sent"], row["known"], row["total"]) == ("finished", 5, 0, 5)
    assert limited["sent"] == 2
    assert await history.world.value("SELECT count(*) FROM messages") == 0
    assert await history.world.value("SELECT count(*) FROM deliveries") == 0


async def test_a_backlog_holds_a_sweep_but_no_live_mail_and_pause_resume_and_cancel_keep_its_place(history):
    await history.set_up(60)
    most = pace.MAX_OWED_WEBHOOKS + pace.MAX_BATCH_MAILS
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        await history.until(sweep, lambda row: row["sent"] == most)
        history.imap.deliver("joe", mail("news"))
        await eventually(lambda: history.world.value("SELECT count(*) = 1 FROM messages WHERE found_by = 1"))
        assert await history.world.value("SELECT count(*) FROM deliveries") == most + 1
        assert await history.subjects("live") == ["news"]

        await history.set_state(sweep, SweepState.PAUSED)
        await history.pay()
        held = await history.until(sweep, lambda row: row["state"] == "paused")
        await history.set_state(sweep, SweepState.WAITING)
        await history.until(sweep, lambda row: row["sent"] > held["sent"])
        await history.set_state(sweep, SweepState.CANCELLED)
        await history.pay()
        cancelled = await history.row(sweep)
        paying = asyncio.create_task(history.paying())
        rest = await history.ended(await history.start())
        paying.cancel()

    assert held["sent"] == most
    assert cancelled["state"] == "cancelled"
    assert cancelled["finished_at"] is not None
    assert rest["sent"] + cancelled["sent"] == 60
    assert rest["known"] == cancelled["sent"] + 1
    assert await history.world.value("SELECT count(DISTINCT message_id) FROM deliveries") == 61


async def test_records_whose_answers_are_lost_and_connections_that_end_repeat_no_webhook(
    history, monkeypatch
):
    await history.set_up(60)
    record, calls = sweep_queries.record, Counter[str]()

    async def lossy(*arguments, **options):
        calls["all"] += 1
        if calls["all"] % 4 == 1:
            raise ConnectionResetError("before the record")
        recorded = await record(*arguments, **options)
        assert await record(*arguments, **options) is None, "a batch is recorded once"
        if calls["all"] % 4 == 2:
            raise ConnectionResetError("after the record")
        return recorded

    monkeypatch.setattr(sweep_queries, "record", lossy)
    history.imap.on("UID FETCH", only(ending(after=100), times=2))
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        paying = asyncio.create_task(history.paying())
        row = await history.ended(await history.start())
        paying.cancel()

    assert (row["state"], row["sent"] + row["known"], row["done"]) == ("finished", 60, 60)
    assert calls["all"] >= 4
    assert await history.world.value("SELECT count(*) FROM deliveries") == 60
    assert await history.world.value("SELECT count(DISTINCT message_id) FROM deliveries") == 60


async def test_idlers_that_follow_one_another_finish_a_sweep_with_one_webhook_for_each_mail(history):
    await history.set_up(90)
    sweep, paying = None, asyncio.create_task(history.paying())
    for part in range(4):
        async with running(services.run_idler, history.world.settings):
            await idling(history.imap)
            sweep = sweep or await history.start()
            if part == 3:
                await history.ended(sweep)
            await history.until(sweep, lambda row, part=part: row["sent"] > 20 * part)
    paying.cancel()

    row = await history.row(sweep)
    assert (row["state"], row["sent"], row["done"]) == ("finished", 90, 90)
    assert await history.world.value("SELECT count(DISTINCT message_id) FROM deliveries") == 90
    assert await history.world.value("SELECT count(*) FROM deliveries") == 90


async def test_an_idler_that_has_lost_the_shard_writes_nothing(history, monkeypatch):
    await history.set_up(3)
    record, answers = sweep_queries.record, []

    async def fenced(*arguments, **options):
        if not answers:
            await history.world.rows("UPDATE shards SET epoch = epoch + 1")
            answers.append(await record(*arguments, **options))
            answers.append(await history.world.value("SELECT count(*) FROM messages"))
            await history.world.rows("UPDATE shards SET epoch = epoch - 1")
            return answers[0]
        return await record(*arguments, **options)

    monkeypatch.setattr(sweep_queries, "record", fenced)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        row = await history.ended(await history.start())

    assert answers == [None, 0]
    assert row["sent"] == 3


async def test_a_mailbox_that_is_renumbered_in_the_middle_is_swept_again_without_a_second_webhook(history):
    await history.set_up(60)
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        before = await history.until(sweep, lambda row: row["sent"] == 10)
        inbox = history.imap.accounts["joe"].inbox
        inbox.set_uidvalidity(inbox.uidvalidity + 1)
        paying = asyncio.create_task(history.paying())
        row = await history.ended(sweep)
        paying.cancel()

    assert row["uid_validity"] != before["uid_validity"]
    assert (row["state"], row["sent"], row["known"], row["done"]) == ("finished", 60, 10, 60)
    assert await history.world.value("SELECT count(*) FROM deliveries") == 60


async def test_another_folder_is_swept_and_one_that_does_not_exist_fails(history):
    await history.set_up(1)
    history.imap.accounts["joe"].create("Archive")
    for number in range(2):
        raw = mail(f"filed {number}")
        history.imap.deliver("joe", raw, "Archive", internal_date=OLD + timedelta(minutes=number))
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        row = await history.ended(await history.start(folder="Archive"))
        missing = await history.ended(await history.start(folder="Nothing"))
        history.imap.deliver("joe", mail("news"))
        await eventually(lambda: history.world.value("SELECT count(*) = 3 FROM deliveries"))

    assert (row["state"], row["sent"]) == ("finished", 2)
    assert sorted(await history.subjects()) == ["filed 0", "filed 1"]
    assert (missing["state"], missing["reason"]) == ("failed", "the mailbox has no folder 'Nothing'")


async def test_a_sweep_waits_for_a_disabled_endpoint(history, monkeypatch):
    monkeypatch.setattr(pace, "ENDPOINT_WAIT_SECONDS", 0.1)
    await history.set_up(3)
    await history.world.rows("UPDATE endpoints SET disabled_at = now(), disabled_reason = 'failing'")
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        sweep = await history.start()
        waiting = await history.until(sweep, lambda row: row["reason"])
        await history.world.rows("UPDATE endpoints SET disabled_at = NULL, disabled_reason = NULL")
        row = await history.ended(sweep)

    assert waiting["reason"] == "the new_mail endpoint is disabled"
    assert (row["state"], row["reason"], row["sent"]) == ("finished", None, 3)


async def test_a_sweep_on_dovecot_leaves_every_mail_as_it_was(history, dovecot):
    world = history.world
    login = dovecot.add_user(password="secret")
    for number in range(25):
        flags = "S" if number % 2 else ""
        dovecot.deliver(login, mail(f"old {number}"), date=OLD + timedelta(minutes=number), flags=flags)
    await asyncio.to_thread(dovecot.wait_for_login, login, "secret")
    history.partner = await world.partner(new_mail_webhook="https://app.example.com/hook")
    await world.provider("127.0.0.1", dovecot.port)
    await world.connection(history.partner)
    await world.user(history.partner, "joe", login=login, password="secret")
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT status = 'watching' FROM users"), within=30)
        before = dovecot.flags(login)
        paying = asyncio.create_task(history.paying())
        row = await history.ended(await history.start(since=OLD + timedelta(minutes=5)))
        paying.cancel()

    after = dovecot.flags(login)
    assert (row["state"], row["sent"]) == ("finished", 20)
    assert Counter(await history.subjects()) == Counter(olds(*range(5, 25)))
    assert after == before


async def test_a_server_that_claims_more_mails_than_a_mailbox_has_fails_its_sweep(history):
    await history.set_up(3)
    await history.world.rows("UPDATE mailboxes SET last_uid = 9000000000")
    async with running(services.run_idler, history.world.settings):
        await idling(history.imap)
        await history.world.rows("UPDATE mailboxes SET last_uid = 9000000000")
        claims = answering(b"* SEARCH", b'* ESEARCH (TAG "%(tag)s") UID ALL 1:8000000000', b"%(tag)s OK done")
        history.imap.on("UID SEARCH", claims)
        row = await history.ended(await history.start())

    assert (row["state"], row["reason"]) == ("failed", "the mail server claims 8,000,000,000 mails")


async def test_a_sweep_of_a_further_watched_folder_ends_at_its_cursor_and_names_the_folder(
    history, world, imap
):
    await history.set_up(1)
    imap.accounts["joe"].create("Archive")
    imap.deliver("joe", mail("archived"), "Archive", internal_date=OLD)
    await world.change_user(history.partner, "joe", folders=["INBOX", "Archive"])
    async with running(services.run_idler, world.settings):
        await idling(imap)
        sweep = await history.start(folder="Archive")
        row = await history.ended(sweep)

    assert (row["state"], row["sent"], row["up_to_uid"]) == ("finished", 1, 1)
    (content,) = await contents(world)
    assert (content["mailbox"], content["origin"]) == ("Archive", "sweep")
