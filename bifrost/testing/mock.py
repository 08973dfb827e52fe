"""`MockTransport`: a scripted provider in memory instead of the network.

It implements the engine's transport interface, so everything above the sockets is real. It waits only through anyio,
which makes virtual time possible, and runs on asyncio and trio.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import attrs
import msgspec

from bifrost.errors import BifrostError, CallTimeoutError, ConnectError, InternalError, ProtocolError, TransportError
from bifrost.testing.calls import MockCall, body_of, fake_key, key_of, masked
from bifrost.testing.play import Play
from bifrost.testing.rules import Rules, UnexpectedCallError, asked_of, dialect_of
from bifrost.transport import ConnectionBase, Origin, ResponseHead, Transport
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.account import Key, StaticAccount
    from bifrost.client import Bifrost
    from bifrost.config import ProviderConfig, Timeouts
    from bifrost.errors import Phase
    from bifrost.testing.dialect import Dialect
    from bifrost.wire.http import HttpRequest

__all__ = ["ConnectionCounts", "MockCall", "MockTransport", "UnexpectedCallError"]


@attrs.define(eq=False)
class ConnectionCounts:
    """The numbers of connections of a mock or server. After a client is closed, `open` and `in_use` are 0."""

    opened: int = 0
    """Connections that were ever opened."""
    open: int = 0
    """Connections that are open."""
    in_use: int = 0
    """Connections with an exchange in progress."""


class MockTransport(Rules, Transport):
    """A scripted provider instead of the network. It responds in the format of the provider that receives the request.

        mock = MockTransport()
        mock.reply("hello")
        mock.fail(429, retry_after=1).then.reply("ok")
        mock.on(provider="anthropic").stream(["a", "b"]).cut(after_events=1)

        async with mock.client() as client:
            reply = await client.chat("openai/gpt-4o-mini", "hi")

    Steps are played in the order of the script. `calls` has the requests, and `connections` counts the connections. A
    call after the end of the script raises `UnexpectedCallError`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connections = ConnectionCounts()
        self._providers: dict[tuple[Origin, str], str] = {}

    def open(self, origin: Origin) -> MockConnection:
        """Return a new connection. The client calls it."""
        return MockConnection(self, origin)

    @cached_property
    def account(self) -> StaticAccount:
        """An account with one fake key, named `<provider>-key`, for every provider of the catalog."""
        return self.account_with()

    def account_with(
        self,
        keys: Mapping[str, Sequence[str | Key]] | None = None,
        *,
        configs: Mapping[str, ProviderConfig] | None = None,
    ) -> StaticAccount:
        """Return an account with fake keys of these names (or `Key`s), by provider; by default one key per provider."""
        from bifrost.config import ProviderConfig
        from bifrost.providers.catalog import CATALOG

        every: Mapping[str, Sequence[str]] = {provider: [f"{provider}-key"] for provider in CATALOG}
        used = every if keys is None else keys
        # A provider without a fixed address (a customer's resource) gets one that exists only in the mock.
        placed = {
            name: ProviderConfig(base_url=f"https://{name}.example")
            for name in used
            if name in CATALOG and not CATALOG[name].base_url
        }
        return make_account(used, configs={**placed, **(configs or {})})

    def client(self, account: Any = None, **options: Any) -> Bifrost:
        """Return a client of this mock, with `account` or the mock's own. The options are those of `Bifrost`."""
        from bifrost.client import Bifrost

        return Bifrost(account=self.account if account is None else account, transport=self, **options)

    def record(self, request: HttpRequest, *, origin: Origin) -> tuple[MockCall, Dialect]:
        """Return a request as a call that is not counted yet and has no connection. The connections use it."""
        dialect, endpoint = dialect_of(request)
        body = body_of(request)
        has_key, key = key_of(request)
        model, stream = asked_of(dialect, request, body)
        call = MockCall(
            index=len(self.calls),
            provider=request.provider or self._provider(origin, request.path),
            endpoint=endpoint,
            model=model,
            stream=stream,
            has_key=has_key,
            key=key,
            connection=0,
            request=request.source,
            http=masked(request),
            json=body,
        )
        return call, dialect

    def _provider(self, origin: Origin, path: str) -> str:
        place = (origin, path)
        name = self._providers.get(place)
        if name is None:
            name = self._providers[place] = _provider_at(origin, path) or origin.host
        return name


class MockConnection(ConnectionBase):
    """A connection in memory, which plays the steps of the script and its faults."""

    def __init__(self, mock: MockTransport, origin: Origin) -> None:
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None
        self._mock = mock
        self._origin = origin
        self._number = 0
        self._busy = False
        self._closed = False
        self._gone = False
        """Whether the peer has closed it."""
        self._broken = anyio.Event()
        self._reader: _Reader | None = None
        self._read_timeout: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        """Receive a request and return the head of the scripted response, or raise the error of a real connection."""
        if self._busy or self._closed:
            raise InternalError(f"a request was sent on a connection that is {'busy' if self._busy else 'closed'}")
        self.sent = False
        self.connect_time = None
        self._read_timeout = read_timeout
        await anyio.lowlevel.checkpoint()
        call, dialect = self._mock.record(request, origin=self._origin)
        step = self._mock.choose(call, now=anyio.current_time())
        refused = step is not None and step.trouble in ("refuse", "black_hole")
        if self._number and refused:
            # The provider went down while the connection was idle. The step applies to the connection that follows.
            self._gone = True
            raise TransportError(f"{self._origin} closed the connection")
        number = self._number or (0 if refused else self._mock.connections.opened + 1)
        call = msgspec.structs.replace(call, connection=number)
        self._mock.calls.append(call)
        if step is None:
            raise self._mock.unexpected(call)
        step.use()
        play = step.play(call, dialect)
        await self._connect(play, timeouts)
        self._busy = self.sent = True
        self._mock.connections.in_use += 1
        return await self._answer(play)

    def limit_reads(self, seconds: float | None) -> None:
        """Limit each further wait for bytes of the body, in seconds."""
        self._read_timeout = seconds

    def usable(self) -> bool:
        """Return whether the idle connection can send another request."""
        return not (self._gone or self._closed or self._broken.is_set())

    async def finish(self) -> None:
        """End an exchange whose body was read completely."""
        if self._reader is None or not self._reader.ended:
            raise InternalError("finish() on a connection whose answer was not read to its end")
        self._free()
        self.reused = True

    def cut(self) -> None:
        """Break the connection, so that a waiting reader fails."""
        self._broken.set()

    async def close(self) -> None:
        """Close the connection."""
        self._free()
        self._broken.set()
        if self._number and not self._closed:
            self._mock.connections.open -= 1
        self._closed = True

    # --- for the reader

    async def wait(self, seconds: float, *, phase: Phase) -> None:
        """Wait as long as the script says, but not longer than the read limit or the life of the connection."""
        limit = math.inf if self._read_timeout is None else self._read_timeout
        if seconds:
            with anyio.move_on_after(min(seconds, limit)):
                await self._broken.wait()
        if self._broken.is_set():
            raise TransportError(f"the request to {self._origin} broke off")
        if seconds > limit:
            raise CallTimeoutError(f"{self._origin} sent nothing for too long", phase=phase)

    def hang_up(self) -> None:
        """Close the connection on the side of the peer, after the complete response."""
        self._gone = True

    async def end(self, play: Play, *, phase: Phase) -> None:
        """Do what the script has instead of the rest of the response."""
        if play.ending == "stall":
            await self.wait(math.inf, phase=phase)
        self._gone = True
        if play.ending == "reset":
            raise TransportError(f"{self._origin} reset the connection")
        raise ProtocolError(f"{self._origin} broke the HTTP protocol or cut its response")

    # --- private

    async def _connect(self, play: Play, timeouts: Timeouts) -> None:
        if self._number:
            return
        if play.trouble == "refuse":
            raise _never_sent(ConnectError(f"no connection to {self._origin}: Connection refused"))
        if play.trouble == "black_hole":
            await anyio.sleep(timeouts.connect)
            raise _never_sent(CallTimeoutError(f"no connection to {self._origin} in time", phase="connect"))
        counts = self._mock.connections
        counts.opened += 1
        counts.open += 1
        self._number = counts.opened
        self.connect_time = 0.0

    async def _answer(self, play: Play) -> ResponseHead:
        await self.wait(play.delay, phase="headers")
        if play.trouble == "garbage":
            self._gone = True
            raise ProtocolError(f"{self._origin} does not speak HTTP")
        if play.before_head:
            await self.end(play, phase="headers")
        self._reader = _Reader(self, play)
        fields = dict(play.headers)
        if not play.stream:
            fields["content-length"] = str(play.length)
        return ResponseHead(play.status, Headers.of(*fields.items()), self._reader)

    def _free(self) -> None:
        self._reader = None
        if self._busy:
            self._busy = False
            self._mock.connections.in_use -= 1


class _Reader:
    """The body of a scripted response, piece by piece."""

    def __init__(self, connection: MockConnection, play: Play) -> None:
        self.ended = False
        self._connection = connection
        self._play = play
        self._pieces = iter(play.pieces)

    async def read(self) -> bytes:
        if self.ended:
            return b""
        await anyio.lowlevel.checkpoint()
        await self._connection.wait(self._play.pace, phase="body")
        piece = next(self._pieces, None)
        if piece is not None:
            return piece
        if self._play.ending == "hang_up":
            self._connection.hang_up()
        elif self._play.ending != "clean":
            await self._connection.end(self._play, phase="body")
        self.ended = True
        return b""


def make_account(
    keys: Mapping[str, Sequence[str | Key]], *, configs: Mapping[str, ProviderConfig] | None = None
) -> StaticAccount:
    """Return an account of fake keys, given as names or `Key`s by provider."""
    from bifrost.account import Key, StaticAccount

    def made(entry: str | Key) -> Key:
        return Key(name=entry, value=fake_key(entry)) if isinstance(entry, str) else entry

    known = {provider: [made(entry) for entry in entries] for provider, entries in keys.items()}
    return StaticAccount(keys=known, configs=configs)


def _provider_at(origin: Origin, path: str) -> str | None:
    """Return the catalog's provider with this address; of several, the one whose path is the longest match."""
    from bifrost.providers.catalog import CATALOG

    there = [
        (len(row.base_url), name)
        for name, row in CATALOG.items()
        if row.base_url and Origin.of(row.base_url) == origin and path.startswith(urlsplit(row.base_url).path)
    ]
    return max(there)[1] if there else None


def _never_sent(error: BifrostError) -> BifrostError:
    error.category = "never_sent"
    return error
