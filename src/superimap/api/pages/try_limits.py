"""Limits of passwords that are tried: what is counted, how often, and what a person is told. Pure.

A mailbox and a mail server are counted over all partners and links, so that many links are not many guesses. A
partner can use up a part of such a limit only, so that it cannot lock out the people of another one. Tries through
links that name the mailbox are counted apart from all others, so that strangers cannot lock out its owner.
"""

import ipaddress
import math
from collections.abc import Iterable, Sequence

from superimap.core.crypto import digest
from superimap.core.egress import unwrap_address
from superimap.db.accounts.link_usage import TryLimit

WITH_THIS_LINK = "with this link"
MAX_TRIES_PER_MAILBOX, MAX_TRIES_PER_MAILBOX_AND_PARTNER = 30, 10
"""In MAILBOX_SECONDS. A partner has them three times: through links that name the mailbox, through others, and by
request."""
MAILBOX_SECONDS = 600
MAX_TRIES_PER_SERVER, MAX_TRIES_PER_SERVER_AND_PARTNER = 400, 100
"""In SERVER_SECONDS, for the mail server of a provider. Logins that succeed do not count."""
MAX_TRIES_PER_NAMED_SERVER, MAX_TRIES_PER_NAMED_SERVER_AND_PARTNER = 30, 10
"""The same, for a mail server that people name, which may be anybody's."""
SERVER_SECONDS = 60
MAX_COUNTED_ADDRESSES = 4
"""Addresses of a mail server that are counted, and dialled."""


def mailbox_limits(
    servers: Iterable[str], username: str, *, partner_id: int, known: Sequence[str | None]
) -> list[TryLimit]:
    """Return the limits of a mailbox on a mail server, which is given by its name or addresses.

    `known` are the user names that the link names.
    """
    mailbox = counted_mailbox(username)
    is_named = mailbox in [counted_mailbox(each) for each in known if each]
    return _mailbox_limits(servers, mailbox, f"{partner_id}\0{'named' if is_named else 'other'}")


def set_password_limits(server: str, username: str, *, partner_id: int) -> list[TryLimit]:
    """Return the limits of passwords that a partner sets by request: each is tried at once by an idler."""
    return _mailbox_limits([server.lower().rstrip(".")], counted_mailbox(username), f"{partner_id}\0set")


def _mailbox_limits(servers: Iterable[str], mailbox: str, pool: str) -> list[TryLimit]:
    limits = []
    for server in servers:
        each = f"mailbox\0{server}\0{mailbox}"
        for key, at_most in (
            (each, MAX_TRIES_PER_MAILBOX),
            (f"{each}\0{pool}", MAX_TRIES_PER_MAILBOX_AND_PARTNER),
        ):
            limits.append(TryLimit(digest(key), at_most, MAILBOX_SECONDS, "for this mailbox"))
    return limits


def server_limits(servers: Iterable[str], *, partner_id: int, is_named: bool) -> list[TryLimit]:
    """Return the limits of a mail server; `is_named` says that a person entered it."""
    in_all, by_partner = MAX_TRIES_PER_SERVER, MAX_TRIES_PER_SERVER_AND_PARTNER
    if is_named:
        in_all, by_partner = MAX_TRIES_PER_NAMED_SERVER, MAX_TRIES_PER_NAMED_SERVER_AND_PARTNER
    limits = []
    for server in servers:
        each = f"server\0{server}"
        for key, at_most in ((each, in_all), (f"{each}\0{partner_id}", by_partner)):
            limits.append(TryLimit(digest(key), at_most, SERVER_SECONDS, "at this mail server"))
    return limits


def counted_mailbox(username: str) -> str:
    """Return one spelling for the spellings by which a server may know a mailbox: case, dots and +words.

    Two mailboxes that share a spelling share a limit, which does no harm.
    """
    local, at, domain = username.strip().casefold().rpartition("@")
    local = local if at else domain
    return f"{local.partition('+')[0].replace('.', '')}{at}{domain if at else ''}"


def counted_address(text: str) -> str | None:
    """Return an IP address as it is counted, or None: IPv6 as a /64 network, as one person has a whole one."""
    try:
        address = unwrap_address(ipaddress.ip_address(text.partition("%")[0]))
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def wait_minutes(seconds: int) -> int:
    """Return the whole minutes after which a limit has ended."""
    return max(1, math.ceil(seconds / 60))
