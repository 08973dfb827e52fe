"""The TLS state without I/O: all bytes arrive, however they are cut, and a connection keeps little memory."""

from __future__ import annotations

import resource
import ssl
from contextlib import suppress
from typing import TYPE_CHECKING

from bifrost.wire.http.tls import TlsPump
from tests.engine.peers import Authority

if TYPE_CHECKING:
    from pathlib import Path

AUTHORITY = Authority()
SERVER = AUTHORITY.context("localhost")


class Peer:
    """A server in memory, with the client's pump after its handshake."""

    def __init__(self, folder: Path) -> None:
        trusted = ssl.create_default_context(cafile=AUTHORITY.trust(folder / "ca.pem"))
        self._received, self._sent = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = SERVER.wrap_bio(self._received, self._sent, server_side=True)
        self.pump = TlsPump(trusted, "localhost", protocols=["http/1.1"])
        while not self.pump.shake_hands():
            self._received.write(self.pump.take())
            with suppress(ssl.SSLWantReadError):
                self.tls.do_handshake()
            self.pump.feed(self._sent.read())
        self._received.write(self.pump.take())
        self.tls.do_handshake()

    def encrypted(self, data: bytes) -> bytes:
        self.tls.write(data)
        return self._sent.read()


def test_all_bytes_arrive_however_they_are_cut(tmp_path: Path) -> None:
    for size in (1, 16_384, 16_385, 200_000):
        for cut in (1_000, 16_384, 65_536, 10_000_000):
            peer = Peer(tmp_path)
            sent = (bytes(range(256)) * (size // 256 + 1))[:size]
            encrypted = peer.encrypted(sent)
            received = bytearray()
            for start in range(0, len(encrypted), cut):
                peer.pump.feed(encrypted[start : start + cut])
                received += peer.pump.read()
            assert received == sent, (size, cut)


def test_bytes_that_are_fed_before_the_others_are_read_are_not_lost(tmp_path: Path) -> None:
    peer = Peer(tmp_path)
    peer.pump.feed(peer.encrypted(b"a" * 100_000))
    peer.pump.feed(peer.encrypted(b"b" * 100_000))
    peer.pump.feed(b"")
    assert peer.pump.read() == b"a" * 100_000 + b"b" * 100_000
    assert peer.pump.ended


def test_a_connection_keeps_no_room_for_the_largest_response_that_it_has_carried(tmp_path: Path) -> None:
    peers = [Peer(tmp_path) for _ in range(20)]
    sent = [peer.encrypted(b"x" * 1_000_000) for peer in peers]
    assert len(peers[0].pump.read()) == 0
    before = _resident()
    for peer, data in zip(peers, sent, strict=True):
        peer.pump.feed(data)
        assert len(peer.pump.read()) == 1_000_000
    assert _resident() - before < 8_000_000


def _resident() -> int:
    """Return the memory of the process, in bytes."""
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[1]) * resource.getpagesize()
