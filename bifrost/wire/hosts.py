"""Hosts in addresses: a name of letters, digits, `-`, `_` and single dots, or an IP address.

Parsers interpret unusual hosts differently (a backslash, `%2e`, `127.1`), so a credential could go to another address
than it seems. Unusual hosts are therefore refused before any parser sees them.
"""

from __future__ import annotations

import re
from ipaddress import IPv6Address, ip_address

_AUTHORITY = re.compile(r"(?:\[([0-9A-Fa-f:.]*)\]|([^\[\]:@]+))(?::([0-9]*))?")
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,63}")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_LONGEST = 253
_HIGHEST_PORT = 65_535


def read_authority(authority: str) -> tuple[str, int | None]:
    """Return the host, in lower case and ASCII, and the port of `host` or `host:port`; the port may be `None`.

    Raises `ValueError`. Its message says what is wrong and quotes nothing of the authority.
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        raise ValueError("the host is no name and no IP address")
    address, name, digits = found.groups()
    host = _name(name) if address is None else _address(address)
    if not digits:
        return host, None
    port = int(digits) if len(digits) <= 5 else 0
    if not 0 < port <= _HIGHEST_PORT:
        raise ValueError(f"the port must be a number from 1 to {_HIGHEST_PORT}")
    return host, port


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine. A name that only resembles a loopback address (127.example.com) is not."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(text: str) -> str:
    try:
        return str(IPv6Address(text))
    except ValueError:
        raise ValueError("what stands in brackets is no IPv6 address") from None


def _name(text: str) -> str:
    name = text.lower()
    if not name.isascii():
        try:
            name = name.encode("idna").decode()
        except UnicodeError:
            raise ValueError("the host's name cannot be written in ASCII") from None
    labels = name.split(".")
    if len(name) > _LONGEST or not all(map(_LABEL.fullmatch, labels)):
        raise ValueError("the host must be a name of letters, digits, '-', '_' and single dots, or an IP address")
    if _NUMBER.fullmatch(labels[-1]):
        # Resolvers accept 127.1, 2130706433 and 0x7f.1 as addresses, but interpret them differently.
        try:
            ip_address(name)
        except ValueError:
            raise ValueError("a host that ends in a number must be an IPv4 address of four numbers") from None
    return name
