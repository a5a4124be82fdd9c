"""The client's promises where stock aioimaplib breaks them: tests for each known fault, by number.

tests/unit/test_imap_stock_faults.py shows what the stock classes do in the same places.
"""

import asyncio
import contextlib
import logging
import socket
import ssl
import time
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trustme

from superimap.imap import transport
from superimap.imap.client import ImapClient
from superimap.imap.connection import connect
from superimap.imap.errors import (
    AuthenticationFailed,
    Disconnected,
    ImapError,
    LimitExceeded,
    OutOfSync,
    ProtocolError,
    Refused,
    TimedOut,
    TlsFailed,
    Unreachable,
)
from superimap.imap.reception import MAX_STRAY_LINES
from superimap.imap.types import Limits, Login, OAuth, ServerAddress, Timeouts
from superimap.testing.imap.script import (
    TAG,
    ScriptedServer,
    Step,
    close,
    drip,
    expect,
    expect_bytes,
    hang,
    reset,
    send,
    starttls,
    wait,
)

FAST = Timeouts(connect=2, login=2, command=2, fetch=2, done=2, logout=0.05)
USER = Login("ann", "s3cret")


def login(capabilities: bytes = b"IMAP4rev1 IDLE") -> list[Step]:
    return [
        send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n"),
        expect(rb"\S+ LOGIN"),
        send(TAG, b" OK [CAPABILITY ", capabilities, b" X] in\r\n"),
    ]


def examine(exists: int = 2) -> list[Step]:
    return [
        expect(rb"\S+ EXAMINE"),
        send(
            b"* %d EXISTS\r\n* OK [UIDVALIDITY 7] v\r\n* OK [UIDNEXT 10] n\r\n" % exists, TAG, b" OK done\r\n"
        ),
    ]


def search(*uids: int) -> list[Step]:
    return [
        expect(rb"\S+ UID SEARCH"),
        send(b"* SEARCH", *(b" %d" % uid for uid in uids), b"\r\n", TAG, b" OK done\r\n"),
    ]


IDLE = [expect(rb"\S+ IDLE"), send(b"+ idling\r\n")]
DONE = [expect(b"DONE"), send(TAG, b" OK done\r\n")]


@contextlib.asynccontextmanager
async def session(
    server: ScriptedServer,
    credentials: Login | OAuth = USER,
    *,
    timeouts: Timeouts = FAST,
    limits: Limits | None = None,
    select: bool = True,
) -> AsyncIterator[ImapClient]:
    async with connect(
        ServerAddress("127.0.0.1", server.port, "none"), credentials, timeouts=timeouts, limits=limits
    ) as client:
        if select:
            await client.examine("INBOX")
        yield client


async def idle_once(client: ImapClient, renew: float = 30.0, poll: float = 30.0) -> None:
    """Wait for the end of a round of idle()."""
    await anext(client.idle(renew=renew, poll=poll))


@pytest.mark.parametrize(
    ("end", "bye"),
    [(close(), None), (reset(), None), (send(b"* BYE [X] AccessTokenExpired\r\n"), "AccessTokenExpired")],
)
async def test_h01_a_lost_connection_wakes_idle_at_once_with_the_text_of_its_bye(end, bye):
    async with ScriptedServer(*login(), *examine(), *IDLE, end) as server, session(server) as client:
        began = time.monotonic()

        with pytest.raises(Disconnected) as caught:
            await idle_once(client, renew=1700)

        assert caught.value.bye == bye
        assert time.monotonic() - began < 1


async def test_h01_a_lost_connection_wakes_a_fetch_at_once():
    steps = [expect(rb"\S+ UID FETCH"), send(b"* 1 FETCH (UID 1 BODY[] {1000}\r\nabc"), close()]
    async with ScriptedServer(*login(), *examine(), *steps) as server, session(server) as client:
        with pytest.raises(Disconnected):
            await client.fetch_raw(1)
        with pytest.raises(Disconnected):
            await client.noop()


async def test_h02_idle_ends_when_the_peer_closes_before_the_plus():
    async with (
        ScriptedServer(*login(), *examine(), expect(rb"\S+ IDLE"), close()) as server,
        session(server) as client,
    ):
        with pytest.raises(Disconnected):
            await idle_once(client)


async def test_h02_idle_without_a_plus_ends_after_the_command_time_out():
    timeouts = Timeouts(command=0.1, logout=0.05)
    steps = [*login(), *examine(), expect(rb"\S+ IDLE"), hang()]
    async with ScriptedServer(*steps) as server, session(server, timeouts=timeouts) as client:
        with pytest.raises(TimedOut):
            await idle_once(client)


async def test_h03_the_kernel_probes_an_unresponsive_peer():
    with socket.socket() as sock:
        transport.keep_alive(sock)

        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 60
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL) == 15
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT) == 4
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 90_000


async def test_h03_a_black_hole_is_detected_by_an_unanswered_done():
    timeouts = Timeouts(done=0.1, logout=0.05)
    async with (
        ScriptedServer(*login(), *examine(), *IDLE, expect(b"DONE"), hang()) as server,
        session(server, timeouts=timeouts) as client,
    ):
        with pytest.raises(TimedOut) as caught:
            await idle_once(client, renew=0.05)

        assert caught.value.doing == "DONE"


async def test_h03_idle_is_renewed_and_the_caller_searches_again():
    async with (
        ScriptedServer(*login(), *examine(), *IDLE, *DONE, *IDLE, *DONE) as server,
        session(server) as client,
    ):
        rounds = client.idle(renew=0.02)

        await anext(rounds)
        await anext(rounds)


async def test_h04_exists_between_search_and_idle_counts_as_new_mail():
    quiet = [expect(rb"\S+ NOOP"), send(b"* 3 EXISTS\r\n", TAG, b" OK done\r\n")]
    async with ScriptedServer(*login(), *examine(), *search(8), *quiet) as server, session(server) as client:
        await client.search_uids(after=7)
        await client.noop()

        await idle_once(client)  # without IDLE: the script would not answer


async def test_h04_exists_during_a_search_or_fetch_counts_as_new_mail():
    during = [
        expect(rb"\S+ UID SEARCH"),
        send(b"* SEARCH 9\r\n* 3 EXISTS\r\n", TAG, b" OK done\r\n"),
        expect(rb"\S+ UID FETCH"),
        send(b"* 4 EXISTS\r\n", TAG, b" OK done\r\n"),
    ]
    async with ScriptedServer(*login(), *examine(), *during) as server, session(server) as client:
        await client.search_uids(after=8)
        await client.fetch_raw(9)

        await idle_once(client)


async def test_h04_exists_in_the_segment_of_an_ok_counts_as_new_mail():
    last = [expect(rb"\S+ UID SEARCH"), send(b"* SEARCH 8\r\n", TAG, b" OK done\r\n* 5 EXISTS\r\n")]
    ended = [expect(b"DONE"), send(TAG, b" OK done\r\n* 4 EXISTS\r\n")]
    steps = [*login(), *examine(), *IDLE, send(b"* 3 EXISTS\r\n"), *ended, *last]
    async with ScriptedServer(*steps) as server, session(server) as client:
        rounds = client.idle(renew=30)
        await anext(rounds)
        await client.search_uids(after=7)

        await anext(rounds)  # without IDLE: the script would not answer


async def test_h04_a_mail_that_arrives_during_an_expunge_counts_as_new_mail():
    push = send(b"* 1 EXPUNGE\r\n* 2 EXISTS\r\n")
    async with ScriptedServer(*login(), *examine(2), *IDLE, push, *DONE) as server, session(server) as client:
        async with asyncio.timeout(2):
            await idle_once(client)


async def test_h04_expunge_flags_and_a_shrinking_count_do_not_end_idle():
    noise = send(
        b"* 1 EXPUNGE\r\n* 1 FETCH (FLAGS (\\Seen))\r\n* 1 EXISTS\r\n* 0 RECENT\r\n* OK Still here\r\n"
    )
    gate = asyncio.Event()
    async with (
        ScriptedServer(
            *login(), *examine(2), *IDLE, noise, wait(gate), send(b"* 2 EXISTS\r\n"), *DONE
        ) as server,
        session(server) as client,
    ):
        waiting = asyncio.create_task(idle_once(client))
        await _until(lambda: client._protocol.mailbox.exists == 1)
        assert not waiting.done()
        gate.set()
        await waiting


async def test_h05_a_push_is_handled_although_the_next_line_is_incomplete():
    push = send(b"* 3 EXISTS\r\n* 1 FETCH (FLA")
    finish = [expect(b"DONE"), send(b"GS ())\r\n", TAG, b" OK done\r\n")]
    async with (
        ScriptedServer(*login(), *examine(), *IDLE, push, *finish) as server,
        session(server) as client,
    ):
        await idle_once(client)


async def test_h06_cancellation_wins_over_a_push_in_the_same_iteration():
    async with ScriptedServer(*login(), *examine(), *IDLE, *DONE) as server, session(server) as client:
        waiting = asyncio.create_task(idle_once(client))
        await _until(lambda: client._protocol.idling)

        client._protocol.data_received(b"* 3 EXISTS\r\n")
        waiting.cancel()

        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_h06_an_idle_that_was_cancelled_is_ended_by_the_next_command():
    steps = [
        *login(),
        *examine(),
        *IDLE,
        *DONE,
        *search(8),
        expect(rb"\S+ LOGOUT"),
        send(b"* BYE\r\n", TAG, b" OK\r\n"),
    ]
    async with ScriptedServer(*steps) as server:
        async with session(server, timeouts=Timeouts(logout=2)) as client:
            waiting = asyncio.create_task(idle_once(client))
            await _until(lambda: client._protocol.idling)
            waiting.cancel()

            assert await client.search_uids(after=7) == [8]
        await server.finished()


async def test_h07_an_idle_that_the_server_ends_is_ordinary(monkeypatch):
    monkeypatch.setattr("superimap.imap.idle.MIN_IDLE_SECONDS", 0.0)
    ended = [*IDLE, send(TAG, b" OK IDLE terminated\r\n")]
    async with (
        ScriptedServer(*login(), *examine(), *ended, *search(8), *IDLE, *DONE) as server,
        session(server) as client,
    ):
        rounds = client.idle(renew=0.2)

        await anext(rounds)
        assert await client.search_uids(after=7) == [8]  # and no stray DONE before it
        await anext(rounds)


TEXT = b'* a * b :( \\" {42} (('


@pytest.mark.parametrize("quoted", [b'"* a * b :( \\\\\\" {42} (("', b"{%d}\r\n%s" % (len(TEXT), TEXT)])
async def test_h08_h10_strings_arrive_unaltered(quoted):
    meta = (
        b'* 1 FETCH (UID 5 RFC822.SIZE 9 INTERNALDATE "01-Jan-2026 00:00:00 +0100" X-GM-LABELS (%s)' % quoted
    )
    fetch = [
        expect(rb"\S+ UID FETCH"),
        send(meta, b")\r\n* 3 EXISTS\r\n", TAG, b" OK done\r\n"),
    ]
    async with ScriptedServer(*login(), *examine(), *fetch) as server, session(server) as client:
        (meta,) = await client.fetch_meta([5])

        assert meta.labels == (TEXT.decode(),)
        assert client._protocol.mailbox.exists == 3


async def test_h08_mails_arrive_byte_for_byte():
    raw = bytes(range(256)) * 40 + b"\r\n* 9 EXISTS\r\n+ go\r\nA1 OK\r\n* * (("
    fetch = [
        expect(rb"\S+ UID FETCH"),
        send(b"* 1 FETCH (BODY[] {%d}\r\n" % len(raw), raw, b" UID 5)\r\n", TAG, b" OK\r\n"),
    ]
    async with ScriptedServer(*login(), *examine(), *fetch) as server, session(server) as client:
        assert await client.fetch_raw(5) == raw
        assert client._protocol.mailbox.exists == 2


async def test_h09_fifty_thousand_lines_in_one_burst_take_under_a_second():
    async with ScriptedServer(*login(), *examine(), hang()) as server, session(server) as client:
        burst = b"* 1 FETCH (FLAGS (\\Seen))\r\n" * 49_999 + b"* 3 EXISTS\r\n"
        began = time.perf_counter()

        client._protocol.data_received(burst)

        assert time.perf_counter() - began < 1
        assert client._protocol.mailbox.exists == 3


async def test_h10_four_thousand_messages_are_read_in_linear_time():
    line = (
        b'* %d FETCH (UID %d RFC822.SIZE 9 INTERNALDATE "01-Jan-2026 00:00:00 +0100" X-GM-LABELS (":("))\r\n'
    )
    lines = b"".join(line % (n, n) for n in range(1, 501))
    fetch = [expect(rb"\S+ UID FETCH"), send(lines, TAG, b" OK\r\n")]
    async with ScriptedServer(*login(), *examine(), *fetch) as server, session(server) as client:
        assert len(await client.fetch_meta(range(1, 501))) == 500


async def test_h11_the_text_of_a_response_announces_no_literal():
    idle = [*IDLE, send(b"* OK Still here {42}\r\n* 3 EXISTS\r\n"), *DONE]
    async with ScriptedServer(*login(), *examine(), *idle) as server, session(server) as client:
        async with asyncio.timeout(2):
            await idle_once(client)


async def test_h12_bytes_that_are_not_utf8_do_no_harm():
    idle = [*IDLE, send(b"* \xff\xfe\x00 x\r\n* 9 \xc3\r\n* NO \xe9t\xe9\r\n* 3 EXISTS\r\n"), *DONE]
    async with ScriptedServer(*login(), *examine(), *idle) as server, session(server) as client:
        async with asyncio.timeout(2):
            await idle_once(client)


LIMITS = Limits(line=1000, literal=5000, response=6000)


@pytest.mark.parametrize(
    "flood",
    [
        b"* 1 FETCH (UID 5 BODY[] {4294967296}\r\n",
        b"* 1 FETCH (UID 5 BODY[] {99999999999999999999}\r\n",
        b"* " + b"A" * 2000,
        b"* 1 FETCH (UID 5 FLAGS ())\r\n" * 1000,
        b"* 1 FETCH (UID 5 A {4000}\r\n" + b"a" * 4000 + b" B {4000}\r\n",
    ],
)
async def test_h13_a_flood_ends_the_session(flood):
    steps = [*login(), *examine(), expect(rb"\S+ UID FETCH"), send(flood), hang()]
    async with ScriptedServer(*steps) as server, session(server, limits=LIMITS) as client:
        with pytest.raises(LimitExceeded):
            await client.fetch_raw(5)


async def test_h13_an_idle_session_accepts_little_unsolicited_input():
    """Ten thousand sessions may be in IDLE, and no memory is reserved for unsolicited input."""
    push = send(b"* 1 FETCH (X {2000000}\r\n")
    async with (
        ScriptedServer(*login(), *examine(2), *IDLE, push, hang()) as server,
        session(server) as client,
    ):
        with pytest.raises(LimitExceeded):
            await idle_once(client)


async def test_h13_a_dripped_literal_does_not_prolong_the_deadline():
    steps = [*login(), *examine(), expect(rb"\S+ UID FETCH"), send(b"* 1 FETCH (UID 5 BODY[] {4000}\r\n")]
    timeouts = Timeouts(fetch=0.2, logout=0.05)
    async with (
        ScriptedServer(*steps, drip(b"a" * 200, every=0.01)) as server,
        session(server, timeouts=timeouts) as client,
    ):
        with pytest.raises(TimedOut):
            await client.fetch_raw(5)


async def test_h14_a_connection_is_not_used_after_a_time_out():
    async with (
        ScriptedServer(*login(), expect(rb"\S+ EXAMINE"), listen()) as server,
        session(server, timeouts=Timeouts(command=0.1, logout=1), select=False) as client,
    ):
        with pytest.raises(TimedOut):
            await client.examine("INBOX")
        with pytest.raises(TimedOut, match="EXAMINE"):
            await client.noop()

        await server.finished()
        assert server.dialogues[0].received[-1] == b""  # closed without another command


async def test_h14_a_cancelled_command_closes_the_connection():
    async with (
        ScriptedServer(*login(), *examine(), expect(rb"\S+ UID FETCH"), hang()) as server,
        session(server) as client,
    ):
        fetching = asyncio.create_task(client.fetch_raw(1))
        await _until(lambda: len(server.dialogues[0].received) == 3)
        fetching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await fetching

        with pytest.raises(Disconnected):
            await client.noop()


@pytest.mark.parametrize("answer", [b"Z9 OK done\r\n", b"ZZZ\r\n", b"A B C\r\n"])
async def test_h14_a_response_to_another_command_ends_the_session(answer):
    async with (
        ScriptedServer(*login(), *examine(), expect(rb"\S+ UID FETCH"), send(answer)) as server,
        session(server) as client,
    ):
        with pytest.raises(OutOfSync):
            await client.fetch_raw(7)


async def test_h14_a_few_lines_that_are_no_responses_are_passed_over_where_no_mail_is_at_stake():
    """Texts of some servers have several lines. A tagged response to another command is no such line."""
    noop = [expect(rb"\S+ NOOP"), send(b"ZZZ\r\nA B C\r\n", TAG, b" OK\r\n")]
    endless = [expect(rb"\S+ NOOP"), send(b"ZZZ\r\n" * MAX_STRAY_LINES)]
    foreign = [expect(rb"\S+ NOOP"), send(b"Z9 OK done\r\n")]
    for last in (endless, foreign):
        async with ScriptedServer(*login(), *examine(), *noop, *last) as server, session(server) as client:
            await client.noop()
            with pytest.raises(OutOfSync):
                await client.noop()


async def test_h14_a_tagged_response_that_is_sent_twice_ends_one_command():
    twice = [expect(rb"\S+ NOOP"), send(TAG, b" OK\r\n", TAG, b" OK\r\n")]
    refused = [expect(rb"\S+ UID FETCH"), send(TAG, b" NO no\r\n")]
    async with (
        ScriptedServer(*login(), *examine(), *twice, *twice, *refused) as server,
        session(server) as client,
    ):
        await client.noop()
        await client.noop()
        with pytest.raises(Refused):
            await client.fetch_raw(7)


async def test_h15_concurrent_commands_are_sent_one_after_the_other():
    steps = [*login(), *examine(), *search(3), *search(4), *search(5)]
    async with ScriptedServer(*steps) as server, session(server) as client:
        found = await asyncio.gather(*(client.search_uids(after=after) for after in (2, 3, 4)))

    assert found == [[3], [4], [5]]
    lines = server.dialogues[0].received[2:5]
    assert [line.split(b" ", 1)[1] for line in lines] == [b"UID SEARCH UID %d:*" % n for n in (3, 4, 5)]


async def test_h16_examine_selects_and_a_failed_one_does_not():
    failed = [expect(rb"\S+ EXAMINE"), send(TAG, b" NO [NONEXISTENT] no such mailbox\r\n")]
    async with ScriptedServer(*login(), *examine(), *search(8), *failed) as server, session(server) as client:
        assert await client.search_uids(after=7) == [8]
        with pytest.raises(Refused) as caught:
            await client.examine("nowhere")
        assert caught.value.code == "NONEXISTENT"

        with pytest.raises(Refused, match="not valid in state AUTH"):
            await client.search_uids(after=7)


@pytest.mark.parametrize(
    ("greeting", "error"),
    [
        (b"* BYE LOOKUP failed\r\n", Disconnected),
        (b"* ERROR Not ready.\r\n", ProtocolError),
        (b"220 mail.example ESMTP OK\r\n", ProtocolError),
        (b"", Disconnected),
    ],
)
async def test_h17_a_greeting_is_judged_by_its_keyword(greeting, error):
    async with ScriptedServer(send(greeting), close()) as server:
        with pytest.raises(error):
            async with session(server):
                pass


async def test_h17_two_lines_in_the_segment_of_the_greeting_are_one_greeting():
    steps = [
        send(b"* OK hello\r\n* CAPABILITY IMAP4rev1\r\n"),
        expect(rb"\S+ LOGIN"),
        send(TAG, b" OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"),
    ]
    async with ScriptedServer(*steps) as server, session(server, select=False) as client:
        assert "IDLE" in client.capabilities


async def test_h17_preauth_needs_no_login():
    steps = [send(b"* PREAUTH [CAPABILITY IMAP4rev1 IDLE] hello\r\n"), *examine()]
    async with ScriptedServer(*steps) as server, session(server):
        pass


async def test_h17_a_refusal_at_the_greeting_is_raised_at_once():
    async with ScriptedServer() as server:
        port = server.port
    with pytest.raises(Unreachable, match="refused"):
        async with connect(ServerAddress("127.0.0.1", port, "none"), USER):
            pass


async def test_h18_capabilities_are_requested_again_after_login():
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS IDLE] hello\r\n"),
        expect(rb"\S+ LOGIN"),
        send(TAG, b" OK in\r\n"),
        expect(rb"\S+ CAPABILITY"),
        send(b"* CAPABILITY IMAP4rev1 idle UIDPLUS\r\n", TAG, b" OK done\r\n"),
    ]
    async with ScriptedServer(*steps) as server, session(server, select=False) as client:
        assert client.capabilities == {"IMAP4REV1", "IDLE", "UIDPLUS"}


JSON = b"eyJzdGF0dXMiOiI0MDAiLCJzY2hlbWVzIjoiQmVhcmVyIn0="  # {"status":"400","schemes":"Bearer"}


@pytest.mark.parametrize(("mechanism", "answer"), [("XOAUTH2", b""), ("OAUTHBEARER", b"AQ==")])
async def test_h19_the_provider_s_refusal_of_a_token_is_answered_and_raised(mechanism, answer):
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=%s] hello\r\n" % mechanism.encode()),
        expect(rb"\S+ AUTHENTICATE \S+ \S+$"),
        _keep_tag(send(b"+ ", JSON, b"\r\n"), _expect_exactly(answer)),
        send(TAG, b" NO [AUTHENTICATIONFAILED] Invalid credentials\r\n"),
    ]
    async with ScriptedServer(*steps) as server:
        with pytest.raises(AuthenticationFailed) as caught:
            async with session(server, OAuth("zoë", "t0ken", mechanism)):
                pass

    assert caught.value.detail == '{"status":"400","schemes":"Bearer"}'


async def test_h20_plain_is_used_where_login_is_disabled_without_sasl_ir_too():
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 LOGINDISABLED AUTH=PLAIN] hello\r\n"),
        expect(rb"\S+ AUTHENTICATE PLAIN$"),
        _keep_tag(send(b"+ \r\n"), _expect_exactly(b"AGFubgBzM2NyZXQ=")),
        send(TAG, b" OK [CAPABILITY IMAP4rev1] in\r\n"),
    ]
    async with ScriptedServer(*steps) as server, session(server, select=False):
        pass


async def test_h20_a_stripped_starttls_is_refused_before_any_login():
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n"),
        expect(rb"\S+ CAPABILITY$"),
        send(b"* CAPABILITY IMAP4rev1\r\n", TAG, b" OK done\r\n"),
    ]
    async with ScriptedServer(*steps, listen()) as server:
        with pytest.raises(TlsFailed, match="not offer"):
            async with connect(ServerAddress("localhost", server.port, "starttls"), USER, timeouts=FAST):
                pass

        await server.finished()
        assert server.dialogues[0].received[1].endswith(b" LOGOUT\r\n")
        assert server.dialogues[0].received[1].count(b"\r\n") == 1


async def test_h20_preauth_is_refused_where_starttls_is_required():
    """STARTTLS is impossible after PREAUTH (RFC 9051 section 6.2.1); a man in the middle may have sent it."""
    greeting = send(b"* PREAUTH [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n")
    async with ScriptedServer(greeting, listen()) as server:
        with pytest.raises(TlsFailed, match="PREAUTH"):
            async with connect(ServerAddress("localhost", server.port, "starttls"), USER, timeouts=FAST):
                pass

        await server.finished()
        assert server.dialogues[0].received[0].endswith(b" LOGOUT\r\n")
        assert server.dialogues[0].received[0].count(b"\r\n") == 1


async def test_h20_responses_injected_before_tls_are_dropped(authority):
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n"),
        expect(rb"\S+ STARTTLS"),
        send(TAG, b" OK go\r\n* CAPABILITY IMAP4rev1 AUTH=EVIL\r\n* 99 EXISTS\r\n* BYE gone\r\nA1 OK"),
        starttls(_server_context(authority)),
        expect(rb"\S+ CAPABILITY"),
        send(b"* CAPABILITY IMAP4rev1\r\n", TAG, b" OK done\r\n"),
        expect(rb"\S+ LOGIN"),
        send(TAG, b" OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"),
        *examine(),
    ]
    context = _client_context(authority)
    async with ScriptedServer(*steps) as server:
        where = ServerAddress("localhost", server.port, "starttls")
        async with connect(where, USER, timeouts=FAST, tls_context=context) as client:
            assert client.capabilities == {"IMAP4REV1", "IDLE"}
            assert (await client.examine("INBOX")).exists == 2


async def test_h20_a_failed_handshake_after_starttls_ends_at_once(authority):
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 STARTTLS] hello\r\n"),
        expect(rb"\S+ STARTTLS"),
        send(TAG, b" OK go\r\n"),
        starttls(_server_context(trustme.CA())),
    ]
    server = ScriptedServer(*steps)
    began = time.monotonic()
    async with server:
        with pytest.raises(TlsFailed, match="certificate"):
            async with connect(
                ServerAddress("localhost", server.port, "starttls"),
                USER,
                tls_context=_client_context(authority),
            ):
                pass
        server.errors.clear()

    assert time.monotonic() - began < 1


@pytest.mark.parametrize(
    ("name", "wire"),
    [
        ("[Gmail]/All Mail", b'"[Gmail]/All Mail"'),
        ('a"b\\c', b'"a\\"b\\\\c"'),
        ("Entwürfe & 日本", b'"Entw&APw-rfe &- &ZeVnLA-"'),
    ],
)
async def test_h21_mailbox_names_are_quoted_in_modified_utf7(name, wire):
    async with ScriptedServer(*login(), *examine()) as server, session(server, select=False) as client:
        await client.examine(name)

    assert server.dialogues[0].received[1].endswith(b"EXAMINE " + wire)


async def test_h21_passwords_are_quoted_or_sent_as_literals():
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n"),
        expect(rb'\S+ LOGIN "a\\"b" \{8\}$'),
        _keep_tag(send(b"+ go\r\n"), _expect_exactly("pässwö".encode())),
        send(TAG, b" OK [CAPABILITY IMAP4rev1 IDLE] in\r\n"),
    ]
    async with ScriptedServer(*steps) as server, session(server, Login('a"b', "pässwö"), select=False):
        pass


@pytest.mark.parametrize("bad", ["a\r\nA2 DELETE INBOX", "a\nb", "a\0b"])
async def test_h21_line_ends_and_nul_raise_and_nothing_is_sent(bad):
    greeted = [send(b"* OK [CAPABILITY IMAP4rev1] hello\r\n")]
    async with ScriptedServer(*login()).then(*greeted) as server, session(server, select=False) as client:
        with pytest.raises(ValueError, match="not allowed"):
            await client.examine(bad)
        with pytest.raises(ValueError, match="not allowed") as caught:
            async with connect(
                ServerAddress("127.0.0.1", server.port, "none"), Login(bad, bad), timeouts=FAST
            ):
                pass

    assert bad not in str(caught.value)
    assert not any(b"DELETE" in line for dialogue in server.dialogues for line in dialogue.received)


@pytest.mark.parametrize("credentials", [Login("ann", 'p"w\\s3cret'), OAuth("ann", "t0ken-s3cret")])
async def test_h22_no_secret_reaches_a_log_an_error_or_a_repr(credentials, caplog):
    caplog.set_level(logging.DEBUG)
    secret = credentials.password if isinstance(credentials, Login) else credentials.access_token
    refusal = send(TAG, b" NO bad " + secret.encode() + b"\r\n")
    steps = [
        send(b"* OK [CAPABILITY IMAP4rev1 SASL-IR AUTH=XOAUTH2] hello\r\n"),
        expect(rb"\S+ (LOGIN|AUTHENTICATE)"),
        refusal,
    ]
    async with ScriptedServer(*steps) as server:
        with pytest.raises(AuthenticationFailed) as caught:
            async with session(server, credentials):
                pass

    shown = "".join([str(caught.value), repr(caught.value), repr(credentials), caplog.text])
    assert "s3cret" not in shown
    assert "dXNlcj" not in shown  # base64 of "user="


async def test_h23_search_sends_no_charset():
    async with ScriptedServer(*login(), *examine(), *search(7)) as server, session(server) as client:
        await client.search_uids(after=7)

    assert b"CHARSET" not in b" ".join(server.dialogues[0].received)


async def test_a_search_beyond_the_last_uid_drops_the_last_message():
    async with ScriptedServer(*login(), *examine(), *search(7)) as server, session(server) as client:
        assert await client.search_uids(after=7) == []
        assert await client.search_uids(after=(1 << 63) - 1) == []


async def test_h24_all_sessions_share_one_tls_context(authority, monkeypatch):
    made = []

    def make() -> ssl.SSLContext:
        made.append(1)
        return _client_context(authority)

    monkeypatch.setattr(ssl, "create_default_context", make)
    transport.shared_tls_context.cache_clear()
    steps = login()
    async with ScriptedServer(*steps, tls=_server_context(authority)) as server:
        for _ in range(3):
            async with connect(ServerAddress("localhost", server.port), USER, timeouts=FAST):
                pass
    transport.shared_tls_context.cache_clear()

    assert len(made) == 1


async def test_h24_an_untrusted_certificate_is_refused(authority):
    stranger = _server_context(trustme.CA())
    async with ScriptedServer(*login(), tls=stranger) as server:
        with pytest.raises(TlsFailed):
            async with connect(
                ServerAddress("localhost", server.port),
                USER,
                timeouts=FAST,
                tls_context=_client_context(authority),
            ):
                pass


async def test_h25_every_path_closes_its_socket(authority):
    context = _client_context(authority)
    scripts: list[tuple[list[Step], ssl.SSLContext | None]] = [
        ([], None),  # no greeting
        ([], _server_context(trustme.CA())),  # bad certificate
        ([send(b"* BYE no\r\n")], None),
        ([*login(), *examine()], _server_context(authority)),
        ([send(b"* OK [CAPABILITY IMAP4rev1] x\r\n"), expect(rb"\S+ LOGIN"), send(TAG, b" NO no\r\n")], None),
        ([*login(), *examine(), expect(rb"\S+ LOGOUT"), send(TAG, b" OK but I stay\r\n")], None),
    ]
    timeouts = Timeouts(connect=0.1, logout=0.02)
    for steps, tls in scripts:
        async with ScriptedServer(*steps, tls=tls) as server:
            before = _descriptors()
            where = ServerAddress("localhost", server.port, "tls" if tls else "none")
            for _ in range(5):
                with contextlib.suppress(ImapError):
                    async with connect(where, USER, timeouts=timeouts, tls_context=context) as client:
                        await client.examine("INBOX")
            await _until(lambda before=before: _descriptors() <= before)
            server.errors.clear()  # leaving the script early is intended


async def test_h26_dates_and_sizes_are_typed_also_from_literal8():
    message_id = b"~{21}\r\nMessage-ID: <1@x>\r\n\r\n X-GM-LABELS ({2+}\r\nhi)"
    fetch = send(
        b'* 1 FETCH (UID 5 INTERNALDATE " 1-Feb-2026 00:00:00 +0130" RFC822.SIZE 9 ',
        b"BODY[HEADER.FIELDS (MESSAGE-ID)] ",
        message_id,
        b")\r\n",
        TAG,
        b" OK\r\n",
    )
    async with (
        ScriptedServer(*login(), *examine(), expect(rb"\S+ UID FETCH"), fetch) as server,
        session(server) as client,
    ):
        (meta,) = await client.fetch_meta([5, 6])

    assert meta.internal_date.isoformat() == "2026-02-01T00:00:00+01:30"
    assert (meta.uid, meta.size) == (5, 9)
    assert (meta.message_id, meta.labels) == ("<1@x>", ("hi",))


async def test_h26_a_malformed_message_id_leaves_the_other_items():
    lead = b'* 1 FETCH (UID 5 INTERNALDATE "01-Feb-2026 00:00:00 +0000" RFC822.SIZE 9'
    steps = [
        expect(rb"\S+ UID FETCH.*MESSAGE-ID"),
        send(lead, b' BODY[HEADER.FIELDS (MESSAGE-ID)] "broken)\r\n', TAG, b" OK\r\n"),
        expect(rb"\S+ UID FETCH 5 \(UID INTERNALDATE RFC822.SIZE\)$"),
        send(lead, b")\r\n", TAG, b" OK\r\n"),
    ]
    async with ScriptedServer(*login(), *examine(), *steps) as server, session(server) as client:
        (meta,) = await client.fetch_meta([5])

    assert (meta.uid, meta.size, meta.message_id) == (5, 9, None)


async def test_a_response_is_not_kept_after_its_command():
    body = b"x" * 4_000_000
    fetch = send(b"* 1 FETCH (UID 5 BODY[] {4000000}\r\n", body, b")\r\n", TAG, b" OK\r\n")
    steps = [*login(), *examine(), expect(rb"\S+ UID FETCH"), fetch, *IDLE, *DONE]
    async with ScriptedServer(*steps) as server, session(server, timeouts=Timeouts()) as client:
        tracemalloc.start()
        assert len(await client.fetch_raw(5)) == 4_000_000
        waiting = asyncio.create_task(idle_once(client, renew=0.1))
        await _until(lambda: client._protocol.idling)

        kept, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kept < 1_000_000 < peak
        await waiting
        client._protocol.fail(Disconnected("the script has no LOGOUT"))


async def test_a_new_uidvalidity_in_an_open_mailbox_ends_the_session():
    async with (
        ScriptedServer(*login(), *examine(), *IDLE, send(b"* OK [UIDVALIDITY 8] new\r\n")) as server,
        session(server) as client,
    ):
        with pytest.raises(Disconnected, match="UIDVALIDITY"):
            await idle_once(client)


async def test_without_idle_the_client_polls_by_noop_and_the_caller_searches():
    polled = [expect(rb"\S+ NOOP"), send(b"* 3 EXISTS\r\n", TAG, b" OK\r\n")]
    async with ScriptedServer(*login(b"IMAP4rev1"), *examine(), *polled) as server, session(server) as client:
        await idle_once(client, poll=0.01)


def listen() -> Step:
    """Keep everything that the client sends until it closes."""

    async def step(dialogue) -> None:
        dialogue.received.append(await dialogue.reader.read())

    return step


def _descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def _keep_tag(*steps: Step) -> Step:
    """Read a line that starts with no tag."""

    async def step(dialogue) -> None:
        tag = dialogue.tag
        for each in steps:
            await each(dialogue)
        dialogue.tag = tag

    return step


def _expect_exactly(line: bytes) -> Step:
    async def step(dialogue) -> None:
        await expect_bytes(len(line) + 2)(dialogue)
        assert dialogue.received[-1] == line + b"\r\n"

    return step


def _server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


def _client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


async def _until(condition, within: float = 5.0) -> None:
    """Run the event loop until `condition` holds."""
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.001)
