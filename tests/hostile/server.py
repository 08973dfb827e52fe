"""A hostile server: what it reads, sends and does to its connections is spelled out in bytes by a script.

It lives in threads of its own, so that it serves clients on every event loop and goes on while theirs is busy. A script
is a plain function that plays one exchange with a `Peer`, or bytes, which answer one request.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Self, TypeAlias

from tests.engine.rig import until

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable
    from types import TracebackType

    Script: TypeAlias = "bytes | Callable[[Peer], None]"

_JOIN_LIMIT = 10.0
_RESET = struct.pack("ii", 1, 0)
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class GoneError(Exception):
    """The client has left, or the server is being stopped."""


class Peer:
    """One accepted connection, driven by a script."""

    def __init__(self, server: HostileServer, sock: socket.socket, number: int) -> None:
        self.number = number
        """How many connections there were before it."""
        self.open = True
        self.requests = 0
        self.head = b""
        self.body = b""
        """The request that was read last."""
        self._server = server
        self._sock = sock
        self._plain = sock
        self._unread = b""

    # --- what a script does

    def read_request(self) -> None:
        """Read one request into `head` and `body`."""
        data, self._unread = self._unread, b""
        while b"\r\n\r\n" not in data:
            data += self.receive()
        self.head, _, body = data.partition(b"\r\n\r\n")
        self.requests += 1
        self._server.saw_request(self)
        found = _LENGTH.search(self.head)
        length = 0 if found is None else int(found[1])
        pieces = [body]
        missing = length - len(body)
        while missing > 0:
            pieces.append(self.receive())
            missing -= len(pieces[-1])
        body = b"".join(pieces)
        self.body, self._unread = body[:length], body[length:]

    def read_head(self) -> None:
        """Read a request's head and leave its body, as far as it has not come with it."""
        data = b""
        while b"\r\n\r\n" not in data:
            data += self.receive()
        self.head, _, self._unread = data.partition(b"\r\n\r\n")
        self.requests += 1
        self._server.saw_request(self)

    def send(self, *pieces: bytes) -> None:
        """Send pieces, each in a packet of its own where the system lets them."""
        for piece in pieces:
            try:
                self._sock.sendall(piece)
            except (OSError, ValueError):
                raise GoneError from None
            self._server.sent_bytes += len(piece)

    def drip(self, pieces: bytes | Iterable[bytes], *, every: float = 0.0) -> None:
        """Send bytes one by one, or pieces, with a pause after each."""
        each = (pieces[at : at + 1] for at in range(len(pieces))) if isinstance(pieces, bytes) else pieces
        for piece in each:
            self.send(piece)
            self.pause(every)

    def pause(self, seconds: float) -> None:
        """Wait; it ends when the server is stopped."""
        if self._server.stopping.wait(seconds) if seconds else self._server.stopping.is_set():
            raise GoneError

    def stall(self) -> None:
        """Read and say nothing until the client leaves."""
        while True:
            self.receive()

    def ignore(self) -> None:
        """Read nothing and say nothing until the server is told to play something else, then read until the end.

        (Behind bytes that nobody reads, the end of a connection is not seen.)
        """
        played = self._server.played
        while self._server.played is played:
            self.pause(0.005)
        self.stall()

    def close(self) -> None:
        """Close the connection in order (FIN)."""
        self.open = False
        # Unread bytes would make the system send a reset instead.
        with suppress(OSError):
            self._plain.shutdown(socket.SHUT_WR)
            self._plain.settimeout(0.2)
            while self._plain.recv(65536):
                pass

    def reset(self) -> None:
        """Break the connection (RST)."""
        self.open = False
        with suppress(OSError):
            self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)

    def buffer(self, size: int) -> None:
        """Let the system take so many bytes for the client in advance."""
        self._plain.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, size)

    def next_within(self, seconds: float) -> bool:
        """Say whether the client says something more within this time."""
        return bool(self._unread) or bool(select.select([self._plain], [], [], seconds)[0])

    def shake_hands(self, context: ssl.SSLContext) -> None:
        """Go on in TLS, as the server."""
        try:
            self._sock = context.wrap_socket(self._plain, server_side=True, suppress_ragged_eofs=True)
        except (OSError, ValueError):
            raise GoneError from None
        # The wrapped socket has taken the descriptor over.
        self._plain = self._sock

    # --- what the server does

    def has_more(self) -> bool:
        """Wait until the client begins another request; false if it leaves."""
        if self._unread:
            return True
        try:
            self._unread = self.receive()
        except GoneError:
            return False
        return True

    def interrupt(self) -> None:
        """Wake the script in whatever it waits for."""
        with suppress(OSError):
            socket.socket.shutdown(self._plain, socket.SHUT_RDWR)

    def end(self) -> None:
        self._sock.close()

    def receive(self) -> bytes:
        if self._unread:
            data, self._unread = self._unread, b""
            return data
        try:
            data = self._sock.recv(262_144)
        except (OSError, ValueError):
            raise GoneError from None
        if not data:
            raise GoneError
        return data


class HostileServer:
    """Plays its scripts to whoever connects: the first exchange gets the first, and the last is played again and again.

        with HostileServer(resets, b"HTTP/1.1 200 OK...") as server:
            ...  # server.url

    `opened`, `open`, `requests` and `attempts` count; an attempt is a request, or a connection on which none was read.
    """

    def __init__(
        self,
        *scripts: Script,
        tls: ssl.SSLContext | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        accepts: bool = True,
        receives: int | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self.opened = 0
        self.open = 0
        self.requests = 0
        self.sent_bytes = 0
        self.keys: list[str] = []
        """The credential of each request."""
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self._scripts = scripts
        self._played = 0
        self._silent = 0
        self.tls = tls
        """What new connections are wrapped in."""
        self._accepts = accepts
        self._started = False
        self._lock = threading.Lock()
        self._peers: set[Peer] = set()
        self._threads: list[threading.Thread] = []
        self._listener = socket.socket()
        self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if receives is not None:
            # Accepted connections inherit it: the system takes no more bytes than this for a script that reads none.
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)

    def __repr__(self) -> str:
        # It was sent keys, and stands in the frames of tests that look whether keys are seen.
        return f"HostileServer({self.url})"

    @property
    def url(self) -> str:
        """Its address, without path."""
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"

    @property
    def attempts(self) -> int:
        """How often somebody tried to get an answer: requests, and connections without one."""
        return self.requests + self._silent

    @property
    def played(self) -> tuple[Script, ...]:
        """What it plays at present."""
        return self._scripts

    def play(self, *scripts: Script) -> None:
        """Play these from the next exchange on."""
        with self._lock:
            self._scripts, self._played = scripts, 0

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Take an address and begin to listen; with `accepts=False` only the former, so that nobody can connect."""
        if self._started:
            return
        self._started = True
        self._listener.bind((self.host, self.port))
        self.port = self._listener.getsockname()[1]
        if self._accepts:
            self.accept()

    def fill(self) -> list[socket.socket]:
        """Let the system take one connection that nobody accepts, and fill that place: others get no answer."""
        self._listener.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex((self.host, self.port))
        return fillers

    def accept(self) -> None:
        """Begin to take connections."""
        self._listener.listen(512)
        self._run(self._accept_all)

    def stop(self) -> None:
        """Close everything, and raise what a script did wrong."""
        self.stopping.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        with self._lock:
            for peer in self._peers:
                peer.interrupt()
        for thread in self._threads:
            thread.join(_JOIN_LIMIT)
            assert not thread.is_alive(), "a script does not end"
        self._listener.close()
        if self.failure is not None:
            raise self.failure

    async def all_closed(self) -> None:
        """Wait until no connection is open."""
        await until(lambda: self.open == 0, seconds=10)

    def saw_request(self, peer: Peer) -> None:
        head = peer.head
        found = re.search(rb"\r\n(?:authorization: bearer|x-api-key:) *([^\r]+)", head, re.IGNORECASE)
        with self._lock:
            self.requests += 1
            self.keys.append("" if found is None else found[1].decode("latin-1"))

    # --- its threads

    def _run(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"hostile server {self.port}", daemon=True)
        self._threads = [each for each in self._threads if each.is_alive()]
        self._threads.append(thread)
        thread.start()

    def _accept_all(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                if self.stopping.is_set():
                    return
                # No descriptor is left; there may be one later.
                self.stopping.wait(0.01)
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                peer = Peer(self, sock, self.opened)
                self.opened += 1
                self.open += 1
                self._peers.add(peer)
            if self.stopping.is_set():
                peer.interrupt()
            self._run(self._serve, peer)

    def _serve(self, peer: Peer) -> None:
        try:
            if self.tls is not None:
                peer.shake_hands(self.tls)
            self._perform(peer)
            while peer.open and peer.has_more():
                self._perform(peer)
        except GoneError:
            pass
        except Exception as error:  # noqa: BLE001 - a test's own script; raised when the server is stopped
            self.failure = self.failure or error
        finally:
            with self._lock:
                self._peers.discard(peer)
                self._silent += peer.requests == 0
            peer.end()
            with self._lock:
                self.open -= 1

    def _perform(self, peer: Peer) -> None:
        with self._lock:
            script = self._scripts[min(self._played, len(self._scripts) - 1)]
            self._played += 1
        if isinstance(script, bytes):
            peer.read_request()
            peer.send(script)
        else:
            script(peer)
