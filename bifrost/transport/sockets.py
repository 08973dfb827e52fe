"""The state of a socket and its TLS, without reading from it."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Any

_POLL: Any = getattr(select, "poll", None)
"""Not every system has `poll`; `select` does not support high descriptors."""


def is_readable(sock: Any, *, poll: Any = _POLL) -> bool:
    """Return whether a socket has bytes, was closed by the peer, or is closed."""
    descriptor: int = sock.fileno()
    if descriptor < 0:
        return True
    if poll is None:
        return bool(select.select([descriptor], [], [], 0)[0])
    polled = poll()
    polled.register(descriptor, select.POLLIN)
    return bool(polled.poll(0))


def is_silent(tls: ssl.SSLObject) -> bool:
    """Return whether an idle TLS connection has no bytes after its last response, decrypted or not."""
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        return False
    return False


def shut(sock: Any) -> None:
    """Break the connection of a socket without closing it, so that waiting tasks fail."""
    # A second handle shuts down the connection that both refer to, because uvloop's own sockets do not allow it.
    with suppress(OSError), socket.fromfd(sock.fileno(), sock.family, sock.type) as handle:
        handle.shutdown(socket.SHUT_RDWR)
