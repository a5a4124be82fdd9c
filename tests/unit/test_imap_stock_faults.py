"""Faults of aioimaplib 2.0.3, shown on its own classes: why superimap.imap.protocol overrides so much of them.

If a test here fails after an update of aioimaplib, the override may be dropped. What SuperIMAP promises in the
same places is in tests/integration/test_imap_client_hazards.py, under the same numbers.
"""

import asyncio
import contextlib
import inspect
import socket
import ssl
import sys
import time
from unittest.mock import Mock

import pytest
from aioimaplib import aioimaplib


def protocol(state: str = aioimaplib.SELECTED) -> aioimaplib.IMAP4ClientProtocol:
    """A stock protocol in this state, on a mock transport."""
    made = aioimaplib.IMAP4ClientProtocol(asyncio.get_running_loop())
    made.connection_made(Mock())
    made.state = state
    made.capabilities = {"IDLE", "IMAP4REV1"}
    return made


async def turn() -> None:
    """Let started tasks run until they wait."""
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(coroutine):
    """A task that has started, and is cancelled on exit."""
    task = asyncio.create_task(coroutine)
    await turn()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_h01_a_lost_connection_wakes_no_waiting_caller():
    stock = protocol()
    async with running(stock.fetch("1", "(UID)")) as fetching, running(stock.idle_queue.get()) as pushing:
        stock.connection_lost(None)
        await turn()

        assert not fetching.done()
        assert not pushing.done()


async def test_h02_idle_start_does_not_notice_a_lost_connection():
    client = client_of(protocol())
    async with running(client.idle_start()) as starting:
        client.protocol.connection_lost(None)
        await turn()

        assert not starting.done()
        for task in client.tasks:
            task.cancel()


async def test_h04_exists_between_commands_is_lost():
    stock = protocol()
    stock.data_received(b"* 3 EXISTS\r\n")

    assert stock.idle_queue.empty()


async def test_h05_a_push_waits_for_the_next_line():
    stock = protocol()
    async with running(stock.idle()):
        stock.data_received(b"+ idling\r\n* 3 EXISTS\r\n* 1 FET")

        assert stock.idle_queue.empty()


async def test_h08_subjects_lose_bytes():
    stock = protocol()
    async with running(stock.fetch("1", "(ENVELOPE)")) as fetching:
        stock.data_received(b'* 1 FETCH (ENVELOPE (NIL "a * b"))\r\n' + tag(stock) + b" OK\r\n")
        response = await fetching

    assert b'"a b"' in response.lines[0]


async def test_h09_a_thousand_lines_exceed_the_recursion_limit():
    stock = protocol()
    with pytest.raises(RecursionError):
        stock.data_received(b"* 1 EXISTS\r\n" * 1100)


async def test_h10_a_bracket_in_a_subject_swallows_the_next_lines():
    stock = protocol()
    async with running(stock.fetch("1", "(ENVELOPE)")) as fetching:
        stock.data_received(b'* 1 FETCH (ENVELOPE (NIL ":("))\r\n* 3 EXISTS\r\n' + tag(stock) + b" OK\r\n")
        response = await fetching

    assert b"* 3 EXISTS" in response.lines


async def test_h11_text_is_taken_for_a_literal():
    stock = protocol()
    async with running(stock.fetch("1", "(UID)")) as fetching:
        stock.data_received(b"* OK Still here {42}\r\n" + tag(stock) + b" OK done\r\n")
        await turn()

        assert not fetching.done()


async def test_h12_a_byte_that_is_not_utf8_raises_within_the_event_loop():
    stock = protocol()
    with pytest.raises(UnicodeDecodeError):
        stock.data_received(b"* \xff x\r\n")


async def test_h13_nothing_limits_the_input():
    stock = protocol()
    async with running(stock.fetch("1", "(BODY[])")):
        stock.data_received(b"* 1 FETCH (BODY[] {4294967296}\r\n" + b"x" * (4 << 20))

        assert len(stock.current_command._resp_literal_data) == 4 << 20


async def test_h14_a_select_that_timed_out_blocks_all_later_commands():
    stock = protocol(aioimaplib.AUTH)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stock.select("INBOX"), 0.01)

    async with running(stock.simple_command("NOOP")) as noop:
        assert not noop.done()
        assert stock.transport.write.call_count == 1  # NOOP was not sent


async def test_h16_examine_selects_nothing():
    stock = protocol(aioimaplib.AUTH)
    async with running(stock.simple_command("EXAMINE", "INBOX")) as examining:
        stock.data_received(tag(stock) + b" OK [READ-ONLY] done\r\n")
        await examining

    with pytest.raises(aioimaplib.Abort, match="illegal in state AUTH"):
        await stock.fetch("1", "(UID)")


async def test_h17_a_bye_that_contains_ok_is_accepted_as_greeting():
    stock = protocol(aioimaplib.CONNECTED)
    async with running(stock.welcome(b"* BYE LOOKUP failed")):
        assert stock.state == aioimaplib.NONAUTH


async def test_h21_mailbox_names_are_sent_unquoted():
    stock = protocol(aioimaplib.AUTH)
    async with running(stock.select("[Gmail]/All Mail")):
        assert stock.transport.write.call_args.args[0].endswith(b"SELECT [Gmail]/All Mail\r\n")


async def test_h22_tokens_reach_the_debug_log(caplog):
    caplog.set_level("DEBUG")
    stock = protocol(aioimaplib.NONAUTH)
    async with running(stock.xoauth2("ann", "t0ken")):
        pass

    assert "dXNlcj1hbm4BYXV0aD1CZWFyZXIgdDBrZW4BAQ==" in caplog.text  # user=ann, auth=Bearer t0ken


async def test_h23_search_sends_a_charset():
    stock = protocol()
    async with running(stock.search("ALL")):
        assert b"CHARSET utf-8" in stock.transport.write.call_args.args[0]


def test_h24_every_client_creates_a_tls_context():
    assert "create_default_context" in inspect.getsource(aioimaplib.IMAP4_SSL.create_client)
    assert ssl.create_default_context() is not ssl.create_default_context()


async def test_h10_time_is_quadratic_in_the_lines_of_a_fetch():
    def seconds(count: int) -> float:
        command = aioimaplib.FetchCommand("A1", "1", "(UID)")
        line = b'1 FETCH (ENVELOPE (NIL ":)"))'
        began = time.perf_counter()
        for _ in range(count):
            command.append_to_resp(line)
            command.wait_data()
        return time.perf_counter() - began

    assert seconds(1000) > 20 * min(seconds(100) for _ in range(5))  # ten times the lines


async def test_h03_no_keepalive_is_set_and_an_unresponsive_peer_goes_unnoticed():
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    client = aioimaplib.IMAP4("127.0.0.1", listener.sockets[0].getsockname()[1])
    await client._client_task
    connection = client.protocol.transport.get_extra_info("socket")

    assert connection.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 0
    assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 0
    assert inspect.signature(client.wait_server_push).parameters["timeout"].default == 29 * 60
    client.protocol.state, client.protocol.capabilities = aioimaplib.SELECTED, {"IDLE"}
    async with running(client.idle()) as idling:
        client.idle_done()
        await turn()
        assert not idling.done()
        assert (
            client.protocol.pending_sync_command._timeout is None
        )  # nothing ever waits for the answer to DONE
    client.protocol.transport.abort()
    listener.close()


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="the fault of wait_for was fixed in Python 3.12")
async def test_h06_a_push_in_the_same_iteration_swallows_the_cancellation():
    client = client_of(protocol())
    waiting = asyncio.create_task(client.wait_server_push(timeout=60))
    await turn()
    client.protocol.idle_queue.put_nowait([b"3 EXISTS"])
    await asyncio.sleep(0)  # the queue's getter is done; the task that waits for it has not run yet
    waiting.cancel()

    assert await waiting == [b"3 EXISTS"]
    assert not waiting.cancelled()


async def test_h07_a_late_stop_ends_the_next_idle_before_it_begins():
    client = client_of(protocol())
    async with running(client.idle()):
        await client.stop_wait_server_push()
        client.protocol.data_received(b"+ idling\r\n" + tag(client.protocol) + b" OK terminated\r\n")
        await turn()
    async with running(client.idle()):
        assert await client.wait_server_push(timeout=1) == aioimaplib.STOP_WAIT_SERVER_PUSH


async def test_h07_an_idle_that_the_server_ended_gets_a_stray_done():
    client = client_of(protocol())
    async with running(client.idle()):
        client.protocol.data_received(b"+ idling\r\n" + tag(client.protocol) + b" OK terminated\r\n")
        await turn()
        client.idle_done()

        assert client.protocol.transport.write.call_args.args[0] == b"DONE\r\n"


async def test_h15_three_commands_at_once_lose_one_of_them():
    stock = protocol()
    async with (
        running(stock.fetch("1", "(UID)")) as first,
        running(stock.fetch("2", "(UID)")) as second,
        running(stock.fetch("3", "(UID)")) as third,
    ):
        stock.data_received(tag(stock) + b" OK first\r\n")
        await turn()
        assert first.done()
        # Both waiting commands were sent at once and share one slot: the answer to the first one is lost.
        sent = [call.args[0] for call in stock.transport.write.call_args_list]
        assert [line.split(b" ", 1)[1] for line in sent[1:]] == [b"FETCH 2 (UID)\r\n", b"FETCH 3 (UID)\r\n"]
        with pytest.raises(aioimaplib.Abort, match="unexpected tagged"):
            stock.data_received(sent[1].split(b" ")[0] + b" OK second\r\n")
        assert not second.done()
        assert not third.done()


async def test_h18_the_last_capability_in_a_code_has_a_bracket_and_none_are_requested_after_login():
    stock = protocol(aioimaplib.NONAUTH)
    stock.capabilities = set()
    async with running(stock.login("ann", "pw")) as logging_in:
        stock.data_received(tag(stock) + b" OK [CAPABILITY IMAP4rev1 IDLE] in\r\n")
        await logging_in

        assert "IDLE]" in stock.capabilities
        with pytest.raises(aioimaplib.Abort, match="not IDLE capability"):
            await stock.idle()
    stock = protocol(aioimaplib.NONAUTH)
    stock.capabilities = {"IMAP4REV1"}
    async with running(stock.login("ann", "pw")) as logging_in:
        stock.data_received(tag(stock) + b" OK in\r\n")
        await logging_in

        assert stock.transport.write.call_count == 1  # LOGIN, and no CAPABILITY


async def test_h19_the_challenge_with_the_provider_s_refusal_is_never_answered():
    stock = protocol(aioimaplib.NONAUTH)
    async with running(stock.xoauth2("ann", "t0ken")) as logging_in:
        stock.data_received(b"+ eyJzdGF0dXMiOiI0MDAifQ==\r\n")
        await turn()

        assert stock.transport.write.call_count == 1  # the provider waits for an empty line
        assert not logging_in.done()
    with pytest.raises(UnicodeEncodeError):
        await protocol(aioimaplib.NONAUTH).xoauth2("zoë", "t0ken")


def test_h20_most_sasl_mechanisms_and_starttls_are_missing():
    names = {name.lower() for name in (*dir(aioimaplib.IMAP4), *dir(aioimaplib.IMAP4ClientProtocol))}

    assert "xoauth2" in names
    assert not [name for name in names if "starttls" in name or "plain" in name or "oauthbearer" in name]
    assert not [name for name in names if "unselect" in name or "notify" in name]
    source = inspect.getsource(aioimaplib)
    assert "SASL-IR" not in source  # the initial response is sent without the capability
    assert "LITERAL+" not in source


async def test_h25_a_logout_and_a_missing_greeting_leave_the_socket_open():
    stock = protocol()
    async with running(stock.logout()) as leaving:
        stock.data_received(b"* BYE\r\n" + tag(stock) + b" OK bye\r\n")
        await leaving

        stock.transport.close.assert_not_called()
        stock.transport.abort.assert_not_called()
    listener = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    silent = aioimaplib.IMAP4("127.0.0.1", listener.sockets[0].getsockname()[1], timeout=0.05)
    with pytest.raises(TimeoutError):
        await silent.wait_hello_from_server()

    assert not silent.protocol.transport.is_closing()
    silent.protocol.transport.abort()
    listener.close()


async def test_h26_envelopes_and_dates_are_raw_lines():
    stock = protocol()
    line = b'1 FETCH (UID 5 INTERNALDATE "01-Feb-2026 00:00:00 +0000" ENVELOPE (NIL "hi" NIL))'
    async with running(stock.fetch("1", "(UID INTERNALDATE ENVELOPE)")) as fetching:
        stock.data_received(b"* " + line + b"\r\n" + tag(stock) + b" OK\r\n")
        response = await fetching

    assert response.lines[0] == line  # unparsed bytes


def client_of(stock: aioimaplib.IMAP4ClientProtocol) -> aioimaplib.IMAP4:
    """A stock client on this protocol."""
    client = aioimaplib.IMAP4.__new__(aioimaplib.IMAP4)
    client.protocol, client.tasks, client._idle_waiter = stock, set(), None
    return client


def tag(stock: aioimaplib.IMAP4ClientProtocol) -> bytes:
    """The tag of the last command sent."""
    return stock.transport.write.call_args.args[0].split(b" ")[0]
