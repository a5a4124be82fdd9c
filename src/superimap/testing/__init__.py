"""Servers for tests of mail clients and webhook receivers; docs/testing.md shows how to use them.

`ImapServer` obeys the protocol until hooks or `Chaos` cases make it misbehave. `ScriptedServer` plays exact bytes.
`ChaosProxy` disturbs the network in front of any server. `WebhookSink` records the webhooks that it
receives, `signed_webhook` makes one to send.
`superimap.testing.oauth` has a fake OAuth provider, `superimap.testing.dovecot` runs a real IMAP server. Nothing
here imports the rest of SuperIMAP.
"""

from superimap.testing.chaos import (
    Chaos,
    ChaosEvent,
    ChaosProxy,
    NetworkFault,
    Scenario,
    ScenarioError,
    UnknownCase,
)
from superimap.testing.imap import (
    ClientCommand,
    Dialogue,
    FakeAccount,
    FakeMailbox,
    FakeMessage,
    FakeSession,
    Hook,
    ImapServer,
    LogEntry,
    ScriptedServer,
    ScriptError,
)
from superimap.testing.signatures import signed_webhook, verify_body_signature, verify_standard
from superimap.testing.webhook_sink import Received, WebhookSink

__all__ = [
    "Chaos", "ChaosEvent", "ChaosProxy", "ClientCommand", "Dialogue", "FakeAccount", "FakeMailbox", "FakeMessage",
    "FakeSession", "Hook", "ImapServer", "LogEntry", "NetworkFault", "Received", "Scenario", "ScenarioError",
    "ScriptError", "ScriptedServer", "UnknownCase", "WebhookSink", "signed_webhook",
    "verify_body_signature", "verify_standard",
]  # fmt: skip
