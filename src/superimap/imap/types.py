"""Which values go into and come out of an IMAP session?"""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NewType

from superimap.domain.envelope import Address, Envelope

__all__ = [
    "Address",
    "Credentials",
    "Envelope",
    "Folder",
    "Limits",
    "Login",
    "MessageMeta",
    "OAuth",
    "Security",
    "Selected",
    "ServerAddress",
    "Timeouts",
    "Uid",
    "UidValidity",
]

Uid = NewType("Uid", int)
"""1 to 2³²-1, ascending within a UIDVALIDITY (RFC 9051 section 2.3.1.1)."""
UidValidity = NewType("UidValidity", int)
"""1 to 2³²-1; another value means that all UIDs known so far are void."""

MIB = 1 << 20


Security = Literal["tls", "starttls", "none"]
"""How a connection is secured: TLS at once, STARTTLS without fail, or not at all."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """Where to dial, and how it is secured."""

    host: str
    port: int
    tls: Security = "tls"


@dataclass(frozen=True, slots=True)
class Login:
    """A user name and a password, for LOGIN or SASL PLAIN."""

    username: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class OAuth:
    """An OAuth 2.0 access token, for SASL XOAUTH2 or OAUTHBEARER (RFC 7628); None: which the server offers.

    XOAUTH2 comes first: every provider has it, and those that offer both have had it for longer.
    """

    username: str
    access_token: str = field(repr=False)
    mechanism: Literal["XOAUTH2", "OAUTHBEARER"] | None = None


Credentials = Login | OAuth


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each wait may last, in seconds, all in all: a trickle of bytes does not prolong it."""

    connect: float = 15.0
    """TCP, TLS and the greeting, over all addresses."""
    login: float = 60.0
    """Authentication; throttled servers let it wait 30 s."""
    command: float = 60.0
    """Throttled servers let each answer wait 30 s."""
    fetch: float = 120.0
    """The transfer of one whole mail."""
    done: float = 15.0
    """The answer to DONE: past it the peer is dead."""
    logout: float = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server may send, in bytes; beyond it the session ends with LimitExceeded."""

    line: int = 1 * MIB
    literal: int = 64 * MIB
    response: int = 32 * MIB
    """All that answers one command; at least `literal` + `line`, whatever is said here."""
    responses: int = 100_000
    """How many responses may answer one command."""

    @property
    def total(self) -> int:
        return max(self.response, self.literal + self.line)


@dataclass(frozen=True, slots=True)
class Folder:
    """A listed mailbox, its name decoded; special-use attributes in RFC 6154's spelling, as `\\All`."""

    name: str
    attributes: frozenset[str]
    delimiter: str | None


@dataclass(frozen=True, slots=True)
class Selected:
    """A mailbox as it was when opened. `uid_next` is None where the server does not tell."""

    name: str
    uid_validity: UidValidity
    uid_next: int | None
    exists: int


@dataclass(frozen=True, slots=True)
class MessageMeta:
    """What decides about a message before its body is fetched.

    `size` is RFC822.SIZE in bytes, which some servers only estimate. `envelope` is None if the server's was
    unintelligible.
    """

    uid: Uid
    internal_date: datetime
    size: int
    envelope: Envelope | None
    labels: tuple[str, ...] = ()
