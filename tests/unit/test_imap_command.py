"""Commands: arguments, waiting, limits; capabilities shared between sessions."""

import asyncio

import pytest

from superimap.imap.command import Command
from superimap.imap.encoding import Literal
from superimap.imap.errors import Disconnected, LimitExceeded
from superimap.imap.protocol import Protocol
from superimap.imap.statuses import Status
from superimap.imap.types import Limits


@pytest.mark.parametrize("end", ["\r", "\n", "\0"])
def test_an_argument_cannot_end_the_command(end):
    with pytest.raises(ValueError, match="not allowed") as caught:
        Command("SEARCH", "A1", f"SUBJECT secret{end}A2 LOGOUT")

    assert "secret" not in str(caught.value)
    Command("LOGIN", "A1", Literal(f"pass{end}word".encode()))  # a literal may hold anything


def test_h22_repr_of_a_command_shows_no_argument():
    assert repr(Command("FETCH", "A1", "secret", prefix="UID")) == "UID FETCH"
    assert Command("FETCH", "A1", "secret", prefix="UID").head == "A1 UID FETCH"


async def test_waiters_see_the_end_of_a_command_before_or_after_it():
    early, late, failed = (Command("NOOP", tag) for tag in ("A1", "A2", "A3"))
    early.close("OK", Status("done"))
    waiting = [asyncio.create_task(command.wait()) for command in (early, late, failed)]
    await asyncio.sleep(0)

    late.close("NO", Status("never"))
    failed.fail(Disconnected("gone"))
    ends = await asyncio.gather(*waiting, return_exceptions=True)

    assert ends[:2] == [None, None]
    assert isinstance(ends[2], Disconnected)
    failed.fail(Disconnected("again"))
    with pytest.raises(Disconnected, match="gone"):
        await failed.wait()


async def test_sessions_share_one_set_of_capabilities():
    protocols = [Protocol(Limits()) for _ in range(2)]
    for protocol in protocols:
        protocol.data_received(b"* OK hello\r\n* CAPABILITY IMAP4rev1 IDLE imap4REV2\r\n")

    assert protocols[0].capabilities is protocols[1].capabilities
    assert protocols[0].capabilities == {"IMAP4REV1", "IDLE", "IMAP4REV2"}


async def test_a_long_list_of_capabilities_is_not_shared():
    protocols = [Protocol(Limits()) for _ in range(2)]
    for protocol in protocols:
        protocol.data_received(b"* OK hello\r\n* CAPABILITY IMAP4rev1 " + b"x" * 5000 + b"\r\n")

    assert protocols[0].capabilities is not protocols[1].capabilities
    assert protocols[0].capabilities == protocols[1].capabilities


async def test_too_many_responses_to_one_command_end_the_connection():
    protocol = Protocol(Limits(responses=10))
    protocol.data_received(b"* OK hello\r\n")
    protocol.state = "SELECTED"
    waiting = asyncio.create_task(
        protocol.execute(Command("FETCH", "A1", "1", "FLAGS", wanted="FETCH"), within=60)
    )
    await asyncio.sleep(0)

    protocol.data_received(b"* 1 FETCH (FLAGS ())\r\n" * 10)
    assert protocol.lost is None
    protocol.data_received(b"* 1 FETCH (FLAGS ())\r\n")

    with pytest.raises(LimitExceeded, match="more than 10 responses"):
        await waiting
