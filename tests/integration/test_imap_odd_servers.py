"""The client's answers to servers that stray from the protocol, in exact bytes over TCP."""

import pytest

from superimap.imap.connection import connect
from superimap.imap.errors import Disconnected, IdRefused
from superimap.imap.types import ServerAddress
from superimap.testing.imap.script import TAG, ScriptedServer, close, expect, send
from tests.integration.test_imap_client_hazards import FAST, USER

SAYS = {"name": "SuperIMAP", "vendor": 'An "Example"'}


def greeted(capabilities: bytes, after: bytes):
    """Steps up to the answer to LOGIN, with the capabilities before and after."""
    return [
        send(b"* OK [CAPABILITY ", capabilities, b"] hello\r\n"),
        expect(rb"\S+ LOGIN"),
        send(TAG, b" OK [CAPABILITY ", after, b"] in\r\n"),
    ]


async def open_and_examine(server: ScriptedServer) -> None:
    where = ServerAddress("127.0.0.1", server.port, "none")
    async with connect(where, USER, timeouts=FAST, client_id=SAYS) as client:
        await client.examine("INBOX")


EXAMINED = [expect(rb"\S+ EXAMINE"), send(b"* OK [UIDVALIDITY 1] v\r\n", TAG, b" OK done\r\n")]
SAID = [expect(rb'\S+ ID \("name" "SuperIMAP" "vendor" "An \\"Example\\""\)\Z'), send(TAG, b" OK done\r\n")]


@pytest.mark.parametrize(
    ("before", "after", "is_said"),
    [
        (b"IMAP4rev1 ID", b"IMAP4rev1 IDLE", True),
        (b"IMAP4rev1", b"IMAP4rev1 ID", True),
        (b"imap4rev1 id", b"imap4rev1 idle", True),
        (b"IMAP4rev1", b"IMAP4rev1 IDLE", False),
        (b"IMAP4rev1 IDLE XID", b"IMAP4rev1 X-ID", False),
    ],
)
async def test_id_is_said_after_login_if_the_server_offers_it_before_or_after(before, after, is_said):
    async with ScriptedServer(*greeted(before, after), *(SAID if is_said else []), *EXAMINED) as server:
        await open_and_examine(server)


@pytest.mark.parametrize(
    "end",
    [
        [send(b"* BYE not for you\r\n"), close()],
        [close()],
        [send(b"T9 OK what?\r\n")],
        [send(b"* ID {9999999999}\r\n")],
    ],
)
async def test_an_id_that_ends_the_connection_is_reported_as_such(end):
    steps = [*greeted(b"IMAP4rev1 ID", b"IMAP4rev1 IDLE"), expect(rb"\S+ ID "), *end]
    async with ScriptedServer(*steps) as server:
        with pytest.raises(IdRefused) as caught:
            await open_and_examine(server)

    assert isinstance(caught.value, Disconnected)
    assert caught.value.bye in ("not for you", None)
