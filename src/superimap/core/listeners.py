"""Listening sockets, for one address, for both families of the wildcard `::`, or for every address of a name."""

from __future__ import annotations

import socket

from superimap.core.errors import SuperImapError

LISTEN_BACKLOG = 512


class ListenError(SuperImapError):
    """The address to listen on is not available."""


def open_listeners(host: str, port: int, *, variables: str) -> list[socket.socket]:
    """Open a listening socket for each address of `host`; connections wait in its backlog until they are accepted.

    `::` takes IPv4 connections too, whatever the system's default is. With port 0 only the first address is used.
    Raises ListenError, which names the settings `variables`, if an address is in use or unknown.
    """
    opened: list[socket.socket] = []
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        for family, kind, protocol, _, address in found if port else found[:1]:
            # With its protocol: only for TCP by name does asyncio disable Nagle's algorithm, which makes the body
            # of a response wait for the client's acknowledgement of its head, 40 ms on Linux.
            opened.append(listener := socket.socket(family, kind, protocol))
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                is_wildcard = address[0] == "::"
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(not is_wildcard))
            listener.bind(address)
            listener.listen(LISTEN_BACKLOG)
            listener.setblocking(False)
    except OSError as error:
        for listener in opened:
            listener.close()
        raise ListenError(
            f"Cannot listen on {host} port {port}: {error.strerror or error}. Set {variables} to an "
            "address that is not in use."
        ) from None
    return opened


def listener_url(listener: socket.socket) -> str:
    """Return the URL of a listening socket."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def reachable_host(host: str) -> str:
    """The address by which this machine reaches a process that listens on `host`: loopback for a wildcard."""
    return {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - not bound
