"""Where webhooks may not go: whoever may name a URL could otherwise have this machine speak to its own neighbours."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Network, ip_address, ip_network
from typing import Final

# RFC 4291: what is handed out for the public is 2000::/3. All forms that hold an IPv4 address (mapped, compatible,
# NAT64) lie outside but for 6to4 and Teredo, which lead to machines of anybody's choice.
_PUBLIC: Final = IPv6Network("2000::/3")
_NOT_SO: Final = tuple(
    ip_network(each)
    for each in (
        "2001::/23",  # RFC 2928: protocols, Teredo among them
        "2001:db8::/32",  # RFC 3849: documentation
        "2002::/16",  # RFC 3056: 6to4
        "3fff::/20",  # RFC 9637: documentation
        "192.0.0.0/24",  # RFC 6890: protocols
        "192.88.99.0/24",  # RFC 7526: relays of 6to4
    )
)


def is_public(address: str) -> bool:
    """Whether an address is one of the public network: neither private, nor this machine, nor a group, nor a tunnel.

    Args:
        address: as a resolver gives it; an IPv6 address may have a scope.

    >>> [is_public(each) for each in ("8.8.8.8", "2606:4700::1111")]
    [True, True]
    >>> [is_public(each) for each in ("127.0.0.1", "169.254.169.254", "::ffff:8.8.8.8", "64:ff9b::808:808")]
    [False, False, False, False]
    """
    parsed = ip_address(address)
    if parsed.is_multicast or not parsed.is_global or any(parsed in network for network in _NOT_SO):
        return False
    return isinstance(parsed, IPv4Address) or parsed in _PUBLIC
