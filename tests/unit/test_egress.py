"""Egress guard: refused and allowed addresses and ports."""

import ipaddress
import socket

import pytest

from superimap.core import egress
from superimap.core.egress import WEBHOOK_PORTS_REFUSED, EgressBlocked, Guard

REFUSED = """
    0.0.0.0 0.1.2.3 10.0.0.0 10.255.255.255 100.64.0.1 100.100.100.200 100.127.255.255 127.0.0.1 127.255.255.254
    168.63.129.16 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192 192.0.2.1 192.88.99.1 192.168.0.1
    198.18.0.1 198.19.255.255 198.51.100.1 203.0.113.1 224.0.0.1 239.255.255.255 240.0.0.1 255.255.255.255
    :: ::1 ::2 ::127.0.0.1 ::8.8.8.8 ::ffff:10.0.0.1 ::ffff:127.0.0.1 ::ffff:169.254.169.254 ::ffff:0:8.8.8.8
    64:ff9b::10.0.0.1 64:ff9b::127.0.0.1 64:ff9b::169.254.169.254 64:ff9b:1::8.8.8.8 100::1
    2001::1 2001:0:4136:e378:8000:63bf:3fff:fdd2 2001:2::1 2001:10::1 2001:20::1 2001:db8::1 2002:7f00:1::
    2002:808:808:: 3fff::1 4000::1 5f00::1 fc00::1 fd00:ec2::254 fe80::1 fe80::1%eth0 fec0::1 ff02::1 ff0e::1
"""

OPEN = """
    1.1.1.1 8.8.8.8 9.255.255.255 11.0.0.0 100.63.255.255 100.128.0.0 126.255.255.255 128.0.0.1 169.253.255.255
    172.15.255.255 172.32.0.0 192.0.1.1 192.167.255.255 198.17.255.255 198.20.0.0 223.255.255.255
    ::ffff:8.8.8.8 64:ff9b::8.8.8.8 2001:200::1 2001:4860:4860::8888 2606:4700:4700::1111 2a00:1450:4001::1
"""


@pytest.mark.parametrize("address", REFUSED.split())
def test_private_and_special_addresses_are_refused(address: str):
    with pytest.raises(EgressBlocked):
        Guard().check((address, 443))


@pytest.mark.parametrize("address", OPEN.split())
def test_public_addresses_are_allowed(address: str):
    Guard(refused_ports=WEBHOOK_PORTS_REFUSED).check((address, 443))


@pytest.mark.parametrize("port", [0, 22, 25, 143, 993, 2375, 3306, 5432, 6379, 9200, 11211, 27017])
def test_ports_of_other_protocols_are_refused(port: int):
    with pytest.raises(EgressBlocked):
        Guard(refused_ports=WEBHOOK_PORTS_REFUSED).check(("8.8.8.8", port))


@pytest.mark.parametrize("port", [80, 443, 8080, 8443, 3000, 8000])
def test_ports_that_webhooks_use_are_allowed(port: int):
    Guard(refused_ports=WEBHOOK_PORTS_REFUSED).check(("8.8.8.8", port))


def test_imap_ports_are_allowed_by_a_guard_without_refused_ports():
    Guard().check(("8.8.8.8", 993))


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3"])
def test_an_allowed_network_is_allowed_in_every_spelling(address: str):
    guard = Guard([ipaddress.ip_network("10.0.0.0/8")], refused_ports=WEBHOOK_PORTS_REFUSED)

    guard.check((address, 443))
    guard.check((address, 5432))

    with pytest.raises(EgressBlocked):
        guard.check(("192.168.0.1", 443))


def test_abuse_15_own_addresses_are_refused_even_if_allowed():
    everything = [ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")]
    guard = Guard(everything, own=[ipaddress.ip_network("8.8.8.8"), ipaddress.ip_network("2606:4700::/32")])

    for address in ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8", "2606:4700:4700::1111"):
        with pytest.raises(EgressBlocked):
            guard.check((address, 443))
    guard.check(("1.1.1.1", 443))


def test_abuse_15_addresses_of_this_machine_are_refused_without_configuration(
    monkeypatch: pytest.MonkeyPatch,
):
    """Public addresses of the machine included. Loopback stands in for them, because every machine has it."""
    monkeypatch.setattr(egress, "is_public", lambda _: True)

    with pytest.raises(EgressBlocked):
        Guard().check(("127.0.0.1", 8000))
    Guard().check(("8.8.8.8", 443))
    Guard([ipaddress.ip_network("127.0.0.0/8")]).check(("127.0.0.1", 8000))


@pytest.mark.parametrize(
    "sockaddr", ["/run/some.sock", b"\0x", (), ("localhost", 80), ("8.8.8.8",), None, ("", 1)]
)
def test_a_value_that_is_not_an_address_is_refused(sockaddr: object):
    with pytest.raises(EgressBlocked):
        Guard().check(sockaddr)


def test_no_socket_is_created_for_a_refused_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "socket", lambda **_: pytest.fail("a socket was created"))

    with pytest.raises(EgressBlocked):
        Guard().socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 80)))


def test_all_refusals_have_the_same_text():
    assert str(EgressBlocked(("::1", 80))) == str(EgressBlocked(("127.0.0.1", 80)))
    assert isinstance(EgressBlocked(None), OSError)
