"""Which socket addresses are refused, and why."""

import asyncio
import ipaddress
import socket

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.web.guard import (
    Guard,
    GuardedResolver,
    RefusedAddressError,
    address_reject_reason,
    parse_networks,
)

REFUSED = {
    "0.0.0.0": "unspecified address",
    "10.255.255.255": "private address",
    "100.64.0.1": "shared address",
    "100.100.100.200": "metadata address",
    "127.0.0.1": "loopback address",
    "127.255.0.1": "loopback address",
    "168.63.129.16": "metadata address",
    "169.254.0.9": "link-local address",
    "169.254.169.254": "metadata address",
    "172.31.255.255": "private address",
    "192.0.0.1": "reserved address",
    "192.0.2.1": "reserved address",
    "192.168.0.1": "private address",
    "198.19.0.1": "reserved address",
    "198.51.100.1": "reserved address",
    "203.0.113.1": "reserved address",
    "224.0.0.251": "multicast address",
    "239.1.1.1": "multicast address",
    "240.0.0.1": "reserved address",
    "255.255.255.255": "reserved address",
    "::": "unspecified address",
    "::1": "loopback address",
    "::7f00:1": "IPv4 in IPv6",
    "::ffff:8.8.8.8": "IPv4 in IPv6",
    "64:ff9b::808:808": "IPv4 in IPv6",
    "64:ff9b:1::1": "IPv4 in IPv6",
    "2001:0:4136:e378::1": "IPv4 in IPv6",
    "2002:7f00:1::": "IPv4 in IPv6",
    "2001:db8::1": "reserved address",
    "2001:2::1": "reserved address",
    "3fff::1": "reserved address",
    "4000::1": "reserved address",
    "100::1": "reserved address",
    "fc00::1": "private address",
    "fd00:ec2::254": "metadata address",
    "fe80::1": "link-local address",
    "fe80::1%eth0": "link-local address",
    "fec0::1": "private address",
    "ff02::1": "multicast address",
    "0177.0.0.1": "bad address",
    "2130706433": "bad address",
    "localhost": "bad address",
    "": "bad address",
}


@pytest.mark.parametrize("address", REFUSED)
def test_address_that_is_not_public_is_refused_with_its_reason(address: str) -> None:
    assert address_reject_reason(address) == REFUSED[address]


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "172.32.0.1", "100.128.0.1", "2606:4700::1111"])
def test_public_address_is_allowed(address: str) -> None:
    assert address_reject_reason(address) is None


@settings(deadline=None)
@given(st.ip_addresses())
def test_no_address_is_allowed_that_the_standard_library_calls_private(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if not address.is_global or address.is_multicast:
        # 192.0.0.9 and the like: later releases call some anycast addresses of 192.0.0.0/24 global.
        assert address_reject_reason(str(address)) is not None


@settings(deadline=None)
@given(st.ip_addresses(v=4))
def test_no_ipv4_address_passes_inside_ipv6(address: ipaddress.IPv4Address) -> None:
    number = int(address)
    forms = [
        number,  # compatible
        0xFFFF << 32 | number,  # mapped
        0x64FF9B << 96 | number,  # NAT64
        0x2002 << 112 | number << 80,  # 6to4
        0x20010000 << 96 | number ^ 0xFFFFFFFF,  # Teredo
    ]
    assert all(address_reject_reason(str(ipaddress.IPv6Address(form))) is not None for form in forms)


def test_allowed_network_is_allowed_and_nothing_beside_it() -> None:
    allowed = parse_networks(["127.0.0.0/30", "fd00:1::/32"])
    assert address_reject_reason("127.0.0.3", allowed) is None
    assert address_reject_reason("fd00:1::9", allowed) is None
    assert address_reject_reason("127.0.0.4", allowed) == "loopback address"
    assert address_reject_reason("::ffff:127.0.0.1", allowed) == "IPv4 in IPv6"


def test_networks_that_are_none_are_a_mistake_with_a_hint() -> None:
    with pytest.raises(ValueError, match="write a network as"):
        parse_networks(["10.0.0.1/8"])


def test_ports_are_checked_unless_the_network_was_allowed() -> None:
    guard = Guard(parse_networks(["127.0.0.1/32"]), frozenset({80, 443}))
    assert guard.reject_reason("8.8.8.8", 443) is None
    assert guard.reject_reason("8.8.8.8", 22) == "port"
    assert guard.reject_reason("127.0.0.1", 22) is None
    assert guard.reject_reason("127.0.0.2", 80) == "loopback address"


def test_socket_is_made_for_checked_addresses_only() -> None:
    guard = Guard()
    with pytest.raises(RefusedAddressError, match="loopback"):
        guard.guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", 80)))
    with guard.guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 0, "", ("8.8.8.8", 80))) as made:
        assert made.family == socket.AF_INET


class Answers(AbstractResolver):
    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=family, proto=0, flags=0)
            for address in self.addresses
        ]

    async def close(self) -> None:
        pass


@pytest.mark.parametrize(
    ("addresses", "reason"),
    [
        (["10.0.0.1"], "private address"),
        (["10.0.0.1", "127.0.0.1"], "private address"),
        (["8.8.8.8", "10.0.0.1"], "mixed addresses"),
        (["::ffff:8.8.8.8", "8.8.8.8"], "mixed addresses"),
    ],
)
def test_name_is_refused_unless_all_its_addresses_are_public(addresses: list[str], reason: str) -> None:
    with pytest.raises(RefusedAddressError) as caught:
        asyncio.run(GuardedResolver(Answers(*addresses), Guard()).resolve("name.example", 80))
    assert caught.value.reason == reason


def test_name_with_public_addresses_alone_resolves() -> None:
    found = asyncio.run(
        GuardedResolver(Answers("8.8.8.8", "2606:4700::1111"), Guard()).resolve("n.example", 80)
    )
    assert [result["host"] for result in found] == ["8.8.8.8", "2606:4700::1111"]
