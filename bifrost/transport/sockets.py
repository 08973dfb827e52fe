"""What a socket and its TLS tell without being read."""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Any

_POLL: Any = getattr(select, "poll", None)
"""Not every system has it; `select` instead takes no high descriptors."""


def is_readable(sock: Any, *, poll: Any = _POLL) -> bool:
    """Say whether a socket has bytes, was closed by the peer, or is closed."""
    descriptor: int = sock.fileno()
    if descriptor < 0:
        return True
    if poll is None:
        return bool(select.select([descriptor], [], [], 0)[0])
    polled = poll()
    polled.register(descriptor, select.POLLIN)
    return bool(polled.poll(0))


def is_silent(tls: ssl.SSLObject) -> bool:
    """Say whether an idle TLS connection has nothing decrypted, or waiting to be, behind its last answer."""
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        return False
    return False


def shut(sock: Any) -> None:
    """Wake whoever waits for a socket, without closing it."""
    # By a second handle, which shuts the connection that both stand for: uvloop's own sockets refuse to.
    with suppress(OSError), socket.fromfd(sock.fileno(), sock.family, sock.type) as handle:
        handle.shutdown(socket.SHUT_RDWR)
