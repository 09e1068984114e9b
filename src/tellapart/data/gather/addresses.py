"""Which addresses may be connected to: those of the public internet.

A list of links is other people's text, and so is every redirect and every answer of a name server. A link
must not reach a router, a cloud's metadata service or a database that only this machine can see
(server-side request forgery, OWASP). So the check stands where a socket is made, on the very
address it will connect to: whatever name, spelling, redirect or second answer led there.
"""

import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

__all__ = ["REFUSED", "open_guarded_socket", "refusal"]

REFUSED = "private address"

_NAT64 = IPv6Network("64:ff9b::/96")
# Of IANA's registries of special addresses, what older versions of `ipaddress` take for public.
_SPECIAL = tuple(
    ip_network(text)
    for text in "192.0.0.0/24 192.88.99.0/24 64:ff9b:1::/48 3fff::/20 5f00::/16".split()
)


def refusal(address: str) -> str:
    """Why an IP address is not connected to; "" where it may be.

    >>> refusal("93.184.216.34"), refusal("::ffff:127.0.0.1")
    ('', 'loopback')
    """
    try:
        found = _innermost(ip_address(address.split("%")[0]))
    except ValueError:
        return "no IP address"
    for kind in ("loopback", "link_local", "multicast", "unspecified", "reserved", "private"):
        if getattr(found, f"is_{kind}"):
            return kind.replace("_", "-")
    if isinstance(found, IPv6Address) and found.is_site_local:
        return "site-local"
    public = found.is_global and not any(found in network for network in _SPECIAL)
    return "" if public else "not public"


def open_guarded_socket(address_info: tuple[Any, ...]) -> socket.socket:
    """A socket for one answer of `getaddrinfo`, made only if it may be connected to.

    aiohttp calls this (`TCPConnector(socket_factory=…)`) for each address right before connecting.
    Raises PermissionError whose text begins with `REFUSED`.
    """
    family, kind, protocol, _, place = address_info
    if why := refusal(str(place[0])):
        raise PermissionError(f"{REFUSED}: {place[0]} ({why})")
    return socket.socket(family=family, type=kind, proto=protocol)


def _innermost(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address that an IPv6 address stands for, where it does: mapped, 6to4, Teredo, NAT64."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour or address
    if address.teredo:
        return address.teredo[1]
    return IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else address
