"""Egress guard for every address, in every IPv6 form that can contain it."""

import contextlib
import ipaddress

from hypothesis import given
from hypothesis import strategies as st

from superimap.core.egress import EgressBlocked, Guard

GUARD = Guard()


def is_open(address: object) -> bool:
    with contextlib.suppress(EgressBlocked):
        GUARD.check((str(address), 443))
        return True
    return False


@given(st.ip_addresses())
def test_every_allowed_address_is_global_according_to_ipaddress(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
):
    mapped = getattr(address, "ipv4_mapped", None)
    if is_open(address):
        assert (mapped or address).is_global and not (mapped or address).is_multicast


@given(st.ip_addresses(v=4))
def test_an_ipv4_address_inside_an_ipv6_address_is_checked_like_the_address_alone(
    address: ipaddress.IPv4Address,
):
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}"):
        assert is_open(wrapped) == is_open(address)
    for wrapped in (f"::{address}", f"64:ff9b:1::{address}", f"::ffff:0:{address}"):
        assert not is_open(wrapped)
    high, low = int(address) >> 16, int(address) & 0xFFFF
    assert not is_open(f"2002:{high:x}:{low:x}::1")
