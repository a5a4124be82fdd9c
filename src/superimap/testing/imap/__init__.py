"""Fake IMAP servers: `ImapServer` keeps mail in memory, `ScriptedServer` plays exact byte sequences.

`hooks` has ready-made misbehaviours for `ImapServer.on`, `script` the steps of a `ScriptedServer`.
"""

from superimap.testing.imap.mailbox import FakeAccount, FakeMailbox, FakeMessage
from superimap.testing.imap.script import Dialogue, ScriptedServer, ScriptError
from superimap.testing.imap.server import ImapServer, LogEntry
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand

__all__ = [
    "ClientCommand", "Dialogue", "FakeAccount", "FakeMailbox", "FakeMessage", "FakeSession", "Hook",
    "ImapServer", "LogEntry", "ScriptError", "ScriptedServer",
]  # fmt: skip
