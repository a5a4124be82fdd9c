"""Guarantees of an idler: every new mail is recorded and gives one webhook, despite faults in between."""

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

from fixtures.world import World, eventually, running
from superimap.core.crypto import Place
from superimap.db.accounts.partners import NewPartner
from superimap.idler.timing import SessionTiming
from superimap.launch import services
from superimap.testing import ImapServer
from superimap.testing.imap.hooks import only

QUICK = SessionTiming(backoff_first=0.02, backoff_longest=0.2)


def mail(subject: str = "hello", *, message_id: str | None = None, body: str = "text") -> bytes:
    message_id = message_id or f"{subject.replace(' ', '-')}@example.com"
    return (
        f"Date: Mon, 7 Feb 1994 21:52:25 -0800\r\nFrom: Fred <fred@example.com>\r\nTo: joe@example.com\r\n"
        f"Subject: {subject}\r\nMessage-ID: <{message_id}>\r\n\r\n{body}\r\n"
    ).encode()


async def set_up(
    world: World, imap: ImapServer, *, url: str | None = "https://app.example.com/hook"
) -> NewPartner:
    imap.add_account("joe", "pw")
    partner = await world.partner(new_mail_webhook=url)
    await world.provider(imap.host, imap.port)
    await world.connection(partner)
    return partner


async def idling(imap: ImapServer, count: int = 1) -> None:
    await imap.wait_for(lambda: sum(session.idling for session in imap.sessions) >= count)


async def outcomes(world: World) -> list[tuple[int, str]]:
    rows = await world.rows("SELECT uid, outcome FROM messages ORDER BY mailbox_id, uid_validity, uid")
    return [(row["uid"], row["outcome"]) for row in rows]


async def recorded(world: World, count: int) -> list[tuple[int, str]]:
    async def enough() -> Any:
        found = await outcomes(world)
        return found if len(found) >= count else None

    found: list[tuple[int, str]] = await eventually(enough)
    return found


async def contents(world: World) -> list[dict[str, Any]]:
    rows = await world.rows("SELECT id, partner_id, content FROM deliveries ORDER BY created_at, id")
    return [
        json.loads(
            world.vault.open(
                row["content"], Place("deliveries", "content", row["partner_id"], str(row["id"]))
            )
        )
        for row in rows
    ]


async def test_webhook_content_takes_less_room_than_its_mail(world, imap):
    """It is compressed before it is encrypted: ordinary text is halved."""
    partner = await set_up(world, imap)
    await world.user(partner, "joe-tag", login="joe", password="pw")
    raw = mail("prose").replace(
        b"\r\n\r\n", b"\r\n\r\n" + b"The mail is as long as this sentence, again.\r\n" * 50
    )
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", raw)
        await recorded(world, 1)

    (content,) = await contents(world)
    assert content["rfc822"] == raw.decode()
    assert await world.value("SELECT octet_length(content) FROM deliveries") < len(raw) / 2


async def test_a_mail_that_arrives_during_idle_causes_a_webhook_with_its_exact_content(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe-tag", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        raw = mail("smile 🙂", message_id="smile@example.com")
        uid = imap.deliver("joe", raw)

        assert await recorded(world, 1) == [(uid, "delivered")]

    (content,) = await contents(world)
    assert content["rfc822"] == raw.decode()
    assert content["sha1"] == hashlib.sha1(raw).hexdigest()
    assert content["user_tag"] == "joe-tag"
    assert content["imap_provider_code"] == "TEST"
    assert content["envelope"]["message_id"] == "<smile@example.com>"
    (sender,) = content["envelope"]["from"]
    assert sender == {"name": "Fred", "route": None, "mailbox": "fred", "host": "example.com"}


async def test_mails_from_before_the_connect_are_recorded_without_a_webhook(world, imap):
    partner = await set_up(world, imap)
    imap.deliver("joe", mail("old"), internal_date=datetime.now(UTC) - timedelta(hours=2))
    imap.deliver("joe", mail("ancient"), internal_date=datetime.now(UTC) - timedelta(days=400))
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        new = imap.deliver("joe", mail("new"))
        found = await recorded(world, 2)

    assert found == [(1, "before_connect"), (new, "delivered")]


async def test_L2_a_gap_of_many_uids_hides_nothing(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.accounts["joe"].inbox.uidnext = 1_000_000
        uid = imap.deliver("joe", mail())

        assert await recorded(world, 1) == [(uid, "delivered")]


async def test_C5_uids_up_to_32_bits_are_kept(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    imap.accounts["joe"].inbox.uidnext = 4_294_967_290
    async with running(services.run_idler, world.settings):
        await idling(imap)
        uid = imap.deliver("joe", mail())

        assert await recorded(world, 1) == [(uid, "delivered")]
    assert await world.value("SELECT last_uid FROM mailboxes") == 4_294_967_290


async def test_L3_mail_that_arrived_while_no_idler_ran_is_found_whatever_its_date(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("before"))
        await recorded(world, 1)
    for days in (30, 10, 3, 0):
        imap.deliver("joe", mail(f"days {days}"), internal_date=datetime.now(UTC) - timedelta(days=days))

    async with running(services.run_idler, world.settings):
        found = await recorded(world, 5)

    assert [outcome for _, outcome in found] == ["delivered"] * 5


async def test_L7_a_mail_between_search_and_idle_is_found(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")

    async def deliver_just_before_idle(session: Any, command: Any) -> None:
        imap.deliver("joe", mail("in between"))

    imap.on("IDLE", only(deliver_just_before_idle, times=1))
    async with running(services.run_idler, world.settings):
        assert await recorded(world, 1) == [(1, "delivered")]


async def test_L10_a_reused_message_id_does_not_suppress_another_mail(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("first", message_id="same@example.com"))
        await recorded(world, 1)
        imap.deliver("joe", mail("second", message_id="same@example.com"))
        await recorded(world, 2)
        imap.deliver("joe", mail("first", message_id="same@example.com"))
        found = await recorded(world, 3)

    assert [outcome for _, outcome in found] == ["delivered", "delivered", "duplicate"]
    assert await world.value("SELECT duplicate_of FROM messages WHERE uid = 3") == await world.value(
        "SELECT id FROM messages WHERE uid = 1"
    )


async def test_two_copies_in_one_batch_give_one_webhook(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    imap.deliver("joe", mail("twin"))
    imap.deliver("joe", mail("twin"))
    async with running(services.run_idler, world.settings):
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["delivered", "duplicate"]
    assert await world.value("SELECT count(*) FROM deliveries") == 1


async def test_L4_a_mail_too_big_is_recorded_with_the_reason(world, imap):
    world.overrides["max_email_size"] = 2000
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("big", body="x" * 3000))
        imap.deliver("joe", mail("small"))
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["too_big", "delivered"]
    assert "MAX_EMAIL_SIZE is 2000" in await world.value("SELECT detail FROM messages WHERE uid = 1")


async def test_L5_a_forged_tracer_subject_suppresses_no_mail(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("TRACER: 0123456789abcdef0123"))

        assert await recorded(world, 1) == [(1, "delivered")]


async def test_C7_bytes_that_are_not_utf8_are_sent_beside_the_text(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    raw = mail("latin").replace(b"text", b"caf\xe9")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", raw)
        await recorded(world, 1)

    (content,) = await contents(world)
    import base64

    assert base64.b64decode(content["rfc822_base64"]) == raw
    assert content["sha1"] == hashlib.sha1(raw).hexdigest()
    assert content["rfc822"] == raw.decode("utf-8", "replace")


async def test_without_a_webhook_url_the_mail_is_recorded_without_a_delivery(world, imap):
    partner = await set_up(world, imap, url=None)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail())

        assert await recorded(world, 1) == [(1, "no_webhook")]
    assert await world.value("SELECT count(*) FROM deliveries") == 0


async def test_seen_flags_stay_untouched(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        uid = imap.deliver("joe", mail())
        await recorded(world, 1)

    assert "\\Seen" not in imap.accounts["joe"].inbox.get(uid).flags


async def test_a_new_user_is_watched_at_once_and_an_archived_user_is_not(world, imap):
    world.overrides["reconcile_interval"] = 600  # the bell alone must do
    partner = await set_up(world, imap)
    async with running(services.run_idler, world.settings):
        await world.user(partner, "joe", login="joe", password="pw")
        await idling(imap)
        await world.change_user(partner, "joe", archived=True)
        await imap.wait_for(lambda: not imap.sessions)
        imap.deliver("joe", mail("while archived"))
        await world.change_user(partner, "joe", archived=False)

        assert await recorded(world, 1) == [(1, "delivered")]


async def test_a_wrong_password_is_reported_and_not_retried_until_it_changes(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="wrong")
    async with running(services.run_idler, world.settings):

        async def refused() -> bool:
            return bool(
                await world.value("SELECT count(*) FROM users WHERE status = 'authentication_failed'")
            )

        await eventually(refused)
        await asyncio.sleep(2.2)  # two rounds: time enough to try again, were it to
        assert imap.failed_logins == 1

        await world.change_user(partner, "joe", login_password="pw")
        await idling(imap)
    assert await world.value("SELECT status FROM users") == "watching"


async def test_a_lost_connection_is_replaced_without_missing_mail(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.drop_all(reset=True)
        imap.deliver("joe", mail("meanwhile"))

        assert await recorded(world, 1) == [(1, "delivered")]


async def test_a_changed_uidvalidity_neither_resends_nor_loses_mail(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail("one"))
        await recorded(world, 1)
        imap.accounts["joe"].inbox.set_uidvalidity(77)
        imap.deliver("joe", mail("two"))
        found = await recorded(world, 3)

    assert [outcome for _, outcome in found] == ["delivered", "duplicate", "delivered"]


async def test_an_idler_without_its_shard_writes_nothing(world, imap):
    partner = await set_up(world, imap)
    await world.user(partner, "joe", login="joe", password="pw")
    world.overrides |= {"reconcile_interval": 600, "heartbeat_interval": 60, "heartbeat_expiry": 120}
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await world.rows("UPDATE shards SET epoch = epoch + 1")
        imap.deliver("joe", mail())
        await imap.wait_for(lambda: not imap.sessions)

    assert await outcomes(world) == []
    assert await world.value("SELECT count(*) FROM deliveries") == 0


async def test_two_idlers_share_the_users_and_a_stopping_idler_hands_over(world, imap):
    partner = await set_up(world, imap)
    for number in range(20):
        imap.add_account(f"user{number}", "pw")
        await world.user(partner, f"user{number}", login=f"user{number}", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap, 20)
        async with running(services.run_idler, world.settings):

            async def shared() -> bool:
                return await world.value("SELECT count(DISTINCT owner) FROM shards") == 2

            await eventually(shared)
            await idling(imap, 20)
        await eventually(lambda: world.value("SELECT bool_and(owner IS NOT NULL) FROM shards"))
        await idling(imap, 20)
        for number in range(20):
            imap.deliver(f"user{number}", mail(f"to {number}"))
        found = await recorded(world, 20)

    assert [outcome for _, outcome in found] == ["delivered"] * 20
    assert await world.value("SELECT count(*) FROM idlers") == 0


async def test_an_interrupted_first_visit_sends_no_old_mail_as_new(world, imap):
    partner = await set_up(world, imap)
    for number in range(250):
        imap.deliver("joe", mail(f"old {number}"), internal_date=datetime.now(UTC) - timedelta(hours=1))
    await world.user(partner, "joe", login="joe", password="pw")
    fetches = iter(range(1000))

    async def reset_the_third(session: Any, command: Any) -> bytes | None:
        if next(fetches) == 2:
            session.reset()
            return b""
        return None

    imap.on("UID FETCH", reset_the_third)
    async with running(services.run_idler, world.settings):
        await eventually(lambda: world.value("SELECT count(*) = 1 FROM mailboxes WHERE last_uid = 250"))
        imap.deliver("joe", mail("new"))
        found = await recorded(world, 251)

    assert [outcome for _, outcome in found] == ["before_connect"] * 250 + ["delivered"]


async def test_a_user_with_another_mail_account_is_watched_from_then_on(world, imap):
    partner = await set_up(world, imap)
    imap.add_account("jane", "pw")
    await world.user(partner, "joe", login="joe", password="pw")
    for number in range(3):
        imap.deliver("jane", mail(f"jane's {number}"), internal_date=datetime.now(UTC) - timedelta(days=1))
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for number in range(5):
            imap.deliver("joe", mail(f"joe's {number}"))
        await recorded(world, 5)
        await world.change_user(partner, "joe", login_username="jane", login_password="pw")
        await imap.wait_for(lambda: any(each.idling and each.username == "jane" for each in imap.sessions))
        uid = imap.deliver("jane", mail("jane's new one"))
        await eventually(lambda: world.value("SELECT count(*) = 6 FROM deliveries"))

    assert uid == 4, "of the same UIDVALIDITY, and below what joe's cursor was"


async def test_the_message_metric_counts_the_outcomes_that_the_database_records(world, imap):
    from superimap.core import metrics

    def count(outcome: str) -> float:
        return metrics.MESSAGES.labels(outcome)._value.get()

    partner = await set_up(world, imap, url=None)
    await world.user(partner, "joe", login="joe", password="pw")
    before = count("no_webhook"), count("delivered")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail())
        await recorded(world, 1)
        await eventually(lambda: _true(count("no_webhook") == before[0] + 1))

    assert count("delivered") == before[1]


async def _true(value: bool) -> bool:
    return value


async def test_a_changed_tag_is_used_at_once(world, imap):
    world.overrides["reconcile_interval"] = 600
    partner = await set_up(world, imap)
    await world.user(partner, "old", login="joe", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await world.change_user(partner, "old", tag="new")
        imap.deliver("joe", mail())
        await recorded(world, 1)

    assert [content["user_tag"] for content in await contents(world)] == ["new"]
