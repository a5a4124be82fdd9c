"""Egress guard: the check of every address that is dialled for webhooks, OAuth and IMAP.

The guard checks the concrete address that a socket is about to connect to. At that point names, unusual spellings
of an address (`0x7f.1`, `2130706433`, `①②⑦.0.0.1`) and changing DNS answers make no difference. Python's
`is_global` is not sufficient: it is true for NAT64, for multicast and for `::127.0.0.1`.
"""

import ipaddress
import socket
from collections.abc import Collection, Iterable
from typing import Any

from superimap.core.errors import SuperImapError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# fmt: off
WEBHOOK_PORTS_REFUSED = frozenset({
    0, 21, 22, 23, 25, 53, 110, 111, 119, 135, 137, 138, 139, 143, 161, 389, 445, 465, 587, 636, 873, 993, 995,
    1433, 1521, 2049, 2375, 2376, 2379, 2380, 3306, 3389, 4369, 5432, 5433, 5672, 5900, 5984, 6379, 6380, 6432,
    9042, 9092, 9200, 9300, 10250, 11211, 16379, 26379, 27017,
})
# fmt: on
"""Ports of other protocols, whose servers might execute parts of a crafted POST as commands."""

_IPV4_REFUSED = tuple(
    ipaddress.IPv4Network(text)
    for text in (
        "0.0.0.0/8",  # this network; 0.0.0.0 connects to this host
        "10.0.0.0/8",
        "100.64.0.0/10",  # carrier-grade NAT, and the metadata service of one cloud
        "127.0.0.0/8",
        "168.63.129.16/32",  # a public address, but Azure's agent on each of its hosts
        "169.254.0.0/16",  # link-local, and the metadata service of most clouds
        "172.16.0.0/12",
        "192.0.0.0/24",
        "192.0.2.0/24",
        "192.88.99.0/24",
        "192.168.0.0/16",
        "198.18.0.0/15",
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",
        "240.0.0.0/4",
    )
)
_IPV6_GLOBAL = ipaddress.IPv6Network("2000::/3")  # everything else is private, local, multicast or unassigned
_IPV6_REFUSED = tuple(
    ipaddress.IPv6Network(text)
    for text in (
        "2001::/23",  # Teredo and other protocol assignments
        "2001:db8::/32",
        "2002::/16",  # 6to4: an IPv4 address inside
        "3fff::/20",
    )
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


class EgressBlocked(SuperImapError, OSError):
    """The address must not be dialled. The text is constant, so that repeated refusals count as one error."""

    def __init__(self, address: object) -> None:
        super().__init__("this address may not be dialled")
        self.address = address


class Guard:
    """Refuses private, local and special-purpose addresses, addresses of this machine, and `refused_ports`.

    Every address and port of the `allowed` networks is open. The `own` networks are refused even if allowed.
    """

    def __init__(
        self,
        allowed: Iterable[Network] = (),
        *,
        own: Iterable[Network] = (),
        refused_ports: Collection[int] = (),
    ) -> None:
        self._allowed = tuple(allowed)
        self._own = tuple(own)
        self._refused_ports = frozenset(refused_ports)

    def check(self, sockaddr: Any) -> None:
        """Raise EgressBlocked unless this socket address (host, port, …) may be dialled."""
        try:
            written, port = ipaddress.ip_address(str(sockaddr[0]).partition("%")[0]), int(sockaddr[1])
        except (ValueError, IndexError, TypeError):
            raise EgressBlocked(sockaddr) from None
        address = unwrap_address(written)
        if _is_in(self._own, address, written):
            raise EgressBlocked(sockaddr)
        if _is_in(self._allowed, address, written):
            return
        if port in self._refused_ports or not is_public(address) or is_local(address):
            raise EgressBlocked(sockaddr)

    def socket(self, addr_info: tuple[Any, ...]) -> socket.socket:
        """Create a socket if the address may be dialled, for aiohttp's `TCPConnector(socket_factory=…)`."""
        family, kind, protocol, _, sockaddr = addr_info
        self.check(sockaddr)
        return socket.socket(family=family, type=kind, proto=protocol)


def _is_in(networks: Iterable[Network], address: Address, written: Address) -> bool:
    return any(address in network or written in network for network in networks)


def is_local(address: Address) -> bool:
    """Whether the address belongs to this machine, where our own listeners are.

    A socket can be bound only to such an address. Nothing is sent.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def unwrap_address(address: Address) -> Address:
    """Return the IPv4 address inside a v4-mapped (RFC 4291) or NAT64 (RFC 6052) address, else the address."""
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def is_public(address: Address) -> bool:
    """Whether an unwrapped address is an ordinary address of the public Internet."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _IPV4_REFUSED)
    return address in _IPV6_GLOBAL and not any(address in network for network in _IPV6_REFUSED)
