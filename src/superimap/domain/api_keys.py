"""Rights of API keys: scopes, source networks, and which rights a key may pass on."""

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Scope(StrEnum):
    """What an API key may do. No scope implies another one."""

    READ = "read"  # read everything of the partner, except keys
    WRITE = "write"  # change connections and users, enable endpoints, cancel deliveries
    REPLAY = "replay"  # send webhooks again, send test webhooks, read mails again
    KEYS = "keys"  # manage API keys and signing secrets


ALL_SCOPES = tuple(Scope)


@dataclass(frozen=True, slots=True)
class KeyRights:
    """Rights of an API key. No networks: any address. `expires_at` None: no end."""

    scopes: frozenset[Scope]
    networks: tuple[Network, ...] = ()
    expires_at: datetime | None = None

    def allows_source(self, address: Address | None) -> bool:
        """Whether a request from this address may use the key; None is an unknown address."""
        if not self.networks:
            return True
        return address is not None and any(address in network for network in self.networks)

    def excess_over(self, other: "KeyRights") -> str | None:
        """Return the field in which these rights exceed those of another key; None if they do not.

        A key that could create or change keys with more rights than its own would have those rights itself.
        """
        if not self.scopes <= other.scopes:
            return "scopes"
        if other.networks and not _are_within(self.networks, other.networks):
            return "networks"
        if other.expires_at is not None and (self.expires_at is None or self.expires_at > other.expires_at):
            return "expires_at"
        return None


def _are_within(inner: Iterable[Network], outer: Iterable[Network]) -> bool:
    """Whether each of the inner networks is a part of an outer one; no inner networks are all addresses."""
    inner, outer = tuple(inner), tuple(outer)
    return bool(inner) and all(any(_is_within(network, each) for each in outer) for network in inner)


def _is_within(network: Network, outer: Network) -> bool:
    match network, outer:
        case ipaddress.IPv4Network(), ipaddress.IPv4Network():
            return network.subnet_of(outer)
        case ipaddress.IPv6Network(), ipaddress.IPv6Network():
            return network.subnet_of(outer)
    return False
