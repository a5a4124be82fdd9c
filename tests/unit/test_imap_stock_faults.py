"""Why does superimap.imap.protocol replace so much? Each fault of aioimaplib 2.0.3, shown on the stock class.

A test that fails here after an update of it means that an override may be dropped. Our own promises in these
places are in tests/integration/test_imap_client_hazards.py, under the same numbers.
"""

import asyncio
import contextlib
import inspect
import ssl
import time
from unittest.mock import Mock

import pytest
from aioimaplib import aioimaplib


def protocol(state: str = aioimaplib.SELECTED) -> aioimaplib.IMAP4ClientProtocol:
    """A stock protocol in this state, on a transport that goes nowhere."""
    made = aioimaplib.IMAP4ClientProtocol(asyncio.get_running_loop())
    made.connection_made(Mock())
    made.state = state
    made.capabilities = {"IDLE", "IMAP4REV1"}
    return made


async def turn() -> None:
    """Let what was started run until it waits."""
    for _ in range(5):
        await asyncio.sleep(0)


@contextlib.asynccontextmanager
async def running(coroutine):
    """A task that has been started, and is cancelled in the end."""
    task = asyncio.create_task(coroutine)
    await turn()
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_h01_a_lost_connection_wakes_nobody():
    stock = protocol()
    async with running(stock.fetch("1", "(UID)")) as fetching, running(stock.idle_queue.get()) as pushing:
        stock.connection_lost(None)
        await turn()

        assert not fetching.done()
        assert not pushing.done()


async def test_h02_idle_start_does_not_notice_a_lost_connection():
    client = aioimaplib.IMAP4.__new__(aioimaplib.IMAP4)
    client.protocol, client.tasks, client._idle_waiter = protocol(), set(), None
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


async def test_h09_a_thousand_lines_are_too_deep():
    stock = protocol()
    with pytest.raises(RecursionError):
        stock.data_received(b"* 1 EXISTS\r\n" * 1100)


async def test_h10_a_bracket_in_a_subject_swallows_what_follows():
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


async def test_h13_there_are_no_limits():
    stock = protocol()
    async with running(stock.fetch("1", "(BODY[])")):
        stock.data_received(b"* 1 FETCH (BODY[] {4294967296}\r\n" + b"x" * (4 << 20))

        assert len(stock.current_command._resp_literal_data) == 4 << 20


async def test_h14_a_select_that_timed_out_blocks_all_that_follows():
    stock = protocol(aioimaplib.AUTH)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(stock.select("INBOX"), 0.01)

    async with running(stock.simple_command("NOOP")) as noop:
        assert not noop.done()
        assert stock.transport.write.call_count == 1  # NOOP was not even sent


async def test_h16_examine_selects_nothing():
    stock = protocol(aioimaplib.AUTH)
    async with running(stock.simple_command("EXAMINE", "INBOX")) as examining:
        stock.data_received(tag(stock) + b" OK [READ-ONLY] done\r\n")
        await examining

    with pytest.raises(aioimaplib.Abort, match="illegal in state AUTH"):
        await stock.fetch("1", "(UID)")


async def test_h17_a_bye_that_mentions_ok_is_a_greeting():
    stock = protocol(aioimaplib.CONNECTED)
    async with running(stock.welcome(b"* BYE LOOKUP failed")):
        assert stock.state == aioimaplib.NONAUTH


async def test_h21_mailbox_names_go_out_raw():
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


def test_h24_every_client_makes_a_tls_context():
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


def tag(stock: aioimaplib.IMAP4ClientProtocol) -> bytes:
    """The tag of the last command sent."""
    return stock.transport.write.call_args.args[0].split(b" ")[0]
