"""Duplicates give no second webhook and tracers give none; no outsider can cause either."""

import dataclasses
import os
import time
from datetime import UTC, datetime, timedelta

import pytest

from fixtures.world import eventually, running
from superimap.launch import services
from superimap.mail import tracer
from tests.integration.idler.test_watching import idling, mail, recorded, set_up


async def create_user(world, imap, **values):
    """Create a partner with the user joe; return the user's id."""
    partner = await set_up(world, imap)
    user = await world.user(partner, "joe", login="joe", password="pw")
    if values:
        await world.change_user(partner, "joe", **values)
    return user


async def deliver_and_list_outcomes(world, imap, *mails):
    """Deliver these mails one by one to an idling session; return their outcomes."""
    for count, raw in enumerate(mails, 1):
        imap.deliver("joe", raw)
        found = await recorded(world, count)
    return [outcome for _, outcome in found]


# Duplicates.


async def test_a_copy_of_the_headers_does_not_suppress_the_original(world, imap):
    await create_user(world, imap)
    async with running(services.run_idler, world.settings):
        await idling(imap)

        found = await deliver_and_list_outcomes(
            world, imap, mail(body="of the attacker"), mail(body="the true one")
        )

    assert found == ["delivered", "delivered"]


async def test_an_unsigned_copy_with_known_body_does_not_suppress_the_original(world, imap):
    await create_user(world, imap)
    true = b"DKIM-Signature: v=1; b=abc\r\n" + mail()
    async with running(services.run_idler, world.settings):
        await idling(imap)

        found = await deliver_and_list_outcomes(world, imap, mail(), true)

    assert found == ["delivered", "delivered"]


async def test_a_copy_in_the_same_batch_and_second_does_not_suppress_the_original(world, imap):
    await create_user(world, imap)
    one_moment = datetime.now(UTC)
    for raw in (mail(body="of the attacker"), b"X: unsigned\r\n" + mail(), mail()):
        imap.deliver("joe", raw, internal_date=one_moment)
    async with running(services.run_idler, world.settings):
        found = await recorded(world, 3)

    assert [outcome for _, outcome in found] == ["delivered"] * 3


@pytest.mark.parametrize("is_one_batch", [True, False])
async def test_a_hundred_copies_give_one_webhook_and_all_refer_to_it(world, imap, is_one_batch):
    await create_user(world, imap)
    if is_one_batch:
        for _ in range(100):
            imap.deliver("joe", mail())
    async with running(services.run_idler, world.settings):
        if not is_one_batch:
            await idling(imap)
            for _ in range(100):
                imap.deliver("joe", mail())
        found = await recorded(world, 100)

    assert sorted(outcome for _, outcome in found) == ["delivered"] + ["duplicate"] * 99
    first = await world.value("SELECT id FROM messages WHERE outcome = 'delivered'")
    assert await world.value("SELECT count(*) FROM messages WHERE duplicate_of = $1", first) == 99
    assert await world.value("SELECT count(*) FROM deliveries") == 1


async def test_copies_in_one_batch_refer_to_the_earlier_mail(world, imap):
    await create_user(world, imap)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await deliver_and_list_outcomes(world, imap, mail())
    imap.deliver("joe", mail())
    imap.deliver("joe", mail())
    async with running(services.run_idler, world.settings):
        await recorded(world, 3)

    rows = await world.rows("SELECT id, duplicate_of FROM messages ORDER BY uid")
    assert [row["duplicate_of"] for row in rows] == [None, rows[0]["id"], rows[0]["id"]]


@pytest.mark.parametrize(
    ("before", "after", "outcome"),
    [
        pytest.param(mail(), b"X-Moved: yes\r\n" + mail(), "duplicate", id="a header more"),
        pytest.param(mail(), mail().replace(b"\r\n", b"\n"), "duplicate", id="other line ends"),
        pytest.param(mail(), mail() + b"\r\n", "duplicate", id="an empty line more"),
        pytest.param(
            mail("a long subject"),
            mail("a long subject").replace(b"a long subject", b"a long\r\n subject"),
            "duplicate",
            id="folded",
        ),
        pytest.param(
            mail(),
            mail().replace(b"Message-ID", b"message-id"),
            "duplicate",
            id="a header's name in lower case",
        ),
        pytest.param(mail(), mail(body="other"), "delivered", id="another body"),
        pytest.param(
            mail(), mail("Hello", message_id="hello@example.com"), "delivered", id="a subject's case"
        ),
        pytest.param(
            mail().replace(b"Message-ID: <hello@example.com>\r\n", b""),
            b"X-Moved: yes\r\n" + mail().replace(b"Message-ID: <hello@example.com>\r\n", b""),
            "delivered",
            id="no Message-ID",
        ),
        pytest.param(
            mail().replace(b"<hello@example.com>", b" "),
            b"X-Moved: yes\r\n" + mail().replace(b"<hello@example.com>", b" "),
            "delivered",
            id="an empty Message-ID",
        ),
    ],
)
async def test_a_mail_that_the_server_renumbered_and_rewrote_is_a_duplicate(
    world, imap, before, after, outcome
):
    await create_user(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await deliver_and_list_outcomes(world, imap, before)
        inbox.messages[0].raw = after
        inbox.set_uidvalidity(77)
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["delivered", outcome]


async def test_a_mail_with_another_date_is_another_mail_even_after_renumbering(world, imap):
    """An attacker who waits for a renumbering gains nothing: the genuine mail has an INTERNALDATE of its own."""
    await create_user(world, imap)
    inbox = imap.accounts["joe"].inbox
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await deliver_and_list_outcomes(world, imap, b"X: unsigned\r\n" + mail())
        inbox.messages[0].raw, moment = mail(), inbox.messages[0].internal_date
        inbox.messages[0].internal_date = moment + timedelta(seconds=1)
        inbox.set_uidvalidity(77)
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["delivered", "delivered"]


async def test_a_copy_of_another_users_mail_is_delivered(world, imap):
    partner = await set_up(world, imap)
    imap.add_account("ann", "pw")
    await world.user(partner, "joe", login="joe", password="pw")
    await world.user(partner, "ann", login="ann", password="pw")
    async with running(services.run_idler, world.settings):
        await idling(imap, 2)
        for login in ("joe", "ann"):
            imap.deliver(login, mail())
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["delivered", "delivered"]


# Tracers.


def token_for(world, user: int, *, age: float = 0.0) -> str:
    key = tracer.derive_keys(world.encryption_key)[0]
    return tracer.make_token(user, key, now=time.time() - age, nonce=os.urandom(tracer.NONCE_BYTES))


async def record_sent_tracer(world, user: int, token: str) -> None:
    """Record the digest of a tracer, as is done before one is sent."""
    await world.rows(
        "INSERT INTO tracers (partner_id, user_id, token_digest) SELECT partner_id, id, $2 FROM users"
        " WHERE id = $1",
        user, tracer.digest(token),
    )  # fmt: skip


async def count_detected(world) -> int:
    return await world.value("SELECT count(*) FROM tracers WHERE detected_at IS NOT NULL")


@pytest.mark.parametrize("where", ["subject", "header"])
async def test_a_genuine_tracer_is_detected_and_causes_no_webhook(world, imap, where):
    user = await create_user(world, imap, enable_tracer=True)
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    raw = mail(f"TRACER: {token}")
    if where == "header":
        raw = f"X-SuperIMAP-Tracer: {token}\r\n".encode() + mail()
    async with running(services.run_idler, world.settings):
        await idling(imap)

        assert await deliver_and_list_outcomes(world, imap, raw) == ["tracer"]
    assert await count_detected(world) == 1
    assert await world.value("SELECT count(*) FROM deliveries") == 0


async def test_a_tracer_that_gmail_labels_sent_before_inbox_is_no_own_mail(world, imap):
    user = await create_user(world, imap, enable_tracer=True)
    imap.accounts["joe"].gmail = True
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    mails = [mail("own"), mail(f"TRACER: {token}"), mail(f"TRACER: {token}", body="replayed")]
    async with running(services.run_idler, world.settings):
        await idling(imap)
        for count, raw in enumerate(mails, 1):
            imap.deliver("joe", raw, labels=["\\Sent"])
            found = await recorded(world, count)

    assert [outcome for _, outcome in found] == ["own_mail", "tracer", "own_mail"]
    assert await world.value("SELECT count(*) FROM deliveries") == 0


async def test_a_tracer_token_counts_once(world, imap):
    user = await create_user(world, imap, enable_tracer=True)
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    replays = [mail(f"TRACER: {token}", body=body) for body in ("first", "second", "third")]
    imap.deliver("joe", replays[0])
    imap.deliver("joe", replays[1])
    async with running(services.run_idler, world.settings):
        await recorded(world, 2)
        await idling(imap)
        imap.deliver("joe", replays[2])
        found = await recorded(world, 3)

    assert [outcome for _, outcome in found] == ["tracer", "delivered", "delivered"]


async def test_a_tracer_under_a_new_uidvalidity_is_a_duplicate(world, imap):
    user = await create_user(world, imap, enable_tracer=True)
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        await deliver_and_list_outcomes(world, imap, mail(f"TRACER: {token}"))
        imap.accounts["joe"].inbox.set_uidvalidity(77)
        found = await recorded(world, 2)

    assert [outcome for _, outcome in found] == ["tracer", "duplicate"]


async def test_a_mail_that_only_looks_like_a_tracer_is_delivered(world, imap):
    user = await create_user(world, imap, enable_tracer=True)
    other = dataclasses.replace(world, encryption_key="A" * 43 + "=")
    never_sent, expired = (
        token_for(world, user),
        token_for(world, user, age=tracer.TOKEN_LIFETIME_SECONDS + 60),
    )
    of_another, forged = token_for(world, user + 1), token_for(other, user)
    for token in (expired, of_another, forged):
        await record_sent_tracer(world, user, token)
    mails = [mail(f"TRACER: {token}") for token in (never_sent, expired, of_another, forged, "x" * 20)]
    async with running(services.run_idler, world.settings):
        await idling(imap)

        assert await deliver_and_list_outcomes(world, imap, *mails) == ["delivered"] * 5
    assert await count_detected(world) == 0


async def test_tracers_of_a_user_without_tracers_enabled_are_delivered(world, imap):
    user = await create_user(world, imap)
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    async with running(services.run_idler, world.settings):
        await idling(imap)

        assert await deliver_and_list_outcomes(world, imap, mail(f"TRACER: {token}")) == ["delivered"]
    assert await count_detected(world) == 0


async def test_a_recording_repeated_after_a_lost_answer_keeps_the_tracer(world, imap, monkeypatch):
    from superimap.db.watching import intake

    user = await create_user(world, imap, enable_tracer=True)
    token = token_for(world, user)
    await record_sent_tracer(world, user, token)
    record, tries = intake.record, []

    async def losing_the_first_answer(*args, **kwargs):
        answer = await record(*args, **kwargs)
        if args[4]:
            tries.append(answer.outcomes)
        if len(tries) == 1:
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(intake, "record", losing_the_first_answer)
    async with running(services.run_idler, world.settings):
        await idling(imap)
        imap.deliver("joe", mail(f"TRACER: {token}"))

        async def tried_twice() -> bool:
            return len(tries) == 2

        await eventually(tried_twice)

    assert tries == [("tracer",), ()]
    assert await world.value("SELECT count(*) FROM messages WHERE outcome = 'tracer'") == 1
    assert await world.value("SELECT count(*) FROM deliveries") == 0
