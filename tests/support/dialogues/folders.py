"""Reported shapes of LIST answers."""

from __future__ import annotations

from typing import Any

from superimap.testing import ImapServer
from superimap.testing.imap.session import FakeSession
from superimap.testing.imap.syntax import ClientCommand
from tests.support.dialogues.dialogue import Dialogue


def listing(number: str, wanted: str, *lines: bytes, **values: Any) -> Dialogue:
    """A server that answers LIST with these lines, and has the wanted folder."""

    def prepare(imap: ImapServer) -> None:
        async def hook(_session: FakeSession, command: ClientCommand) -> bytes:
            return b"".join(line + b"\r\n" for line in lines) + command.tag + b" OK LIST completed\r\n"

        imap.on("LIST", hook)

    values = {"folder": wanted, "provider": {"folders": wanted}} | values
    return Dialogue(number, prepare, **values)


INBOX = b'* LIST () "/" "INBOX"'
DIALOGUES = [
    listing("S081", "Wanted", b'* LIST (\\NoInferiors) NIL "INBOX"', b'* LIST (\\NoInferiors) NIL "Wanted"'),
    listing("S082", "Wanted", INBOX, b'* LIST () "." "ab"cd"', b'* LIST () "." "Wanted"'),
    listing("S083", "[Gmail]/Starred", INBOX, b'* LIST (\\HasNoChildren \\UnMarked) "/" [Gmail]/Starred'),
    listing("S084", 'mailbox_"important"_', INBOX, b'* LIST () "/" "mailbox_\\"important\\"_"'),
    listing("S085", "200", INBOX, b'* LIST (\\Subscribed \\HasNoChildren \\UnMarked) "/" 200'),
    listing("S086", "NIL", INBOX, b'* LIST (\\HasNoChildren) "/" NIL'),
    listing("S087", "Wanted", b'* LIST () "/" " "', b'* LIST () "/" ""', INBOX, b'* LIST () "/" Wanted'),
    listing("S088", "Folder\\Sub 1", INBOX, b'* LIST (\\HasNoChildren) "\\\\" Folder\\Sub 1'),
    listing(
        "S107", "Wanted", b'* LIST (\\Noselect) "/" "Wanted"', INBOX,
        folder="INBOX", provider={"folders": "Wanted"},
    ),
]  # fmt: skip
