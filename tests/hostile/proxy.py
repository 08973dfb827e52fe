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


class Tunnel(HostileServer):
    """A faithful proxy of HTTP (CONNECT) or SOCKS: it hands over bytes both ways, and each end as RST or FIN."""

    def __init__(self, scheme: str) -> None:
        super().__init__(self._carry)
        self.scheme = scheme

    @property
    def url(self) -> str:
        """Its address, as a client is told it."""
        return f"{self.scheme}://{self.host}:{self.port}"

    def _carry(self, peer: Peer) -> None:
        port = _asked_of_socks(peer) if self.scheme == "socks5" else _asked_of_http(peer)
        # What a proxy takes in advance is not to hide how much its client takes.
        peer.buffer(_BUFFER)
        with socket.socket() as upstream:
            upstream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)
            try:
                upstream.connect(("127.0.0.1", port))
            except OSError:
                peer.reset()
                return
            peer.send(_SOCKS_OPEN if self.scheme == "socks5" else _HTTP_OPEN)
            forth = threading.Thread(target=_pump, args=(peer, upstream), daemon=True)
            forth.start()
            try:
                while data := upstream.recv(65_536):
                    peer.send(data)
                peer.close()
            except ConnectionResetError:
                peer.reset()
            finally:
                peer.open = False
                with suppress(OSError):
                    upstream.shutdown(socket.SHUT_RDWR)
                forth.join()


_BUFFER = 64 * 1024
_SOCKS_OPEN = b"\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x01"
_HTTP_OPEN = b"HTTP/1.1 200 Connection established\r\n\r\n"


def _asked_of_socks(peer: Peer) -> int:
    """Read what a client says to SOCKS 5 (RFC 1928); the port that it asks for."""
    data = _exactly(peer, b"", 2)
    data = _exactly(peer, data[2:], data[1])
    peer.send(b"\x05\x00")
    data = _exactly(peer, b"", 5)
    length = {1: 4, 4: 16}.get(data[3]) or data[4] + 1
    data = _exactly(peer, data, 4 + length + 2)
    return int.from_bytes(data[-2:], "big")


def _asked_of_http(peer: Peer) -> int:
    data = b""
    while b"\r\n\r\n" not in data:
        data += peer.receive()
    return int(data.split(b" ", 2)[1].rpartition(b":")[2])


def _exactly(peer: Peer, data: bytes, count: int) -> bytes:
    while len(data) < count:
        data += peer.receive()
    return data
