"""Blocks the network in a test. The loopback interface stays reachable."""

from __future__ import annotations

import errno
import socket
from contextlib import contextmanager
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from collections.abc import Set as AbstractSet

_HERE = frozenset({"", "localhost", "0.0.0.0", "::"})  # noqa: S104 - as a destination it means this machine


class NetworkBlockedError(PermissionError):
    """A test tried to connect to another machine."""

    def __init__(self, place: str) -> None:
        super().__init__(
            errno.EACCES,
            f"the network is blocked in this test, and {place} is not on this machine; use a mock or a "
            "cassette, or allow it: the mark bifrost_allow_network(host), bifrost_allow_hosts = ... in pytest's "
            "settings, or --bifrost-allow-network",
        )


@contextmanager
def block_network(*, allow: Sequence[str] = ()) -> Generator[None, None, None]:
    """Within the block, refuse to connect to or resolve any host except the loopback interface and those in `allow`.

    Refused connections raise `NetworkBlockedError`. This applies to everything in this process that uses Python's
    sockets: asyncio, trio, threads, other libraries. An event loop that connects without them (uvloop) is not affected.
    """
    check = _Check(frozenset(allow))
    # Python's socket class derives from one in C, which keeps its own methods: removing ours restores it.
    replaced: dict[tuple[Any, str], Callable[..., Any]] = {
        (socket.socket, "connect"): check.connecting,
        (socket.socket, "connect_ex"): check.connecting,
        (socket.socket, "sendto"): check.connecting,
        (socket, "getaddrinfo"): check.looking_up,
        (socket, "gethostbyname"): check.looking_up,
    }
    restore: list[tuple[Any, str, Any]] = [(owner, name, owner.__dict__.get(name)) for owner, name in replaced]
    for (owner, name), guard in replaced.items():
        setattr(owner, name, guard(getattr(owner, name)))
    try:
        yield
    finally:
        for owner, name, before in restore:
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)


class _Check:
    """Adds a check of the host to functions that could connect to other machines."""

    def __init__(self, allowed: AbstractSet[str]) -> None:
        self._allowed = allowed

    def connecting(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Guard a method of a socket whose last argument is an address."""

        def guarded(sock: socket.socket, *args: Any) -> Any:
            if sock.family in (socket.AF_INET, socket.AF_INET6):
                self._check(args[-1][0])
            return function(sock, *args)

        return guarded

    def looking_up(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Guard a function whose first argument is a host."""

        def guarded(host: Any, *args: Any, **options: Any) -> Any:
            self._check(host)
            return function(host, *args, **options)

        return guarded

    def _check(self, host: object) -> None:
        if not _is_here(host) and host not in self._allowed:
            raise NetworkBlockedError(host.decode("ascii", "replace") if isinstance(host, bytes) else str(host))


def _is_here(host: object) -> bool:
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    # A value that is not a name (`None`, for example) is left to the original function.
    if not isinstance(host, str) or host in _HERE:
        return True
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host.endswith(".localhost")
    mapped = getattr(address, "ipv4_mapped", None)
    return address.is_loopback or (mapped is not None and mapped.is_loopback)
