"""The fake IMAP server follows the RFCs, and breaks them only as configured."""

import asyncio
import base64
import imaplib
import json
import re
import ssl
from datetime import UTC, datetime, timedelta, timezone

import pytest
import trustme
from imapclient.response_parser import parse_fetch_response

from superimap.testing import ImapServer, ScriptedServer
from superimap.testing.imap import hooks as imap_hooks
from superimap.testing.imap import script
from superimap.testing.imap.envelope import write_addresses, write_envelope
from superimap.testing.imap.names import decode_name, encode_name

MAIL = (
    b'Date: Mon, 6 Jan 2025 10:00:00 +0000\r\nFrom: "O\'Neil, \\"Al\\"" <al@example.org>\r\n'
    b"To: Friends: a@example.org, Bee <b@example.org>;, c@example.org\r\n"
    b'Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n to "you" :(\r\n'
    b"Message-ID: <1@example.org>\r\n\r\nHello\r\n* 5 EXISTS\r\n"
)


class Client:
    """A raw client that sends lines and reads responses, without checking them."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.number = 0

    async def line(self):
        async with asyncio.timeout(10):
            return (await self.reader.readuntil(b"\r\n"))[:-2]

    async def write(self, data):
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, prefix):
        lines = [await self.line()]
        while not lines[-1].startswith(prefix):
            lines.append(await self.line())
        return lines

    async def run(self, command):
        """Send a command; return the lines of its response, the tagged one last and without its tag."""
        self.number += 1
        tag = b"t%d" % self.number
        await self.write(tag + b" " + command + b"\r\n")
        lines = await self.until(tag + b" ")
        return [*lines[:-1], lines[-1].removeprefix(tag + b" ")]

    async def ended(self):
        async with asyncio.timeout(10):
            return await self.reader.read()

    async def idle(self):
        await self.write(b"i IDLE\r\n")
        assert await self.line() == b"+ idling"


@pytest.fixture
async def server():
    async with ImapServer() as server:
        server.add_account("ann@example.org", "secret")
        yield server


@pytest.fixture
def inbox(server):
    return server.accounts["ann@example.org"].inbox


@pytest.fixture
async def connect(server):
    clients = []

    async def connect(*commands, login=True):
        client = Client(*await asyncio.open_connection(server.host, server.port))
        clients.append(client)
        assert (await client.line()).startswith(b"* OK [CAPABILITY IMAP4rev1 ")
        for command in (*([b"LOGIN ann@example.org secret"] if login else []), *commands):
            assert (await client.run(command))[-1].startswith(b"OK"), command
        return client

    yield connect
    for client in clients:
        client.writer.transport.abort()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture
def server_tls(authority):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_tls(authority):
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


# imaplib as an independent client.


async def test_imaplib_logs_in_selects_appends_searches_fetches_and_stores(server):
    def talk():
        with imaplib.IMAP4(server.host, server.port, timeout=10) as imap:
            imap.login("ann@example.org", "secret")
            assert imap.select("INBOX") == ("OK", [b"0"])
            assert imap.append("INBOX", r"(\Flagged)", '"06-Jan-2025 11:00:00 +0100"', MAIL)[0] == "OK"
            assert imap.uid("SEARCH", "FLAGGED") == ("OK", [b"1"])
            _, [(head, body), tail] = imap.uid("FETCH", "1", "(INTERNALDATE RFC822.SIZE BODY.PEEK[])")
            assert imap.uid("STORE", "1", "+FLAGS.SILENT", r"(\Deleted)")[0] == "OK"
            assert imap.expunge() == ("OK", [b"1"])
            return head, body, tail, imap.list()

    head, body, tail, listed = await asyncio.to_thread(talk)

    assert body == MAIL
    assert b'INTERNALDATE "06-Jan-2025 11:00:00 +0100"' in head
    assert b"RFC822.SIZE %d" % len(MAIL) in head
    assert tail == b")"
    assert listed == ("OK", [b'(\\HasNoChildren) "/" "INBOX"'])


async def test_imaplib_authenticates_by_plain_and_by_xoauth2(server):
    server.accounts["ann@example.org"].tokens.add("good")

    def talk(mechanism, answer):
        with imaplib.IMAP4(server.host, server.port, timeout=10) as imap:
            return imap.authenticate(mechanism, lambda _challenge: answer)[0]

    assert await asyncio.to_thread(talk, "PLAIN", b"\0ann@example.org\0secret") == "OK"
    assert await asyncio.to_thread(talk, "XOAUTH2", b"user=ann@example.org\1auth=Bearer good\1\1") == "OK"
    oauth = b"n,a=ann@example.org,\1host=h\1port=143\1auth=Bearer good\1\1"
    assert await asyncio.to_thread(talk, "OAUTHBEARER", oauth) == "OK"
    assert server.logins == 3


# States and logins.


async def test_commands_are_refused_in_the_wrong_state(connect):
    client = await connect(login=False)

    before = [(await client.run(command))[-1][:3] for command in (b"SELECT INBOX", b"IDLE", b"FETCH 1 UID")]
    await client.run(b"LOGIN ann@example.org secret")
    after = [(await client.run(command))[-1][:3] for command in (b"FETCH 1 UID", b"LOGIN a b", b"XYZZY")]

    assert before == [b"BAD"] * 3
    assert after == [b"BAD"] * 3


async def test_a_wrong_password_is_refused_and_counted(server, connect):
    client = await connect(login=False)

    [answer] = await client.run(b"LOGIN ann@example.org wrong")

    assert answer.startswith(b"NO [AUTHENTICATIONFAILED]")
    assert (server.logins, server.failed_logins) == (0, 1)


async def test_a_refused_token_gets_a_challenge_and_then_no(server, connect):
    client = await connect(login=False)
    response = base64.b64encode(b"user=ann@example.org\1auth=Bearer bad\1\1")

    await client.write(b"a AUTHENTICATE XOAUTH2 %s\r\n" % response)
    challenge = (await client.line()).removeprefix(b"+ ")
    await client.write(b"\r\n")
    answer = await client.line()

    assert json.loads(base64.b64decode(challenge))["status"] == "400"
    assert answer.startswith(b"a NO [AUTHENTICATIONFAILED]")
    assert server.failed_logins == 1
    assert (await client.run(b"NOOP"))[-1].startswith(b"OK")


async def test_an_authentication_can_be_cancelled(connect):
    client = await connect(login=False)

    await client.write(b"a AUTHENTICATE PLAIN\r\n")
    prompt = await client.line()
    await client.write(b"*\r\n")

    assert prompt == b"+ "
    assert (await client.line()).startswith(b"a BAD")


async def test_any_login_creates_accounts(server, connect):
    server.any_login = True
    server.deliver("bob", MAIL)
    client = await connect(login=False)

    assert (await client.run(b'LOGIN bob "whatever"'))[-1].startswith(b"OK")
    assert b"* 1 EXISTS" in await client.run(b"EXAMINE INBOX")


async def test_the_log_has_commands_and_no_secrets(server, connect):
    await connect(b"SELECT INBOX")

    assert [event.name for event in server.log] == ["connect", "LOGIN", "SELECT"]
    assert "secret" not in repr(server.log)
    assert server.log[-1].username == "ann@example.org"


# The syntax of commands.


async def test_only_synchronising_literals_get_a_continuation(connect):
    client = await connect(login=False)

    await client.write(b"a LOGIN {15}\r\n")
    prompt = await client.line()
    await client.write(b"ann@example.org {6+}\r\nsecret\r\n")

    assert prompt.startswith(b"+ ")
    assert (await client.line()).startswith(b"a OK")


async def test_commands_arriving_byte_by_byte_or_all_at_once_are_answered_in_order(connect):
    client = await connect()

    for byte in b"a NOOP\r\n":
        await client.write(bytes([byte]))
    first = await client.line()
    await client.write(b"b NOOP\r\nc APPEND INBOX {3+}\r\nabc\r\nd NOOP\r\n")
    rest = [(await client.line())[:4] for _ in range(3)]

    assert first == b"a OK NOOP completed"
    assert rest == [b"b OK", b"c OK", b"d OK"]


async def test_a_literal_beyond_the_limit_is_refused_without_being_read(connect):
    client = await connect()

    [answer] = await client.run(b"APPEND INBOX {4294967296}")

    assert answer.startswith(b"NO [TOOBIG]")


@pytest.mark.parametrize("line", [b"FETCH 1 (UID", b'LOGIN "open', b"FETCH 1 )", b"UID", b"SEARCH UID 0"])
async def test_malformed_commands_are_bad_and_the_session_continues(connect, line):
    client = await connect(b"SELECT INBOX")

    assert (await client.run(line))[-1].startswith(b"BAD")
    assert (await client.run(b"NOOP"))[-1].startswith(b"OK")


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("INBOX", b"INBOX"),
        ("Entwürfe", b"Entw&APw-rfe"),
        ("A&B", b"A&-B"),
        ("日本語", b"&ZeVnLIqe-"),
        ("😀", b"&2D3eAA-"),
    ],
)
def test_mailbox_names_are_modified_utf7(name, wire):
    assert encode_name(name) == wire
    assert decode_name(wire) == name


# Mailboxes.


async def test_list_shows_special_use_and_honours_wildcards(server, connect):
    account = server.accounts["ann@example.org"]
    account.create("[Gmail]", selectable=False)
    account.create("[Gmail]/All Mail", special_use="\\All")
    account.create("Entwürfe", special_use="\\Drafts")
    client = await connect()

    everything = await client.run(b'LIST "" "*"')
    top = await client.run(b'LIST "" %')
    special = await client.run(b'LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)')

    assert b'* LIST (\\HasChildren \\Noselect) "/" "[Gmail]"' in everything
    assert b'* LIST (\\HasNoChildren \\All) "/" "[Gmail]/All Mail"' in everything
    assert len(top) == 4
    assert b'* LIST (\\HasNoChildren \\Drafts) "/" "Entw&APw-rfe"' in special
    assert len(special) == 3
    assert (await client.run(b'EXAMINE "[Gmail]/All Mail"'))[-1].startswith(b"OK [READ-ONLY]")
    assert (await client.run(b"EXAMINE Entw&APw-rfe"))[-1].startswith(b"OK")
    assert (await client.run(b"EXAMINE [Gmail]"))[-1].startswith(b"NO")


async def test_a_failed_select_leaves_no_mailbox_selected(server, connect):
    client = await connect(b"SELECT INBOX")

    [answer] = await client.run(b"SELECT Nowhere")

    assert answer.startswith(b"NO [NONEXISTENT]")
    assert [session.state for session in server.sessions] == ["authenticated"]


async def test_select_reports_uidvalidity_and_uidnext_of_a_mailbox_with_a_gap(inbox, connect):
    inbox.append(MAIL)
    inbox.uidnext = 4_000_000_000
    inbox.append(MAIL)
    inbox.uidvalidity = 4_294_967_295
    client = await connect()

    lines = b"\n".join(await client.run(b"SELECT INBOX"))

    assert b"* 2 EXISTS\n* 2 RECENT\n" in lines
    assert b"[UIDVALIDITY 4294967295]" in lines
    assert b"[UIDNEXT 4000000001]" in lines
    status = await client.run(b"STATUS INBOX (MESSAGES UIDNEXT UNSEEN)")
    assert status[0] == b'* STATUS "INBOX" (MESSAGES 2 UIDNEXT 4000000001 UNSEEN 2)'


def test_uids_always_ascend(inbox):
    inbox.append(MAIL)

    with pytest.raises(ValueError, match="UIDNEXT"):
        inbox.uidnext = 1


async def test_examine_changes_nothing_and_select_clears_recent(inbox, connect):
    inbox.append(MAIL)
    client = await connect()

    for _ in range(2):
        assert b"* 1 RECENT" in await client.run(b"EXAMINE INBOX")
    assert b"* 1 RECENT" in await client.run(b"SELECT INBOX")
    assert b"* 0 RECENT" in await client.run(b"SELECT INBOX")
    assert inbox.messages[0].flags == frozenset()


async def test_only_fetching_a_body_under_select_sets_seen(inbox, connect):
    inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX", b"UID FETCH 1 BODY[]", b"UID FETCH 1 RFC822")
    untouched = inbox.messages[0].flags
    await client.run(b"SELECT INBOX")
    await client.run(b"UID FETCH 1 (ENVELOPE BODY.PEEK[] RFC822.HEADER BODY.PEEK[HEADER]<0.20>)")
    peeked = inbox.messages[0].flags

    answer = await client.run(b"UID FETCH 1 BODY[TEXT]")

    assert untouched == peeked == frozenset()
    assert inbox.messages[0].flags == {"\\Seen"}
    assert any(b"FLAGS (\\Seen" in line for line in answer)


async def test_store_is_refused_under_examine(inbox, connect):
    inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")

    assert (await client.run(b"STORE 1 +FLAGS (\\Seen)"))[-1].startswith(b"NO")
    assert inbox.messages[0].flags == frozenset()


# Messages.


async def test_a_range_to_the_star_always_contains_the_last_message(inbox, connect):
    for _ in range(3):
        inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")

    assert (await client.run(b"UID SEARCH UID 4:*"))[0] == b"* SEARCH 3"
    assert (await client.run(b"UID SEARCH UID 2:*"))[0] == b"* SEARCH 2 3"
    assert (await client.run(b"UID FETCH 99:* UID"))[0] == b"* 3 FETCH (UID 3)"
    assert (await client.run(b"UID FETCH 99 UID")) == [b"OK UID FETCH completed"]
    for uid in (1, 2, 3):
        inbox.expunge(uid)
    await client.run(b"NOOP")
    assert (await client.run(b"UID SEARCH UID 4:*"))[0] == b"* SEARCH"


async def test_search_keys_combine(inbox, connect):
    start = datetime(2025, 1, 1, 12, tzinfo=UTC)
    for day in range(5):
        inbox.append(MAIL, start + timedelta(days=day), ["\\Seen"] if day % 2 else [])
    client = await connect(b"EXAMINE INBOX")

    async def found(keys):
        return (await client.run(b"UID SEARCH " + keys))[0].removeprefix(b"* SEARCH").split()

    assert await found(b"SINCE 4-Jan-2025") == [b"4", b"5"]
    assert await found(b"BEFORE 02-Jan-2025") == [b"1"]
    assert await found(b"UNSEEN UID 2:4") == [b"3"]
    assert await found(b"NOT SEEN 1:3") == [b"1", b"3"]
    assert await found(b"OR UID 1 (SEEN ON 2-Jan-2025)") == [b"1", b"2"]
    assert await found(b'CHARSET UTF-8 HEADER Message-ID "<1@example.org>"') == [
        b"%d" % n for n in range(1, 6)
    ]
    assert await found(b"SUBJECT nothing") == []
    assert (await client.run(b"UID SEARCH RETURN (MIN COUNT ALL) SEEN"))[0].endswith(
        b" UID MIN 2 COUNT 2 ALL 2,4"
    )
    assert (await client.run(b"SEARCH CHARSET KOI8-R ALL"))[0].startswith(b"NO [BADCHARSET")


async def test_ten_thousand_messages_are_searched_by_uid(inbox, connect):
    for _ in range(10_000):
        inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")
    client.reader._limit = 2**20

    answer = await client.run(b"UID SEARCH UID 1:*")

    assert answer[0].split()[2:] == [b"%d" % uid for uid in range(1, 10_001)]


async def test_fetched_metadata_is_read_alike_by_another_parser(inbox, connect):
    moment = datetime(2025, 2, 3, 4, 5, 6, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))
    inbox.append(MAIL, moment)
    client = await connect(b"EXAMINE INBOX")

    [line, _] = await client.run(b"UID FETCH 1 (UID FLAGS INTERNALDATE RFC822.SIZE ENVELOPE BODYSTRUCTURE)")
    parsed = parse_fetch_response([line.removeprefix(b"* ").replace(b"FETCH ", b"", 1)], False, True)[1]

    envelope = parsed[b"ENVELOPE"]
    assert parsed[b"INTERNALDATE"] == moment
    assert parsed[b"RFC822.SIZE"] == len(MAIL)
    assert envelope.subject == b'=?utf-8?q?Gr=C3=BC=C3=9Fe?= to "you" :('
    assert envelope.message_id == b"<1@example.org>"
    assert envelope.from_[0].name == b'O\'Neil, "Al"'
    assert (envelope.from_[0].mailbox, envelope.from_[0].host) == (b"al", b"example.org")
    assert envelope.reply_to == envelope.sender == envelope.from_
    assert [address.mailbox for address in envelope.to] == [b"Friends", b"a", b"b", None, b"c"]
    assert line.endswith(b'BODYSTRUCTURE ("TEXT" "PLAIN" NIL NIL NIL "7BIT" 19 2 NIL NIL NIL NIL))')


@pytest.mark.parametrize(
    ("header", "written"),
    [
        (b"", b"NIL"),
        (b"a@b.c", b'((NIL NIL "a" "b.c"))'),
        (b"a@b.c (Ann)", b'(("Ann" NIL "a" "b.c"))'),
        (b'"x, y" <a@b.c>, d@e', b'(("x, y" NIL "a" "b.c")(NIL NIL "d" "e"))'),
        (b"Ann B. <a@b>", b'(("Ann B." NIL "a" "b"))'),
        (b"undisclosed-recipients:;", b'((NIL NIL "undisclosed-recipients" NIL)(NIL NIL NIL NIL))'),
        (b"<@r1,@r2:a@b>", b'((NIL "@r1,@r2" "a" "b"))'),
        (b'"odd name"@b', b'((NIL NIL "odd name" "b"))'),
        (b"J\xfcrg <j@b>", b'(({4}\r\nJ\xfcrg NIL "j" "b"))'),
        (b"nobody", b'((NIL NIL "nobody" ""))'),
        (b",,;<>((", b'((NIL NIL "" ""))'),
    ],
)
def test_addresses_are_formatted_as_in_the_rfc(header, written):
    assert write_addresses(header) == written


def test_an_envelope_without_headers_has_nil_fields():
    assert write_envelope(b"\r\nbody") == b"(NIL NIL NIL NIL NIL NIL NIL NIL NIL NIL)"


async def test_sections_and_partials_of_a_multipart(inbox, connect):
    inbox.append(
        b'Content-Type: multipart/mixed; boundary="x y"\r\n\r\npreamble\r\n--x y\r\n\r\none\r\n--x y\r\n'
        b"Content-Type: application/pdf\r\n\r\n%PDF\r\n--x y--\r\n"
    )
    client = await connect(b"EXAMINE INBOX")

    async def section(name):
        await client.write(b"s FETCH 1 BODY.PEEK[%s]\r\n" % name)
        return b"\r\n".join(await client.until(b"s "))

    assert b"BODY[1] {3}\r\none)" in await section(b"1")
    assert b"BODY[2] {4}\r\n%PDF)" in await section(b"2")
    assert b"BODY[2.MIME] {33}\r\nContent-Type: application/pdf\r\n\r\n)" in await section(b"2.MIME")
    assert b"BODY[3] NIL)" in await section(b"3")
    assert b"{2}\r\n\r\n)" in await section(b"HEADER.FIELDS (X-None)")
    structure = await client.run(b"FETCH 1 BODYSTRUCTURE")
    assert (
        b'("APPLICATION" "PDF" NIL NIL NIL "7BIT" 4 NIL NIL NIL NIL) "MIXED" ("BOUNDARY" "x y")'
        in structure[0]
    )
    await client.write(b"p FETCH 1 BODY.PEEK[]<2.4>\r\n")
    assert (await client.until(b"p "))[:2] == [b"* 1 FETCH (BODY[]<2> {4}", b"nten)"]


async def test_only_gmail_accounts_have_gmail_labels(server, connect):
    server.deliver("ann@example.org", MAIL, labels=["\\Sent", "Entwürfe"])
    client = await connect(b"EXAMINE INBOX")

    refused = await client.run(b"UID FETCH 1 X-GM-LABELS")
    server.accounts["ann@example.org"].gmail = True

    assert refused[-1].startswith(b"BAD")
    assert (await client.run(b"UID FETCH 1 X-GM-LABELS"))[
        0
    ] == b'* 1 FETCH (UID 1 X-GM-LABELS ("\\\\Sent" "Entw&APw-rfe"))'


async def test_move_reports_the_new_uids_and_expunges_the_old(server, inbox, connect):
    server.accounts["ann@example.org"].create("Archive")
    for _ in range(3):
        inbox.append(MAIL)
    client = await connect(b"SELECT INBOX")

    answer = await client.run(b"UID MOVE 1:2 Archive")

    assert answer == [
        b"* OK [COPYUID 1 1:2 1:2] Moved",
        b"* 1 EXPUNGE",
        b"* 1 EXPUNGE",
        b"OK UID MOVE completed",
    ]
    assert [message.uid for message in inbox.messages] == [3]


# Pushes.


async def test_an_idling_client_receives_mail_expunges_and_flags(server, inbox, connect):
    inbox.append(MAIL)
    client = await connect(b"SELECT INBOX")
    await client.idle()

    server.deliver("ann@example.org", MAIL)
    inbox.set_flags(2, ["\\Seen"])
    inbox.expunge(1)

    pushed = [await client.line() for _ in range(4)]
    assert pushed == [
        b"* 2 EXISTS",
        b"* 2 RECENT",
        b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Recent))",
        b"* 1 EXPUNGE",
    ]
    await client.write(b"DONE\r\n")
    assert await client.line() == b"i OK IDLE terminated"


async def test_changes_outside_idle_are_reported_with_the_next_command(server, inbox, connect):
    for _ in range(3):
        inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")

    inbox.expunge(1)
    inbox.append(MAIL)
    fetched = await client.run(b"FETCH 2 UID")
    responses = await client.run(b"NOOP")
    again = await client.run(b"NOOP")

    # Sequence numbers are valid until the EXPUNGE is reported, which FETCH must not do (RFC 3501 section 7.4.1).
    assert fetched[0] == b"* 2 FETCH (UID 2)"
    assert fetched[1] == b"* 4 EXISTS"
    assert responses[0] == b"* 1 EXPUNGE"
    assert again == [b"OK NOOP completed"]
    assert (await client.run(b"FETCH 1:* UID"))[:-1] == [
        b"* %d FETCH (UID %d)" % (n, n + 1) for n in (1, 2, 3)
    ]


async def test_mail_between_select_and_idle_is_reported_when_idle_begins(server, connect):
    client = await connect(b"EXAMINE INBOX")

    server.deliver("ann@example.org", MAIL)
    await client.idle()

    assert await client.line() == b"* 1 EXISTS"


async def test_a_mail_that_is_expunged_before_it_is_reported_leaves_no_trace(inbox, connect):
    client = await connect(b"EXAMINE INBOX")

    inbox.expunge(inbox.append(MAIL))

    assert await client.run(b"NOOP") == [b"OK NOOP completed"]


async def test_a_new_uidvalidity_ends_the_sessions_and_numbers_from_one(inbox, connect):
    inbox.uidnext = 50
    inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")

    inbox.set_uidvalidity(7)

    assert (await client.ended()).startswith(b"* BYE")
    assert [message.uid for message in inbox.messages] == [1]
    lines = await (await connect()).run(b"EXAMINE INBOX")
    assert any(b"[UIDVALIDITY 7]" in line for line in lines)


async def test_two_thousand_idle_connections_each_receive_a_mail(server, inbox):
    class Idler(asyncio.Protocol):
        def __init__(self):
            self.received = b""
            self.has_seen_exists = asyncio.get_running_loop().create_future()

        def connection_made(self, transport):
            self.transport = transport
            transport.write(b"1 LOGIN ann@example.org secret\r\n2 EXAMINE INBOX\r\n3 IDLE\r\n")

        def data_received(self, data):
            self.received = (self.received + data)[-200:]
            if b"* 1 EXISTS" in self.received and not self.has_seen_exists.done():
                self.has_seen_exists.set_result(None)

    loop = asyncio.get_running_loop()
    idlers = [(await loop.create_connection(Idler, server.host, server.port))[1] for _ in range(2000)]
    idling = lambda: server.logins == 2000 and all(session.idling for session in server.sessions)  # noqa: E731
    await server.wait_for(idling, timeout=60)

    inbox.append(MAIL)

    async with asyncio.timeout(30):
        await asyncio.gather(*(idler.has_seen_exists for idler in idlers))
    for idler in idlers:
        idler.transport.abort()
    await server.wait_for(lambda: not server.sessions)
    assert not inbox.listeners


# TLS.


async def test_tls_from_the_first_byte(server_tls, client_tls):
    async with ImapServer(tls=server_tls, any_login=True) as server:
        server.deliver("ann", MAIL * 500)

        def talk():
            with imaplib.IMAP4_SSL("localhost", server.port, ssl_context=client_tls, timeout=10) as imap:
                imap.login("ann", "x")
                imap.select(readonly=True)
                return imap.uid("FETCH", "1", "BODY.PEEK[]")[1][0][1]

        assert await asyncio.to_thread(talk) == MAIL * 500


async def test_starttls_is_required_before_login_and_drops_injected_input(server_tls, client_tls):
    async with ImapServer(starttls=server_tls, any_login=True) as server:
        client = Client(*await asyncio.open_connection(server.host, server.port))
        greeting = await client.line()
        [refused] = await client.run(b"LOGIN ann x")
        await client.write(b"s STARTTLS\r\nx LOGIN eve x\r\n")
        answer = await client.line()
        await client.writer.start_tls(client_tls, server_hostname="localhost")
        accepted = await client.run(b"LOGIN ann x")
        client.writer.transport.abort()

    assert b"STARTTLS" in greeting
    assert b"LOGINDISABLED" in greeting
    assert refused.startswith(b"NO [PRIVACYREQUIRED]")
    assert answer.startswith(b"s OK")
    assert accepted[-1].startswith(b"OK")
    assert "eve" not in server.accounts


async def test_a_client_that_refuses_the_certificate_does_no_harm(server_tls):
    async with ImapServer(starttls=server_tls) as server:
        client = Client(*await asyncio.open_connection(server.host, server.port))
        await client.run(b"STARTTLS")
        with pytest.raises(ssl.SSLCertVerificationError):
            await client.writer.start_tls(ssl.create_default_context(), server_hostname="localhost")
        await server.wait_for(lambda: not server.sessions)
        client.writer.transport.abort()


# Misbehaviour.


async def test_a_hook_answers_instead_of_the_server_until_it_is_removed(server, connect):
    client = await connect()
    remove = server.on("EXAMINE", imap_hooks.answering(b"* 9 EXISTS", b"%(tag)s NO [INUSE] Later"))

    spoiled = await client.run(b"EXAMINE INBOX")
    remove()

    assert spoiled == [b"* 9 EXISTS", b"NO [INUSE] Later"]
    assert (await client.run(b"EXAMINE INBOX"))[-1].startswith(b"OK")


async def test_a_connection_is_reset_in_the_middle_of_an_answer(server, inbox, connect):
    inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")
    server.on("UID FETCH", imap_hooks.ending(after=40, reset=True))

    await client.write(b"a UID FETCH 1 BODY.PEEK[]\r\n")

    with pytest.raises(ConnectionResetError):
        while await client.reader.read(100):
            pass


async def test_a_hanging_command_affects_only_its_session_and_a_limited_number_of_times(server, connect):
    victim, other = await connect(), await connect()
    server.on("NOOP", imap_hooks.only(imap_hooks.hanging(), times=1))

    await victim.write(b"a NOOP\r\nb NOOP\r\n")
    await server.wait_for(lambda: any(session.busy for session in server.sessions))

    assert (await other.run(b"NOOP"))[-1].startswith(b"OK")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await victim.reader.read(1)


async def test_a_dripped_answer_equals_the_usual_one(server, inbox, connect):
    inbox.append(MAIL)
    client = await connect(b"EXAMINE INBOX")
    server.on("UID SEARCH", imap_hooks.dripping(1, 0))

    assert await client.run(b"UID SEARCH ALL") == [b"* SEARCH 1", b"OK UID SEARCH completed"]


async def test_pushes_can_be_dropped_and_done_left_unanswered(server, connect):
    client = await connect(b"EXAMINE INBOX")
    server.on_push = lambda session, data: None
    server.on("DONE", imap_hooks.answering())
    await client.idle()

    server.deliver("ann@example.org", MAIL)
    await client.write(b"DONE\r\n")

    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await client.reader.read(1)


async def test_a_hook_that_sends_much_waits_for_the_client(server, connect):
    async def flood(session, command):
        for _ in range(100):
            session.send(b"* OK flood\r\n" * 10_000)
            await session.drain()
        return None

    client = await connect()
    server.on("NOOP", flood)

    await client.write(b"a NOOP\r\n")
    async with asyncio.timeout(20):
        received = 0
        while not (chunk := await client.reader.read(2**20)).endswith(b"a OK NOOP completed\r\n"):
            received += len(chunk)

    assert received + len(chunk) == 100 * 10_000 * 12 + 21


async def test_a_tagged_done_is_rejected(connect):
    client = await connect()

    assert await client.run(b"DONE") == [b"BAD Unknown command"]


@pytest.mark.parametrize("later", [False, True])
async def test_a_test_can_set_the_greeting(server, later):
    async def greet_later(session):
        return b"* BYE Too many connections\r\n"

    server.greeting = greet_later if later else b"* BYE Too many connections\r\n"

    client = Client(*await asyncio.open_connection(server.host, server.port))

    assert await client.ended() == b"* BYE Too many connections\r\n"
    client.writer.close()


async def test_a_preauth_greeting_logs_in(server):
    server.greeting = b"* PREAUTH welcome\r\n"

    client = Client(*await asyncio.open_connection(server.host, server.port))

    assert await client.line() == b"* PREAUTH welcome"
    assert (await client.run(b"EXAMINE INBOX"))[-1].startswith(b"OK")
    client.writer.close()


async def test_the_error_of_a_hook_ends_its_session_and_is_raised_at_the_end():
    async def faulty(session, command):
        raise RuntimeError("faulty hook")

    with pytest.raises(ExceptionGroup) as raised:
        async with ImapServer() as server:
            server.on("NOOP", faulty)
            client = Client(*await asyncio.open_connection(server.host, server.port))
            await client.line()
            await client.write(b"a NOOP\r\n")
            assert (await client.ended()).startswith(b"* BYE")
            client.writer.close()

    assert raised.group_contains(RuntimeError, match="faulty hook")


async def test_a_server_can_drop_all_sessions_refuse_and_listen_again_on_its_port(server, connect):
    client = await connect()

    await server.refuse()
    server.drop_all()
    assert await client.ended() == b""
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(server.host, server.port)
    await server.listen()

    assert (await (await connect()).run(b"NOOP"))[-1].startswith(b"OK")


async def test_the_error_of_a_condition_is_raised_where_it_is_waited_for(server, connect):
    waiting = asyncio.create_task(server.wait_for(lambda: server.logins and 1 / 0))
    await asyncio.sleep(0)

    client = await connect()

    assert (await client.run(b"NOOP"))[-1].startswith(b"OK")
    with pytest.raises(ZeroDivisionError):
        await waiting


async def test_an_idle_ended_by_the_server_gets_its_tagged_response(server, connect):
    client = await connect(b"EXAMINE INBOX")
    await client.idle()

    [session] = server.sessions_of("ann@example.org")
    session.end_idle()

    assert await client.line() == b"i OK IDLE terminated by the server"
    assert (await client.run(b"NOOP"))[-1].startswith(b"OK")


# Scripts.


async def test_a_script_plays_byte_by_byte_with_the_clients_tag():
    steps = [
        script.send(b"* OK hi\r\n"),
        script.expect(rb"\S+ SELECT (\S+)"),
        script.send(b"* 3 EXISTS\r\n", script.TAG, b" OK done\r\n"),
        script.close(),
    ]
    async with ScriptedServer(*steps) as server:
        client = Client(*await asyncio.open_connection(server.host, server.port))
        await client.line()
        answer = await client.run(b"SELECT INBOX")
        rest = await client.ended()
        await server.finished()
        client.writer.close()

    assert answer == [b"* 3 EXISTS", b"OK done"]
    assert rest == b""
    assert server.dialogues[0].received == [b"t1 SELECT INBOX"]


async def test_a_client_that_deviates_from_the_script_fails_the_test():
    with pytest.raises(ExceptionGroup) as raised:
        async with ScriptedServer(script.expect(rb"a LOGIN ")) as server:
            client = Client(*await asyncio.open_connection(server.host, server.port))
            await client.write(b"a LOGOUT\r\n")
            assert await client.ended() == b""
            client.writer.close()

    assert raised.group_contains(script.ScriptError, match=re.escape("b'a LOGOUT'"))


async def test_the_next_connection_plays_the_next_script(server_tls, client_tls):
    first = [script.send(b"* OK\r\n"), script.reset()]
    second = [script.expect(rb"a STARTTLS"), script.send(script.TAG, b" OK\r\n"), script.starttls(server_tls)]
    async with ScriptedServer(*first).then(*second, script.send(b"safe\r\n"), script.hang()) as server:
        client = Client(*await asyncio.open_connection(server.host, server.port))
        with pytest.raises(ConnectionResetError):
            while await client.reader.read(100):
                pass
        client = Client(*await asyncio.open_connection(server.host, server.port))
        await client.write(b"a STARTTLS\r\n")
        assert await client.line() == b"a OK"
        await client.writer.start_tls(client_tls, server_hostname="localhost")
        assert await client.line() == b"safe"
        await server.finished()
        client.writer.transport.abort()
