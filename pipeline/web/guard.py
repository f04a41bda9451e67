"""Which addresses the crawler may connect to: public unicast ones, and networks that were allowed by name.

A dump links to whatever people typed, and a page redirects wherever its server likes, so every
connection is checked where it cannot be talked round: `GuardedResolver` checks what a name resolves
to, and `guarded_socket` checks the very socket address that is about to be connected to, which also
covers addresses written as numbers. Nothing is looked up again between the check and the connection.
"""

import ipaddress
import socket
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# The first match decides. IANA's special-purpose registries (RFC 6890 and its updates), with the
# addresses at which clouds answer questions about the machine itself.
NOT_PUBLIC: tuple[tuple[Network, str], ...] = tuple(
    (ipaddress.ip_network(network), reason)
    for network, reason in [
        ("169.254.169.254/32", "metadata address"),  # AWS, Google, Azure, OpenStack and most others
        ("169.254.170.2/32", "metadata address"),  # AWS, containers
        ("100.100.100.200/32", "metadata address"),  # Alibaba
        ("168.63.129.16/32", "metadata address"),  # Azure's host; public by number, private by use
        ("192.0.0.192/32", "metadata address"),  # Oracle
        ("fd00:ec2::254/128", "metadata address"),  # AWS
        ("fd20:ce::254/128", "metadata address"),  # Google
        ("0.0.0.0/8", "unspecified address"),
        ("10.0.0.0/8", "private address"),
        ("100.64.0.0/10", "shared address"),  # carrier-grade NAT, RFC 6598
        ("127.0.0.0/8", "loopback address"),
        ("169.254.0.0/16", "link-local address"),
        ("172.16.0.0/12", "private address"),
        ("192.0.0.0/24", "reserved address"),
        ("192.0.2.0/24", "reserved address"),  # documentation
        ("192.88.99.0/24", "reserved address"),  # 6to4 relays, RFC 7526
        ("192.168.0.0/16", "private address"),
        ("198.18.0.0/15", "reserved address"),  # benchmarks
        ("198.51.100.0/24", "reserved address"),  # documentation
        ("203.0.113.0/24", "reserved address"),  # documentation
        ("224.0.0.0/4", "multicast address"),
        ("240.0.0.0/4", "reserved address"),  # and broadcast
        ("::/128", "unspecified address"),
        ("::1/128", "loopback address"),
        ("::/96", "IPv4 in IPv6"),  # compatible
        ("::ffff:0:0/96", "IPv4 in IPv6"),  # mapped
        ("::ffff:0:0:0/96", "IPv4 in IPv6"),  # translated, RFC 2765
        ("64:ff9b::/96", "IPv4 in IPv6"),  # NAT64, RFC 6052
        ("64:ff9b:1::/48", "IPv4 in IPv6"),  # NAT64, a network's own, RFC 8215
        ("2001::/32", "IPv4 in IPv6"),  # Teredo
        ("2002::/16", "IPv4 in IPv6"),  # 6to4
        ("2001::/23", "reserved address"),  # IETF protocols
        ("2001:db8::/32", "reserved address"),  # documentation
        ("3fff::/20", "reserved address"),  # documentation
        ("fc00::/7", "private address"),  # unique local
        ("fe80::/10", "link-local address"),
        ("fec0::/10", "private address"),  # site-local, RFC 3879
        ("ff00::/8", "multicast address"),
    ]
)
GLOBAL_UNICAST_V6 = ipaddress.ip_network("2000::/3")


class RefusedAddressError(OSError):
    """No connection was made, because its address is none that the crawler may connect to."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def parse_networks(networks: Sequence[str]) -> tuple[Network, ...]:
    """Parse networks in CIDR notation.

    Raises:
        ValueError: one of them is not a network.
    """
    try:
        return tuple(ipaddress.ip_network(network) for network in networks)
    except ValueError as error:
        raise ValueError(f"{error}: write a network as 10.1.0.0/16 or fd00::/8") from error


@lru_cache(maxsize=16_384)
def address_reject_reason(address: str, allowed_networks: tuple[Network, ...] = ()) -> str | None:
    """Say why an IP address may not be connected to, or None if it may.

    Every form of IPv4 in IPv6 is refused, whichever address is inside: it reaches through a
    translator what a check of its outside cannot see.
    """
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return "bad address"
    if any(parsed in network for network in allowed_networks):
        return None
    for network, reason in NOT_PUBLIC:
        if parsed in network:
            return reason
    if parsed.version == 6 and parsed not in GLOBAL_UNICAST_V6:
        return "reserved address"
    return None


@dataclass(frozen=True)
class Guard:
    """Decides about socket addresses: an allowed network allows its ports too."""

    allowed_networks: tuple[Network, ...] = ()
    allowed_ports: frozenset[int] = frozenset({80, 443})

    def reject_reason(self, address: str, port: int) -> str | None:
        """Say why this address and port may not be connected to, or None if they may."""
        reason = address_reject_reason(address, self.allowed_networks)
        if reason is not None:
            return reason
        return None if port in self.allowed_ports or self._allows(address) else "port"

    def _allows(self, address: str) -> bool:
        parsed = ipaddress.ip_address(address)
        return any(parsed in network for network in self.allowed_networks)

    def check(self, address: str, port: int) -> None:
        """Raise `RefusedAddressError` unless this address and port may be connected to."""
        reason = self.reject_reason(address, port)
        if reason is not None:
            raise RefusedAddressError(reason, f"{address} port {port}")

    def guarded_socket(self, address_info: tuple[Any, ...]) -> socket.socket:
        """Make the socket for a connection; aiohttp calls it with the address that it connects to next."""
        family, kind, protocol, _, (address, port, *_) = address_info
        self.check(address, port)
        return socket.socket(family, kind, protocol)


class GuardedResolver(AbstractResolver):
    """Resolves a name, and refuses it unless *every* address it has may be connected to.

    A name with public and private addresses is either a mistake or an attempt to be connected to the
    private one on a second try; taking only its public addresses would reward the attempt.
    """

    def __init__(self, inner: AbstractResolver, guard: Guard) -> None:
        self._inner = inner
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses of a host; raise `RefusedAddressError` or the inner resolver's `OSError`."""
        results = await self._inner.resolve(host, port, family)
        reasons = {result["host"]: self._guard.reject_reason(result["host"], port) for result in results}
        refused = [reason for reason in reasons.values() if reason is not None]
        if not refused:
            return results
        reason = refused[0] if len(refused) == len(reasons) else "mixed addresses"
        raise RefusedAddressError(reason, f"{host} is {', '.join(sorted(reasons))}, port {port}")

    async def close(self) -> None:
        """Close the inner resolver."""
        await self._inner.close()


def url_reject_reason(scheme: str, username: str, password: str) -> str | None:
    """Say why an address may not be asked for whatever its host is, or None if it may."""
    if scheme not in ("http", "https"):
        return "scheme"
    return "credentials" if username or password else None
