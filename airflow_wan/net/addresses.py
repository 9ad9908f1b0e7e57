"""Tell whether a host is this machine, in a private network, or on the internet."""

from __future__ import annotations

import ipaddress
import socket
import unicodedata

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
"""IPv6 addresses that a NAT64 gateway translates to the IPv4 address in their last 32 bits (RFC 6052)."""

_GLOBAL_UNICAST = ipaddress.IPv6Network("2000::/3")
"""The only IPv6 addresses that are given out on the internet (RFC 4291, 2.4; IANA's registry)."""

_NOT_PUBLIC = tuple(
    ipaddress.ip_network(network)
    for network in (
        "100.64.0.0/10",  # shared by the customers of a provider, and of clouds (RFC 6598)
        "168.63.129.16/32",  # Azure's own services for a virtual machine
        "192.0.0.0/24",  # protocol assignments (RFC 6890); Python's own list has it since 3.11.10
        "192.88.99.0/24",  # relays of 6to4, no longer in use (RFC 7526)
        "2001::/32",  # Teredo, whose last 32 bits hide an IPv4 address
        "3fff::/20",  # documentation (RFC 9637)
    )
)
"""What Python's `is_global` takes for public, or once took, although nothing on the internet is there."""


def is_loopback(host: str | None) -> bool:
    """Return whether a host name or address is this machine."""
    if not host:
        return False
    name = _plain(host)
    if name == "localhost" or name.endswith(".localhost"):
        return True
    address = _address(name)
    return address is not None and address.is_loopback


def is_private(host: str) -> bool:
    """Return whether a host is written as an address that the internet cannot reach; names are not looked up.

    Every notation counts that the system's resolver takes for an address, such as ``2130706433`` and ``0x7f.1``.
    """
    if is_loopback(host):
        return True
    address = _address(_plain(host))
    if address is None:
        return False
    if address.version == 6 and address not in _GLOBAL_UNICAST:  # noqa: PLR2004
        return True
    return address.is_multicast or not address.is_global or any(address in network for network in _NOT_PUBLIC)


def resolves_privately(host: str) -> bool:
    """Return whether a host is a private address, or a name that resolves to one; names are looked up.

    A name that cannot be resolved counts as not private: nothing can be reached through it.
    """
    if is_private(host):
        return True
    try:
        found = socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return any(is_private(str(address[0])) for *_, address in found)


def _plain(host: str) -> str:
    """Return a host as resolvers read it: full-width letters and dots of other scripts as ASCII, no dot at its end."""
    return unicodedata.normalize("NFKC", host).replace("\u3002", ".").lower().strip("[]").rstrip(".")


def _address(name: str) -> Address | None:
    """Return the address that packets to a host end up at, if the host is written as an address."""
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return _old_notation(name)
    if isinstance(address, ipaddress.IPv6Address):
        return _embedded_ipv4(address) or address
    return address


def _old_notation(name: str) -> ipaddress.IPv4Address | None:
    """Return an IPv4 address with fewer than four parts, or with octal or hexadecimal ones."""
    try:
        return ipaddress.IPv4Address(socket.inet_aton(name))
    except (OSError, ValueError):
        return None


def _embedded_ipv4(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that packets for this IPv6 address end up at, if there is one."""
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour
