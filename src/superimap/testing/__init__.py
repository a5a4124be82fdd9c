"""What does SuperIMAP ship for tests? An IMAP server that obeys or misbehaves, and a receiver of webhooks.

`ImapServer` is lawful until hooks say otherwise, and `Chaos` says so by the names of what goes wrong with mail
servers; `ChaosProxy` spoils the network before any server; `ScriptedServer` says exactly the bytes it is given;
`WebhookSink` records what was POSTed to it. None of them needs anything else of SuperIMAP.
"""

from superimap.testing.chaos.case import ChaosEvent
from superimap.testing.chaos.proxy import ChaosProxy, NetworkFault
from superimap.testing.chaos.scenario import Scenario, ScenarioError
from superimap.testing.chaos.server import Chaos, UnknownCase
from superimap.testing.imap.mailbox import FakeAccount, FakeMailbox, FakeMessage
from superimap.testing.imap.script import Dialogue, ScriptedServer, ScriptError
from superimap.testing.imap.server import ImapServer, LogEntry
from superimap.testing.imap.session import FakeSession, Hook
from superimap.testing.imap.syntax import ClientCommand
from superimap.testing.webhook_sink import Received, WebhookSink, verify_body_signature, verify_standard

__all__ = [
    "Chaos", "ChaosEvent", "ChaosProxy", "ClientCommand", "Dialogue", "FakeAccount", "FakeMailbox", "FakeMessage",
    "FakeSession", "Hook", "ImapServer", "LogEntry", "NetworkFault", "Received", "Scenario", "ScenarioError",
    "ScriptError", "ScriptedServer", "UnknownCase", "WebhookSink", "verify_body_signature", "verify_standard",
]  # fmt: skip
