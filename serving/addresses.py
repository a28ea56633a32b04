"""Where pictures may be fetched from: hosts that are allowed, at addresses of the open internet."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

PORT = 443
LONGEST = 2048
_STRANGE = re.compile(r"""[^!-~]|[\\"<>^`{|}]""")
_HOST = re.compile(r"[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f.]*:[0-9a-f:.]*")
_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_OF_PROTOCOLS = ip_network("192.0.0.0/24")
"""RFC 6890; a cloud's metadata is among them, and `is_global` of some Python versions says yes to it."""


class UrlError(Exception):
    """The rest of a sentence about an address, which tells nothing of the network around the service."""


@dataclass(frozen=True)
class Address:
    """What is asked for, and of whom. `target`: path and query."""

    host: str
    port: int
    target: str


def parsed(url: str, allowed: Sequence[str]) -> Address:
    """The parts of an https address whose host is among `allowed` (`Settings.urls`).

    Raises `UrlError`.
    """
    if len(url) > LONGEST:
        raise UrlError(f"is longer than {LONGEST:,} characters")
    if _STRANGE.search(url):
        raise UrlError("has characters that an address does not have; percent-encode them")
    try:
        parts = urlsplit(url)
        host, port = (parts.hostname or "").removesuffix("."), parts.port
    except ValueError as error:
        raise UrlError("is not an address") from error
    if parts.scheme != "https":
        raise UrlError("is not an https address")
    if "@" in parts.netloc:
        raise UrlError("has a user's name in it")
    if not _HOST.fullmatch(host):
        raise UrlError("names no host")
    if not is_allowed(host, PORT if port is None else port, allowed):
        raise UrlError("has a host or port that this service does not fetch from")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Address(host, PORT if port is None else port, target)


def is_allowed(host: str, port: int, allowed: Sequence[str]) -> bool:
    """Whether a host is among those of `Settings.urls`; an entry without a port means 443."""
    for each in allowed:
        name, colon, number = each.rpartition(":")
        if not colon or not number.isdecimal():
            name, number = each, str(PORT)
        name = name.strip("[]")
        fits = name in ("*", host) or (name.startswith("*.") and host.endswith(name[1:]))
        if fits and int(number) == port:
            return True
    return False


def is_public(address: str) -> bool:
    """Whether an IP address is one of the open internet; one that stands for another is judged as that."""
    try:
        found = ip_address(address)
    except ValueError:
        return False
    if isinstance(found, IPv6Address):
        inside = _inside(found)
        if inside is not None:
            return is_public(str(inside))
        return found in _UNICAST and found.is_global and not found.is_multicast and found.scope_id is None
    return found.is_global and not (found.is_multicast or found.is_reserved or found in _OF_PROTOCOLS)


def _inside(address: IPv6Address) -> IPv4Address | None:
    """The address of IPv4 that it stands for: mapped (RFC 4291), 6to4 (RFC 3056), NAT64 (RFC 6052)."""
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour
