"""Values that go into and come out of an IMAP session."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, NewType

__all__ = [
    "INBOX",
    "Credentials",
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
"""1 to 2⁶³-1, ascending within a UIDVALIDITY (RFC 9051 section 2.3.1.1, which allows 32 bits)."""
UidValidity = NewType("UidValidity", int)
"""0 to 2⁶³-1, 0 if the server reports none; another value voids all UIDs known so far."""

MIB = 1 << 20

Security = Literal["tls", "starttls", "none"]
"""How a connection is secured: TLS from the first byte, mandatory STARTTLS, or not at all."""


@dataclass(frozen=True, slots=True)
class ServerAddress:
    """The address of a mail server, and how connections to it are secured."""

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
    """An OAuth 2.0 access token, for SASL XOAUTH2 or OAUTHBEARER (RFC 7628).

    `mechanism` None uses whichever the server offers, XOAUTH2 first: every provider supports it, and those that
    offer both have supported it for longer.
    """

    username: str
    access_token: str = field(repr=False)
    mechanism: Literal["XOAUTH2", "OAUTHBEARER"] | None = None


Credentials = Login | OAuth


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long each wait may last in total, in seconds. A trickle of bytes does not extend it."""

    connect: float = 15.0
    """TCP, TLS and the greeting, over all addresses."""
    login: float = 60.0
    """Authentication; throttled servers delay it by 30 s."""
    command: float = 60.0
    """Any other command; throttled servers delay each answer by 30 s."""
    fetch: float = 120.0
    """The transfer of one whole mail."""
    done: float = 15.0
    """The answer to DONE; a server that takes longer is dead."""
    logout: float = 2.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a server may send, in bytes. Beyond a limit the session ends with LimitExceeded."""

    line: int = 1 * MIB
    """The texts of one response, without its literals. Only a search result may be longer, up to `response`."""
    literal: int = 64 * MIB
    response: int = 32 * MIB
    """All responses to one command. The limit in force is `total`, at least `literal` + `line`."""
    responses: int = 100_000
    """Number of responses to one command."""

    @property
    def total(self) -> int:
        """Bytes of all responses to one command."""
        return max(self.response, self.literal + self.line)


@dataclass(frozen=True, slots=True)
class Folder:
    """A listed mailbox. `name` is decoded; special-use attributes are spelled as in RFC 6154, such as `\\All`.

    `raw` has the bytes of the name as they were listed: the mailbox is opened by them, whatever they mean.
    """

    name: str
    attributes: frozenset[str]
    delimiter: str | None
    raw: bytes


INBOX = Folder("INBOX", frozenset(), None, b"INBOX")
"""The mailbox that every account has, in any spelling of its name (RFC 9051 section 5.1)."""


@dataclass(frozen=True, slots=True)
class Selected:
    """A mailbox as it was when opened. `uid_next` is None if the server did not report it."""

    name: str
    uid_validity: UidValidity
    uid_next: int | None
    exists: int


@dataclass(frozen=True, slots=True)
class MessageMeta:
    """What is known of a message before its body is fetched.

    `internal_date` is None if the server's is missing or invalid. So is `size`: RFC822.SIZE in bytes, which some
    servers only estimate. `message_id` is read as `mail.message` reads it; None if the mail has none, or if it was
    not received.
    """

    uid: Uid
    internal_date: datetime | None
    size: int | None
    message_id: str | None
    labels: tuple[str, ...] = ()
