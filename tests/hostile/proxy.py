"""A road with faults between a client and a server: delay, jitter, narrowness, slices, ends after so many bytes.

The set of toxiproxy (https://github.com/Shopify/toxiproxy#toxics), each on the way back to the client.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import TypeAlias

from tests.hostile.server import GoneError, HostileServer, Peer

Toxic: TypeAlias = Callable[[Peer, Iterator[bytes]], None]
"""Passes on to the client what comes from the server, in its own way."""


class ToxicProxy(HostileServer):
    """Passes bytes on between its client and the server at `port`; the way back is the toxic's."""

    def __init__(self, port: int, toxic: Toxic) -> None:
        super().__init__(self._pass_on)
        self._target = port
        self.toxic = toxic

    def _pass_on(self, peer: Peer) -> None:
        with socket.create_connection(("127.0.0.1", self._target)) as upstream:
            forth = threading.Thread(target=_pump, args=(peer, upstream), daemon=True)
            forth.start()
            try:
                self.toxic(peer, _coming_from(upstream))
            finally:
                if peer.open:
                    peer.interrupt()
                peer.open = False
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)
                forth.join()


def _pump(peer: Peer, upstream: socket.socket) -> None:
    try:
        while peer.open:
            # Nothing may wait on a socket that is to be reset.
            if peer.next_within(0.02):
                upstream.sendall(peer.receive())
    except (GoneError, OSError):
        with suppress(OSError):
            upstream.shutdown(socket.SHUT_WR)


def _coming_from(upstream: socket.socket) -> Iterator[bytes]:
    with suppress(OSError):
        while data := upstream.recv(65536):
            yield data


def clear(peer: Peer, coming: Iterator[bytes]) -> None:
    """Pass everything on as it comes."""
    for data in coming:
        peer.send(data)


def latency(peer: Peer, coming: Iterator[bytes]) -> None:
    for data in coming:
        peer.pause(0.05)
        peer.send(data)


def jitter(peer: Peer, coming: Iterator[bytes]) -> None:
    random = Random(28)
    for data in coming:
        for at in range(0, len(data), 40):
            peer.pause(random.random() * 0.01)
            peer.send(data[at : at + 40])


def bandwidth(peer: Peer, coming: Iterator[bytes]) -> None:
    """Let 20 KB a second through."""
    for data in coming:
        for at in range(0, len(data), 200):
            peer.send(data[at : at + 200])
            peer.pause(0.01)


def slicer(peer: Peer, coming: Iterator[bytes]) -> None:
    for data in coming:
        peer.drip(data)


def limit_data(size: int) -> Toxic:
    """Close the connection after so many bytes."""

    def toxic(peer: Peer, coming: Iterator[bytes]) -> None:
        left = size
        for data in coming:
            peer.send(data[:left])
            left -= len(data)
            if left <= 0:
                peer.close()
                return

    return toxic


def slow_close(peer: Peer, coming: Iterator[bytes]) -> None:
    clear(peer, coming)
    peer.pause(0.1)


def timeout(peer: Peer, coming: Iterator[bytes]) -> None:
    """Let nothing through, and close after a while."""
    for _ in coming:
        peer.pause(0.1)
        peer.close()
        return


def silence(peer: Peer, coming: Iterator[bytes]) -> None:
    """Let nothing through, ever."""
    for _ in coming:
        pass


def reset(peer: Peer, coming: Iterator[bytes]) -> None:
    for data in coming:
        peer.send(data[: len(data) // 2])
        peer.reset()
        return
