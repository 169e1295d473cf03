"""IP addresses as text: which are of the public internet, and what the others are. Pure.

After IANA's special-purpose address registries (RFC 6890) and, for IPv6, its global unicast space. An address that
leads to an IPv4 address is judged by that one.
"""

from __future__ import annotations

from collections.abc import Iterable
from socket import AF_INET, AF_INET6, inet_pton
from typing import Final

_METADATA: Final = (
    *("169.254.169.254", "169.254.170.2", "169.254.170.23", "100.100.100.200", "168.63.129.16", "192.0.0.192"),
    *("fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254"),
)
"""Where clouds tell a machine its credentials: AWS, Azure, Google and others; Alibaba; Azure's host; Oracle."""

_NETWORKS4: Final = (
    ("0.0.0.0/8", "unspecified"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link_local"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "reserved"),
    ("192.0.2.0/24", "documentation"),
    ("192.88.99.0/24", "reserved"),
    ("192.168.0.0/16", "private"),
    ("198.18.0.0/15", "benchmark"),
    ("198.51.100.0/24", "documentation"),
    ("203.0.113.0/24", "documentation"),
    ("224.0.0.0/4", "multicast"),
    ("255.255.255.255/32", "broadcast"),
    ("240.0.0.0/4", "reserved"),
)
_NETWORKS6: Final = (
    ("::1/128", "loopback"),
    ("::/128", "unspecified"),
    ("64:ff9b:1::/48", "nat64_local"),
    ("2001:2::/48", "benchmark"),
    ("2001:db8::/32", "documentation"),
    ("3fff::/20", "documentation"),
    ("fc00::/7", "unique_local"),
    ("fe80::/10", "link_local"),
    ("fec0::/10", "site_local"),
    ("ff00::/8", "multicast"),
)
_EMBEDDING: Final = (
    ("::ffff:0:0/96", "mapped", 0, 0),
    ("::ffff:0:0:0/96", "translated", 0, 0),
    ("64:ff9b::/96", "nat64", 0, 0),
    ("::/96", "compatible", 0, 0),
    ("2002::/16", "6to4", 80, 0),
    ("2001::/32", "teredo", 0, 0xFFFF_FFFF),
)
"""IPv6 networks whose addresses lead to an IPv4 address: how far it is shifted, and what it is hidden by (RFC 4291,
6052, 3056, 4380)."""
_AFTER_EMBEDDING: Final = (("2001::/23", "reserved"),)

Networks = tuple[tuple[int, int, str], ...]


def rule_of(address: str) -> str:
    """By which rule an IP address, as text without brackets, is no public one; empty when it is. What is no address is
    `reserved`, a zone (`fe80::1%eth0`) `link_local`. Cost: 3 µs."""
    if "%" in address:
        return "link_local"
    try:
        number, bits = number_of(address)
    except (OSError, ValueError):
        return "reserved"
    return _rule4(number) if bits == 32 else _rule6(number)


def _rule4(number: int) -> str:
    if (32, number) in _METADATA_NUMBERS:
        return "metadata"
    return _within(number, _PARSED4)


def _rule6(number: int) -> str:
    if (128, number) in _METADATA_NUMBERS:
        return "metadata"
    if rule := _within(number, _PARSED6):
        return rule
    for (prefix, shift, kind), (_, _, low, mask) in zip(_PARSED_EMBEDDING, _EMBEDDING, strict=True):
        if number >> shift == prefix:
            rule = _rule4((number >> low & 0xFFFF_FFFF) ^ mask)
            return f"{kind} {rule}" if rule else ""
    if number >> 32 & 0xFDFF_FFFF == 0x5EFE and (rule := _rule4(number & 0xFFFF_FFFF)):  # ISATAP, RFC 5214 §6.1
        return f"isatap {rule}"
    return _within(number, _PARSED_AFTER) or ("" if number >> 125 == 1 else "reserved")  # all but 2000::/3


def _within(number: int, networks: Networks) -> str:
    return next((rule for prefix, shift, rule in networks if number >> shift == prefix), "")


def number_of(address: str) -> tuple[int, int]:
    """An address as a number, and its bits. Raises OSError."""
    family, bits = (AF_INET6, 128) if ":" in address else (AF_INET, 32)
    return int.from_bytes(inet_pton(family, address)), bits


def is_address(text: str) -> bool:
    try:
        return number_of(text)[1] > 0
    except (OSError, ValueError):
        return False


def network_of(text: str) -> tuple[int, int, int] | None:
    """Prefix, shift and bits of a network; None for what is none. A single address without a port is one."""
    address, slash, length = text.partition("/")
    try:
        number, bits = number_of(address.strip("[]") if address.endswith("]") else address)
        size = int(length) if slash else bits
    except (OSError, ValueError):
        return None
    if not 0 <= size <= bits:
        return None
    return number >> bits - size, bits - size, bits


def _parsed(networks: Iterable[tuple[str, str]]) -> Networks:
    found = ((network_of(text), rule) for text, rule in networks)
    return tuple((network[0], network[1], rule) for network, rule in found if network is not None)


_PARSED4: Final = _parsed(_NETWORKS4)
_PARSED6: Final = _parsed(_NETWORKS6)
_PARSED_EMBEDDING: Final = _parsed((network, kind) for network, kind, _, _ in _EMBEDDING)
_PARSED_AFTER: Final = _parsed(_AFTER_EMBEDDING)
_METADATA_NUMBERS: Final = frozenset((bits, number) for number, bits in map(number_of, _METADATA))
