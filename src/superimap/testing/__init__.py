"""What does SuperIMAP ship for tests? An IMAP server that obeys or misbehaves, and a receiver of webhooks.

`ImapServer` is lawful until hooks say otherwise, and `Chaos` says so by the names of what goes wrong with mail
servers; `ChaosProxy` spoils the network before any server; `ScriptedServer` says exactly the bytes it is given;
`WebhookSink` records what was POSTed to it. None of them needs anything else of SuperIMAP.
"""

from superimap.testing.chaos.case import Struck
from superimap.testing.chaos.proxy import ChaosProxy, Fault
from superimap.testing.chaos.scenario import Scenario, ScenarioError
from superimap.testing.chaos.server import Chaos, UnknownCase
from superimap.testing.imap.mailbox import Account, Mailbox, Message
from superimap.testing.imap.script import Dialogue, ScriptedServer, ScriptError
from superimap.testing.imap.server import Event, ImapServer
from superimap.testing.imap.session import Hook, Session
from superimap.testing.imap.syntax import Command
from superimap.testing.webhook_sink import Received, WebhookSink, verify_body_signature, verify_standard

__all__ = [
    "Account", "Chaos", "ChaosProxy", "Command", "Dialogue", "Event", "Fault", "Hook", "ImapServer", "Mailbox",
    "Message", "Received", "Scenario", "ScenarioError", "ScriptError", "ScriptedServer", "Session", "Struck",
    "UnknownCase", "WebhookSink", "verify_body_signature", "verify_standard",
]  # fmt: skip
