"""The client against both servers, without TLS, with STARTTLS and with TLS."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.errors import AuthenticationFailed, Disconnected, ImapError, Refused, TlsFailed
from superimap.imap.fetching import PEEK_BYTES
from superimap.imap.types import Login
from superimap.mail.message import read_message_id
from superimap.testing.chaos.hostile_mails import small_mail
from tests.integration.scenarios.servers import PASSWORD, PASSWORDS, TIMEOUTS, UNICODE, Between, MailServer

IN_CLEAR = pytest.mark.parametrize("server", ["fake-none", "dovecot-none"], indirect=True)
STARTTLS = pytest.mark.parametrize("server", ["fake-starttls", "dovecot-starttls"], indirect=True)
ENCRYPTED = pytest.mark.parametrize(
    "server", ["fake-starttls", "dovecot-starttls", "fake-tls", "dovecot-tls"], indirect=True
)
FOLDERS = ["Entwürfe [x]", 'say "hi" & (wait)', "日本語", "a b", "back\\slash", "{42}", "%*"]


async def news(client: ImapClient, *, within: float = 20.0) -> None:
    """Wait for news; the IDLE would last longer than this timeout."""
    async with asyncio.timeout(within):
        await anext(client.idle(renew=600, poll=600))


async def idling(client: ImapClient) -> asyncio.Task[None]:
    """A task that waits for news, returned once the server has accepted the IDLE."""
    waiting = asyncio.create_task(news(client))
    async with asyncio.timeout(10):
        while not client._protocol.idling:
            await asyncio.sleep(0.001)
    return waiting


@pytest.mark.parametrize("kind", PASSWORDS)
async def test_the_right_password_opens_the_mailbox_and_a_wrong_one_does_not(server: MailServer, kind: str):
    password = PASSWORDS[kind]
    user = await server.user(password)
    async with server.session(user, password) as client:
        assert "IDLE" in client.capabilities
        await client.examine("INBOX")

    with pytest.raises(AuthenticationFailed) as refused:
        async with server.session(user, password[:-1] + "y"):
            pass
    assert password[:-1] not in str(refused.value)


async def test_an_unknown_user_is_refused_permanently(server: MailServer):
    await server.user()
    with pytest.raises(AuthenticationFailed):
        async with server.session('nobody "at" home'):
            pass


async def test_the_first_mail_in_an_empty_mailbox_is_announced(server: MailServer):
    user = await server.user()
    async with server.session(user) as client:
        selected = await client.examine("INBOX")
        assert (selected.exists, await client.search_uids(), await client.highest_uid()) == (0, [], 0)
        assert await client.search_uids(since=date.today() - timedelta(days=1)) == []
        waiting = await idling(client)
        server.deliver(user, small_mail("first"))
        await waiting

        assert await client.search_uids(after=0) == [1]


async def test_a_push_ends_idle_and_the_mail_can_be_fetched(server: MailServer):
    user = await server.user()
    moment = datetime(2024, 2, 29, 23, 59, 58, tzinfo=UTC)
    server.deliver(user, small_mail("old"))
    async with server.session(user) as client:
        selected = await client.examine("INBOX")
        assert (selected.exists, selected.uid_next) == (1, 2)
        assert await client.search_uids(after=1) == []
        waiting = await idling(client)
        raw = small_mail('* a :( \\ "{42}')
        server.deliver(user, raw, date=moment)
        await waiting

        assert await client.search_uids(after=1) == [2]
        (meta,) = await client.fetch_meta([2, 77])
        assert (meta.uid, meta.size, meta.internal_date) == (2, len(raw), moment)
        assert meta.message_id == read_message_id(raw)
        assert await client.fetch_raw(2) == raw
        assert await client.fetch_raw(77) is None
    assert server.seen(user) == 0


async def test_new_mails_are_fetched_with_metadata_in_one_command(server: MailServer):
    user = await server.user()
    raws = [small_mail("few"), small_mail("most", body=b"0123456789abcd\r\n" * 2500), small_mail("last")]
    assert len(raws[1]) > PEEK_BYTES
    server.deliver(user, small_mail("old"))
    async with server.session(user) as client:
        await client.examine("INBOX")
        assert await client.fetch_next(1, 5) == []
        waiting = await idling(client)
        for raw in raws:
            server.deliver(user, raw)
        await waiting
        async with asyncio.timeout(10):
            while client.arrivals < len(raws):
                await client.noop()

        found = await client.fetch_next(1, 5)
        assert [(meta.uid, meta.size, meta.message_id) for meta, _ in found] == [
            (uid, len(raw), read_message_id(raw)) for uid, raw in enumerate(raws, start=2)
        ]
        assert [raw for _, raw in found] == [
            raws[0],
            None,
            raws[2],
        ]  # a mail that was read in part comes without its bytes
        assert [meta for meta, _ in found] == await client.fetch_meta([2, 3, 4])
        assert [meta.uid for meta, _ in await client.fetch_next(1, 2)] == [2, 3]
        assert await client.fetch_next(4, 3) == await client.fetch_next(2**32 - 1, 3) == []
    assert server.seen(user) == 0


async def test_a_mail_between_examine_or_search_and_idle_is_announced(server: MailServer):
    user = await server.user()
    async with server.session(user) as client:
        await client.examine("INBOX")
        server.deliver(user, small_mail("after examine"))
        await news(client)
        assert await client.search_uids(after=0) == [1]
        server.deliver(user, small_mail("after search"))
        await news(client)

        assert await client.search_uids(after=1) == [2]


async def test_mails_that_arrive_during_a_fetch_are_announced(server: MailServer):
    user = await server.user()
    big = small_mail("big", body=b"0123456789abcd\r\n" * 65_536)
    server.deliver(user, big)
    async with server.session(user) as client:
        await client.examine("INBOX")
        assert await client.search_uids(after=0) == [1]
        reading = asyncio.create_task(client.fetch_raw(1))
        await asyncio.sleep(0)
        server.deliver(user, small_mail("meanwhile"))

        assert await reading == big
        await news(client)
        assert await client.search_uids(after=1) == [2]


async def test_a_gap_between_uids_hides_no_mail(server: MailServer):
    user = await server.user()
    server.deliver(user, small_mail("before"))
    async with server.session(user) as client:
        await client.examine("INBOX")
    await server.next_uid(user, 1_000_000)
    server.deliver(user, small_mail("after"))
    async with server.session(user) as client:
        await client.examine("INBOX")
        assert await client.search_uids(after=1) == [1_000_000]
        assert await client.search_uids(after=1_000_000) == []
        assert await client.search_uids(after=2**32 - 2) == []


async def test_two_hundred_mails_at_once_are_all_found(server: MailServer):
    user = await server.user()
    async with server.session(user) as client:
        await client.examine("INBOX")
        waiting = await idling(client)
        for number in range(200):
            server.deliver(user, small_mail(f"mail {number}"))
        await waiting
        found: list[int] = []
        while len(found) < 200:
            found += await client.search_uids(after=found[-1] if found else 0)
            if len(found) < 200:
                await news(client)
        metas = await client.fetch_meta(found)

    assert found == list(range(1, 201))
    assert {meta.message_id for meta in metas} == {
        read_message_id(small_mail(f"mail {n}")) for n in range(200)
    }


async def test_a_mail_expunged_between_search_and_fetch_is_absent(server: MailServer):
    user = await server.user()
    for number in range(3):
        server.deliver(user, small_mail(f"mail {number}"))
    async with server.session(user) as client:
        await client.examine("INBOX")
        assert await client.search_uids() == [1, 2, 3]
        await server.expunge(user, 2)

        assert await client.still_there([1, 2, 3]) == {1, 3}
        assert [meta.uid for meta in await client.fetch_meta([1, 2, 3])] == [1, 3]
        assert await client.fetch_raw(2) is None
        assert await client.fetch_raw(3) == small_mail("mail 2")
        server.deliver(user, small_mail("as many as before"))
        await news(client)
        assert await client.search_uids(after=3) == [4]


async def test_another_uidvalidity_in_an_open_mailbox_never_goes_unnoticed(server: MailServer):
    user = await server.user()
    server.deliver(user, small_mail("old"))
    async with server.session(user) as client:
        before = await client.examine("INBOX")
        waiting = await idling(client)
        await server.set_uidvalidity(user, before.uid_validity + 7)
        server.deliver(user, small_mail("new"))
        # Within a session no UID changes its meaning (RFC 3501 section 2.3.1.1): it ends, or is unaffected.
        try:
            await waiting
            assert await client.search_uids(after=1) == [2]
        except ImapError as error:
            assert isinstance(error, Disconnected)
    async with server.session(user) as client:
        after = await client.examine("INBOX")
        assert after.uid_validity == before.uid_validity + 7
        assert len(await client.search_uids()) == 2


async def test_mailboxes_of_any_name_are_listed_and_opened(server: MailServer):
    user = await server.user()
    for name in FOLDERS:
        await server.create(user, name)
        server.deliver(user, small_mail("there"), name)
    async with server.session(user) as client:
        assert {*FOLDERS, "INBOX"} <= {folder.name for folder in await client.list_folders()}
        for name in FOLDERS:
            assert await client.status(name, "MESSAGES", "UIDNEXT") == {"MESSAGES": 1, "UIDNEXT": 2}
            assert (await client.examine(name)).exists == 1
            assert await client.fetch_raw(1) == small_mail("there")


async def test_a_renamed_mailbox_exists_only_under_its_new_name(server: MailServer):
    user = await server.user()
    await server.create(user, "Über")
    server.deliver(user, small_mail("stays"), "Über")
    async with server.session(user) as client:
        await client.examine("Über")
        await server.rename(user, "Über", "Unter & 下")
    async with server.session(user) as client:
        with pytest.raises(Refused):
            await client.examine("Über")
        await client.examine("Unter & 下")
        assert await client.fetch_raw(1) == small_mail("stays")
        waiting = await idling(client)
        server.deliver(user, small_mail("comes"), "Unter & 下")
        await waiting
        assert await client.search_uids(after=1) == [2]


async def test_a_mailbox_deleted_in_idle_does_not_hang_the_client(server: MailServer):
    user = await server.user()
    await server.create(user, "Work")
    async with server.session(user) as client:
        await client.examine("Work")
        waiting = await idling(client)
        await server.delete(user, "Work")
        with pytest.raises(ImapError):  # reported by a BYE, or by the answer to the next command
            await asyncio.wait_for(waiting, 20)
            await client.search_uids(after=0)
            await client.examine("Work")
    async with server.session(user) as client:
        with pytest.raises(Refused):
            await client.examine("Work")
        await client.examine("INBOX")  # a refusal does not end the session


async def test_mail_with_nul_and_8_bit_arrives_as_the_server_has_it(server: MailServer):
    user = await server.user()
    raw = small_mail("caf\udce9 \udcff", body=b"\xff\xfe\x00 nul\r\n* 9 EXISTS\r\n)\r\nA1 OK {5}\r\n")
    server.deliver(user, raw)
    async with server.session(user) as client:
        await client.examine("INBOX")
        (meta,) = await client.fetch_meta([1])
        got = await client.fetch_raw(1)
        assert await client.search_uids(after=1) == []  # and the session is in sync

    assert got in (raw, raw.replace(b"\0", b"\x80"))  # RFC 3501 has no NUL: Dovecot sends another byte
    assert meta.size == len(raw)
    assert meta.message_id == read_message_id(raw)
    assert server.seen(user) == 0


async def test_a_mail_of_five_megabytes_arrives_byte_for_byte(server: MailServer):
    user = await server.user()
    raw = small_mail("big", body=bytes(range(1, 256)).replace(b"\r", b"").replace(b"\n", b"\r\n") * 20_600)
    assert len(raw) > 5 << 20
    server.deliver(user, raw)
    async with server.session(user) as client:
        await client.examine("INBOX")
        assert await client.fetch_raw(1) == raw
        assert (await client.fetch_meta([1]))[0].size == len(raw)


async def test_the_end_of_a_session_is_detected_in_idle_and_in_a_command(server: MailServer):
    user = await server.user()
    async with server.session(user) as client:
        await client.examine("INBOX")
        waiting = await idling(client)
        await server.drop(user)
        with pytest.raises(Disconnected):
            await waiting
        with pytest.raises(Disconnected):
            await client.noop()


async def test_a_server_that_restarts_has_the_same_mail_under_the_same_uids(server: MailServer):
    user = await server.user()
    server.deliver(user, small_mail("before"))
    async with server.session(user) as client:
        before = await client.examine("INBOX")
        waiting = await idling(client)
        await server.restart()
        with pytest.raises(Disconnected):
            await waiting
    server.deliver(user, small_mail("after"))
    async with server.session(user) as client:
        after = await client.examine("INBOX")
        assert after.uid_validity == before.uid_validity
        assert await client.search_uids(after=1) == [2]
        assert await client.fetch_raw(1) == small_mail("before")


@STARTTLS
@pytest.mark.parametrize(
    "how", [{"hidden": [b"STARTTLS"]}, {"refuses": b"STARTTLS"}], ids=["hidden", "refused"]
)
async def test_no_password_is_sent_where_starttls_is_stripped(server: MailServer, how: dict[str, Any]):
    user = await server.user()
    async with Between(server, **how) as way:
        with pytest.raises(TlsFailed):
            async with server.session(user, where=way.where):
                pass

    assert (b"STARTTLS" in way.said) == ("refuses" in how)
    assert b"LOGIN" not in way.said
    assert b"AUTHENTICATE" not in way.said


@IN_CLEAR
@pytest.mark.parametrize(
    ("hidden", "said"),
    [
        ([b"SASL-IR"], rb"AUTHENTICATE PLAIN\r\n[A-Za-z0-9+/=]+\r\n"),
        # Without LITERAL+ too: what follows a refused LOGIN must not be taken for commands.
        ([b"AUTH=PLAIN", b"AUTH=LOGIN"], rb"LOGIN \"[^\"]+\" \{\d+\}\r\n"),
        ([b"LITERAL+", b"SASL-IR", b"ESEARCH", b"SPECIAL-USE"], rb"AUTHENTICATE PLAIN\r\n"),
    ],
    ids=["no-sasl-ir", "literal", "bare"],
)
async def test_every_login_method_and_kind_of_literal_is_accepted(
    server: MailServer, hidden: list[bytes], said: bytes
):
    user = await server.user(UNICODE)
    server.deliver(user, small_mail("there"))
    async with (
        Between(server, hidden=hidden) as way,
        server.session(user, UNICODE, where=way.where) as client,
    ):
        await client.examine("INBOX")
        assert await client.search_uids() == [1]
        assert "INBOX" in {folder.name for folder in await client.list_folders()}

    assert re.search(said, way.said)


@IN_CLEAR
async def test_without_idle_new_mail_is_found_by_polling(server: MailServer):
    user = await server.user()
    async with Between(server, hidden=[b"IDLE"]) as way, server.session(user, where=way.where) as client:
        await client.examine("INBOX")
        server.deliver(user, small_mail("asked for"))
        await anext(client.idle(poll=0.01))
        assert await client.search_uids(after=0) == [1]

    assert b"IDLE" not in way.said
    assert b"NOOP" in way.said


@ENCRYPTED
async def test_an_untrusted_certificate_exposes_no_password(server: MailServer):
    user = await server.user()
    with pytest.raises(TlsFailed):
        async with connect(server.where, Login(user, PASSWORD), timeouts=TIMEOUTS):
            pass
