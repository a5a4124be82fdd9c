"""Misbehaviour on purpose: `Chaos` for an `ImapServer`, `ChaosProxy` for the network in front of any server."""

from superimap.testing.chaos.hostile_mails import hostile_mails, small_mail
from superimap.testing.chaos.proxy import ChaosProxy, NetworkFault
from superimap.testing.chaos.scenario import Scenario, ScenarioError
from superimap.testing.chaos.server import Chaos, UnknownCase
from superimap.testing.chaos.state import ChaosEvent

__all__ = [
    "Chaos", "ChaosEvent", "ChaosProxy", "NetworkFault", "Scenario", "ScenarioError", "UnknownCase",
    "hostile_mails", "small_mail",
]  # fmt: skip
