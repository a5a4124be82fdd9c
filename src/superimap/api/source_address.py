"""Address of the client of a request, behind trusted proxies."""

import ipaddress

from starlette.requests import HTTPConnection

from superimap.api.middleware import is_trusted
from superimap.core.setting_types import Network
from superimap.domain.api_keys import Address


def source_address(request: HTTPConnection, proxies: tuple[Network, ...]) -> Address | None:
    """Return the client's address; None if it has none, as behind a Unix socket.

    Behind trusted proxies this is the last address in X-Forwarded-For that is not a proxy's. Addresses that the
    client itself wrote come before it: in the same line, or (HAProxy) in a line of their own. Some proxies add a
    port.
    """
    found = request.client.host if request.client else ""
    if is_trusted(request.scope, proxies):
        lines = ",".join(request.headers.getlist("x-forwarded-for"))
        hops = [_without_port(hop.strip()) for hop in lines.split(",")]
        others = [hop for hop in reversed(hops) if hop and not _is_in(hop, proxies)]
        found = others[0] if others else found
    try:
        address = ipaddress.ip_address(found)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address


def _without_port(hop: str) -> str:
    """Strip port and brackets from `192.0.2.1:4711` and `[2001:db8::1]:4711`; return anything else unchanged."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _is_in(hop: str, networks: tuple[Network, ...]) -> bool:
    try:
        return any(ipaddress.ip_address(hop) in network for network in networks)
    except ValueError:
        return False
