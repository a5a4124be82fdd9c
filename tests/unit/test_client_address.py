"""The client address for rate limits: taken from trusted proxies, never from the client."""

from ipaddress import ip_network

import pytest
from fastapi import Request

from superimap.api.pages.browser import client_address

PROXIES = (ip_network("10.0.0.0/8"),)


def asking(*lines: str, peer: str = "10.1.2.3") -> str:
    """Return the client address of a request with these lines of X-Forwarded-For."""
    headers = [(b"x-forwarded-for", line.encode()) for line in lines]
    return client_address(Request({"type": "http", "client": (peer, 4711), "headers": headers}), PROXIES)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["198.51.100.7"], "198.51.100.7"),
        (["203.0.113.9, 198.51.100.7, 10.9.9.9"], "198.51.100.7"),
        (["203.0.113.9", "198.51.100.7"], "198.51.100.7"),
        (["198.51.100.7:50123"], "198.51.100.7"),
        (["[2001:db8:1:2:3::4]:50123"], "2001:db8:1:2::/64"),
        (["2001:db8:1:2:3::4"], "2001:db8:1:2::/64"),
        (["2001:db8:1:2:ffff::1%eth0"], "2001:db8:1:2::/64"),
        (["::ffff:198.51.100.7"], "198.51.100.7"),
        (["[::ffff:c633:6407]:50123"], "198.51.100.7"),
        (["64:ff9b::198.51.100.7"], "198.51.100.7"),
        (["unknown"], "unknown"),
        ([], "10.1.2.3"),
    ],
)
def test_the_last_hop_that_is_not_a_proxy_is_the_client(lines, address):
    assert asking(*lines) == address


def test_an_untrusted_peer_cannot_set_its_address():
    assert asking("198.51.100.7", peer="192.0.2.1") == "192.0.2.1"
