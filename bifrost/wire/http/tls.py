"""TLS as a function of bytes: what comes in encrypted goes out decrypted, and the reverse. No I/O here.

Python's own `SSLObject` over two memory buffers. asyncio's TLS would cost the same CPU and five times the memory of a
connection.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECORD = 64 * 1024


class TlsPump:
    """One TLS connection of a client: `feed` it what came, `take` what is to be sent.

    Args:
        context: Whom to trust. It may serve several connections at once.
        host: The name, or address, that the peer's certificate must have.
        protocols: The application protocols to offer (ALPN), the preferred one first.
        session: A session of an earlier connection to the same peer by the same context, to shorten the handshake.
    """

    __slots__ = ("_incoming", "_outgoing", "ended", "tls")

    def __init__(
        self,
        context: ssl.SSLContext,
        host: str,
        *,
        protocols: Sequence[str],
        session: ssl.SSLSession | None = None,
    ) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self.ended = False
        """The peer has ended the connection, or its bytes have."""
        # Nothing waits between this and the object's making, which takes the list over: a context may serve several.
        context.set_alpn_protocols(list(protocols))
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)

    @property
    def protocol(self) -> str | None:
        """The application protocol that the peer has chosen."""
        return self.tls.selected_alpn_protocol()

    def shake_hands(self) -> bool:
        """Go on with the handshake as far as what was fed allows. Returns whether it is done. Raises `ssl.SSLError`."""
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        return True

    def feed(self, data: bytes) -> None:
        """Take encrypted bytes that came; empty bytes are the end of the connection."""
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def read(self) -> bytes:
        """Return what was decrypted of what was fed, empty if that is nothing. Raises `ssl.SSLError`."""
        pieces: list[bytes] = []
        try:
            while data := self.tls.read(_RECORD):
                pieces.append(data)
            self.ended = True
        except ssl.SSLWantReadError:
            pass
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # The length of an answer tells whether it was cut off; many servers end a connection without a word.
            self.ended = True
        except ssl.SSLError:
            if not pieces:
                raise
            # What came before is given first; the next read fails again.
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes | memoryview) -> bytes:
        """Encrypt bytes and return what is to be sent. Raises `ssl.SSLError`."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def take(self) -> bytes:
        """Return what is to be sent beside that: parts of the handshake, alerts, answers to key updates."""
        return self._outgoing.read()
