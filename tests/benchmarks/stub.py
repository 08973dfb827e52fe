"""An upstream inside the process: a bifrost transport that answers without a socket, when and how a benchmark says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
from clients import ANSWER

from bifrost.transport import ConnectionBase, ResponseHead, Transport
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from bifrost.transport import Connection, Origin

HEADERS = Headers.of(("content-type", "application/json"), ("x-request-id", "req_5f2c81d0"))


@attrs.frozen(eq=False)
class StubTransport(Transport):
    """Its connections wait as `wait` says, once per exchange, and answer."""

    wait: Callable[[], Awaitable[Any]]

    def open(self, origin: Origin) -> Connection:
        return StubConnection(self.wait)


class StubConnection(ConnectionBase):
    """One connection, which never fails."""

    def __init__(self, wait: Callable[[], Awaitable[Any]]) -> None:
        self._wait = wait
        self.reused = False
        self.sent = True
        self.connect_time: float | None = None

    async def send(self, request: Any, *, timeouts: Any, read_timeout: float | None) -> ResponseHead:
        await self._wait()
        return ResponseHead(200, HEADERS, StubReader())

    def limit_reads(self, seconds: float | None) -> None:
        """Nothing is read from a socket."""

    def usable(self) -> bool:
        return True

    async def finish(self) -> None:
        """Nothing is held."""

    def cut(self) -> None:
        """Nothing is held."""

    async def close(self) -> None:
        """Nothing is held."""


class StubReader:
    """The body, in one piece."""

    __slots__ = ("_data",)

    def __init__(self) -> None:
        self._data = ANSWER

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data
