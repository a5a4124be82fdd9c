"""The login that checks a password: few at once, and little memory, whatever the mail server sends."""

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from superimap.api.pages.try_limits import (
    MAX_COUNTED_ADDRESSES,
    counted_address,
    mailbox_limits,
    server_limits,
)
from superimap.core.egress import Guard
from superimap.core.errors import SuperImapError
from superimap.core.resolver import AddressInfo, Resolver
from superimap.db.accounts.link_usage import TryLimit
from superimap.imap.connection import connect
from superimap.imap.errors import ImapError
from superimap.imap.peer import Peer
from superimap.imap.types import Limits, Login, ServerAddress, Timeouts

LOGIN_LIMITS = Limits(line=16 * 1024, literal=16 * 1024, response=64 * 1024, responses=200)
"""What a login needs is a greeting, capabilities and a few lines: 4 KiB at the servers of all presets."""
MAX_LOGINS = 32
"""Logins at once in this process."""
MAX_LOGINS_PER_GROUP = MAX_LOGINS // 2
"""Of these: of one partner, at one mail server, and at all servers that people named."""
BUSY_RETRY_SECONDS = 5


class LoginsBusy(SuperImapError):
    """All slots for logins are taken, or those of one of its groups."""


class LoginSlots:
    """Slots for logins, in all and by group."""

    def __init__(self) -> None:
        self._total = 0
        self._taken: Counter[str] = Counter()

    @contextmanager
    def take(self, *groups: str) -> Iterator[None]:
        """Hold a slot. Raises LoginsBusy instead of waiting: a person can try again, a queue only grows."""
        if self._total >= MAX_LOGINS or any(self._taken[each] >= MAX_LOGINS_PER_GROUP for each in groups):
            raise LoginsBusy("too many logins at once")
        self._total += 1
        self._taken.update(groups)
        try:
            yield
        finally:
            self._total -= 1
            self._taken.subtract(groups)
            for each in groups:
                if not self._taken[each]:
                    del self._taken[each]


@dataclass(frozen=True, slots=True)
class LoginAttempt:
    """One submission of the form. `is_named`: a person entered the server, which may be anybody's.

    `known_names` are the user names that the link names.
    """

    server: ServerAddress
    login: Login
    is_named: bool
    partner_id: int
    known_names: tuple[str | None, ...]
    link_limit: TryLimit
    client_limit: TryLimit

    @property
    def host(self) -> str:
        """The name of the server in one spelling."""
        return self.server.host.lower().rstrip(".")

    @property
    def groups(self) -> list[str]:
        """The groups of which it takes a slot."""
        named = ["named servers"] if self.is_named else []
        return [f"partner {self.partner_id}", f"server {self.host}", *named]

    def limits(self) -> list[TryLimit]:
        """The limits that are known before the server is looked up."""
        return [self.link_limit, self.client_limit, *self._server_limits([self.host])]

    def address_limits(self, found: Sequence[AddressInfo]) -> list[TryLimit]:
        """The limits of the server's addresses, other than its name."""
        addresses = {counted_address(str(each[4][0])) for each in found} - {None, self.host}
        return self._server_limits(sorted(map(str, addresses)))

    def _server_limits(self, servers: Sequence[str]) -> list[TryLimit]:
        return [
            *mailbox_limits(servers, self.login.username, partner_id=self.partner_id, known=self.known_names),
            *server_limits(servers, partner_id=self.partner_id, is_named=self.is_named),
        ]


async def addresses_of(resolver: Resolver, attempt: LoginAttempt, *, within: float) -> Sequence[AddressInfo]:
    """Look up the addresses of the server; none if there are none, or not in time."""
    server = attempt.server
    try:
        async with asyncio.timeout(within):
            found = await resolver.look_up(server.host, server.port, is_named=attempt.is_named)
    except (OSError, UnicodeError, TimeoutError):
        return []
    return found[:MAX_COUNTED_ADDRESSES]


async def log_in(
    attempt: LoginAttempt, found: Sequence[AddressInfo], guard: Guard, *, timeouts: Timeouts, within: float
) -> Exception | None:
    """Log in once at one of the addresses `found`; return the error, or None on success."""

    async def look_up(_host: str, _port: int) -> Sequence[AddressInfo]:
        return found

    try:
        async with (
            asyncio.timeout(within),
            connect(
                attempt.server,
                attempt.login,
                timeouts=timeouts,
                limits=LOGIN_LIMITS,
                guard=guard.check,
                peer=Peer(look_up),
            ),
        ):
            return None
    except (ImapError, OSError, TimeoutError) as error:
        return error
