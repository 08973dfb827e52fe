"""TLS as a function of bytes: encrypted bytes go in, decrypted bytes come out, and vice versa. There is no I/O here.

It uses Python's `SSLObject` over two memory buffers. asyncio's TLS would use the same CPU time and five times the
memory per connection.
"""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_RECORD = 16 * 1024


class TlsPump:
    """One client connection with TLS: `feed` adds bytes that were received, `take` returns bytes to be sent.

    Args:
        context: The TLS settings and trusted authorities. It may serve several connections at once.
        host: The name or address that the peer's certificate must have.
        protocols: The application protocols to offer (ALPN), the preferred one first.
        session: A session of an earlier connection with the same peer and context, to shorten the handshake.
    """

    __slots__ = ("_incoming", "_outgoing", "_unread", "ended", "tls")

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
        self._unread = memoryview(b"")
        """Received bytes that are not in `_incoming` yet, whose buffer never shrinks."""
        self.ended = False
        """Whether the peer has ended the connection, or its bytes have ended."""
        # Nothing is awaited between this call and the next, which copies the list: a context may serve several
        # connections.
        context.set_alpn_protocols(list(protocols))
        self.tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host, session=session)

    @property
    def protocol(self) -> str | None:
        """The application protocol that the peer has chosen; `None` if there is none."""
        return self.tls.selected_alpn_protocol()

    def shake_hands(self) -> bool:
        """Continue the handshake with the bytes so far. Returns whether it is complete. Raises `ssl.SSLError`."""
        while True:
            try:
                self.tls.do_handshake()
            except ssl.SSLWantReadError:
                if not self._next_slice():
                    return False
            else:
                while self._next_slice():
                    pass
                return True

    def feed(self, data: bytes) -> None:
        """Add encrypted bytes that were received. Empty bytes mean the end of the connection."""
        while self._unread and not data:
            self._next_slice()
        if self._unread:
            self._unread = memoryview(b"".join((self._unread, data)))
        elif not data:
            self._incoming.write_eof()
        elif len(data) <= _RECORD:
            self._incoming.write(data)
        else:
            self._unread = memoryview(data)
            self._next_slice()

    def read(self) -> bytes:
        """Return the decrypted bytes so far, empty if there are none. Raises `ssl.SSLError`."""
        pieces: list[bytes] = []
        try:
            while True:
                try:
                    while data := self.tls.read(_RECORD):
                        pieces.append(data)
                except ssl.SSLWantReadError:
                    if not self._next_slice():
                        break
                else:
                    self.ended = True
                    break
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            # The length of the response shows whether it is complete; many servers end connections without a TLS close.
            self.ended = True
        except ssl.SSLError:
            if not pieces:
                raise
            # The bytes before the error are returned first; the next read fails again.
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def write(self, data: bytes | memoryview) -> bytes:
        """Encrypt bytes and return what is to be sent. Raises `ssl.SSLError`."""
        view = memoryview(data)
        while view:
            view = view[self.tls.write(view) :]
        return self._outgoing.read()

    def take(self) -> bytes:
        """Return further bytes to be sent: parts of the handshake, alerts, responses to key updates."""
        return self._outgoing.read()

    def _next_slice(self) -> bool:
        """Pass the next slice of what was received to OpenSSL. Returns `False` if there is none."""
        unread = self._unread
        if not unread:
            return False
        self._incoming.write(unread[:_RECORD])
        self._unread = unread[_RECORD:]
        return True
