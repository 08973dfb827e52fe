"""A provider in memory that answers each call with the call's own number, and remembers next to nothing.

A `MockTransport` keeps every call, which is what a test wants and what a million calls cannot have.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost.config import ProviderConfig
from bifrost.errors import ConnectError
from bifrost.testing.mock import make_account
from bifrost.transport import ConnectionBase, ResponseHead, Transport
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost import StaticAccount
    from bifrost.config import Timeouts
    from bifrost.transport import Origin
    from bifrost.wire.http import HttpRequest

MODEL = "openai/gpt-4o-mini"
OTHER = "groq/llama-3.1-8b-instant"

_JSON = Headers.of(("content-type", "application/json"))


def account_of(**configs: ProviderConfig) -> StaticAccount:
    """Give an account with a key for each of these providers."""
    return make_account({name: [f"{name}-key"] for name in configs}, configs=configs)


class Echo(Transport):
    """Answers with the text it was asked, after `wait`, with the status that `status` says.

    `wait` gives seconds, or an event to wait for; `status` 0 refuses the connection. Both are told the host.
    """

    def __init__(
        self,
        *,
        wait: Callable[[str], float | anyio.Event] | None = None,
        status: Callable[[str], int] | None = None,
    ) -> None:
        self.wait = wait
        self.status = status
        self.asked: Counter[str] = Counter()
        """How often, by host."""
        self.by_second: Counter[int] = Counter()
        self.in_use = 0
        self.open_connections = 0

    def open(self, origin: Origin) -> _Connection:
        return _Connection(self, origin.host)


class _Connection(ConnectionBase):
    def __init__(self, echo: Echo, host: str) -> None:
        self.reused = False
        self.sent = True
        self.connect_time: float | None = None
        self._echo = echo
        self._host = host
        self._open = False
        self._busy = False

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        echo, source = self._echo, request.source
        echo.asked[self._host] += 1
        echo.by_second[int(anyio.current_time())] += 1
        status = 200 if echo.status is None else echo.status(self._host)
        if not status:
            await anyio.lowlevel.checkpoint()
            error = ConnectError(f"no connection to {self._host}: Connection refused")
            error.category = "never_sent"
            raise error
        if not self._open:
            self._open = True
            echo.open_connections += 1
        self._busy = True
        echo.in_use += 1
        await self._wait()
        if status != 200:
            return ResponseHead(status, _JSON, _Body(b'{"error":{"message":"not now"}}'))
        source_of: Any = source
        return ResponseHead(200, _JSON, _Body(_answer(source_of.messages[-1].content)))

    async def _wait(self) -> None:
        wait = 0.0 if self._echo.wait is None else self._echo.wait(self._host)
        if isinstance(wait, anyio.Event):
            await wait.wait()
        elif math.isinf(wait):
            await anyio.sleep_forever()
        else:
            await anyio.sleep(wait)

    def limit_reads(self, seconds: float | None) -> None:
        """Nothing is read from a socket."""

    def usable(self) -> bool:
        return True

    async def finish(self) -> None:
        self.reused = True
        self._free()

    def cut(self) -> None:
        """Nobody waits for a body here."""

    async def close(self) -> None:
        self._free()
        if self._open:
            self._open = False
            self._echo.open_connections -= 1

    def _free(self) -> None:
        if self._busy:
            self._busy = False
            self._echo.in_use -= 1


class _Body:
    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    async def read(self) -> bytes:
        data, self._data = self._data, b""
        return data


def _answer(text: str) -> bytes:
    return (
        b'{"id":"1","object":"chat.completion","created":1,"model":"gpt-4o-mini","choices":[{"index":0,"message":'
        b'{"role":"assistant","content":"%b"},"finish_reason":"stop"}],'
        b'"usage":{"prompt_tokens":3,"completion_tokens":1,"total_tokens":4}}' % text.encode()
    )
