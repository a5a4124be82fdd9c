"""The cases of `Chaos`, grouped by what fails. Importing this package registers all of them."""

from superimap.testing.chaos.cases import answers, mailbox, network, original, protocol, session

__all__ = ["answers", "mailbox", "network", "original", "protocol", "session"]
