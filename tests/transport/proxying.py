"""Proxies for tests, of HTTP and of SOCKS, and short ways to get a connection and to send a request."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio

from bifrost.config import NetworkConfig, ProviderConfig, Timeouts
from bifrost.event_loop import spawn
from bifrost.transport import Connection, Origin, Transport, as_transport
from bifrost.wire.http import HttpRequest
from tests.engine.peers import answer, read_request, until_left

if TYPE_CHECKING:
    from anyio.abc import ByteStream

SMALL = answer(b"{}")


def opened(origin: Origin, **network: Any) -> Connection:
    """Return a connection of a provider with these network settings."""
    transport = as_transport(None)
    assert isinstance(transport, Transport)
    return transport.for_provider(ProviderConfig(network=NetworkConfig(**network)), spawn).open(origin)


def request(body: bytes = b"{}", *, method: str = "POST", **headers: str) -> HttpRequest:
    """Give a small request."""
    return HttpRequest(method=method, path="/v1/things", headers=headers, body=body)


async def sent(connection: Connection, outgoing: HttpRequest | None = None, **timeouts: float) -> tuple[int, bytes]:
    """Send a request and read the whole answer."""
    limits = Timeouts(**timeouts)
    got = await connection.send(outgoing or request(), timeouts=limits, read_timeout=None)
    body = b""
    while data := await got.reader.read():
        body += data
    return got.status, body


class Proxy:
    """Forwards requests, or makes tunnels; remembers what it was asked."""

    def __init__(self, *, refusal: bytes | None = None) -> None:
        self.heads: list[str] = []
        self._refusal = refusal

    async def __call__(self, stream: ByteStream) -> None:
        head, _body = await read_request(stream)
        self.heads.append(head)
        if self._refusal is not None:
            await stream.send(self._refusal)
            return
        method, target, _ = head.split(" ", 2)
        if method != "CONNECT":
            await stream.send(SMALL)
            await until_left(stream)
        host, _, port = target.partition(":")
        async with await anyio.connect_tcp(host, int(port)) as there, anyio.create_task_group() as group:
            await stream.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            group.start_soon(_pass_on, stream, there, group.cancel_scope)
            group.start_soon(_pass_on, there, stream, group.cancel_scope)


async def _pass_on(source: Any, target: Any, both: anyio.CancelScope) -> None:
    gone = (anyio.BrokenResourceError, anyio.ClosedResourceError)
    with suppress(*gone):
        async for data in source:
            try:
                await target.send(data)
            except gone:
                # What the target has said before it left is still to be passed on.
                return
    both.cancel()


class Socks:
    """A SOCKS proxy in bytes: lets in, asks for a password or not, and connects."""

    def __init__(self, *, password: bytes | None = None, method: bytes | None = None, code: int = 0) -> None:
        self.asked: list[tuple[bytes, int]] = []
        self._password = password
        self._method = method
        self._code = code

    async def __call__(self, stream: ByteStream) -> None:
        count = (await exactly(stream, 2))[1]
        await exactly(stream, count)
        chosen = self._method or (b"\x00" if self._password is None else b"\x02")
        # Byte by byte: a reader that takes what comes for all of it fails.
        for byte in b"\x05" + chosen:
            await stream.send(bytes([byte]))
        if self._password is not None:
            user = await exactly(stream, (await exactly(stream, 2))[1])
            password = await exactly(stream, (await exactly(stream, 1))[0])
            right = b"%b:%b" % (user, password) == self._password
            await stream.send(b"\x01\x00" if right else b"\x01\x01")
        kind = (await exactly(stream, 4))[3]
        host = await exactly(stream, {1: 4, 4: 16}.get(kind) or (await exactly(stream, 1))[0])
        port = int.from_bytes(await exactly(stream, 2), "big")
        self.asked.append((host, port))
        for byte in bytes([5, self._code, 0, 3, 4]) + b"here" + b"\x00\x01":
            await stream.send(bytes([byte]))
        if self._code:
            return
        async with await anyio.connect_tcp("127.0.0.1", port) as there, anyio.create_task_group() as group:
            group.start_soon(_pass_on, stream, there, group.cancel_scope)
            group.start_soon(_pass_on, there, stream, group.cancel_scope)


async def exactly(stream: ByteStream, count: int) -> bytes:
    """Read so many bytes."""
    data = b""
    while len(data) < count:
        data += await stream.receive(count - len(data))
    return data
