"""`MockTransport`: a scripted provider in memory, in place of the network.

It implements the engine's transport seam, so everything above the sockets is the real thing. It waits with anyio only,
which makes virtual time work, and runs on asyncio and trio.
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
from bifrost.testing.calls import MockCall, body_of, fake_key, field_of, key_of, masked
from bifrost.testing.play import Play
from bifrost.testing.rules import Rules, UnexpectedCallError, dialect_of
from bifrost.transport import Answer, Origin
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
    """How many connections a mock or server has seen. After a client is closed `open` and `in_use` are 0."""

    opened: int = 0
    """Ever made."""
    open: int = 0
    """Made and not closed yet."""
    in_use: int = 0
    """In the middle of an exchange."""


class MockTransport(Rules):
    """A scripted provider in place of the network; it speaks the dialect of whichever provider is asked.

        mock = MockTransport()
        mock.reply("hello")
        mock.fail(429, retry_after=1).then.reply("ok")
        mock.on(provider="anthropic").stream(["a", "b"]).cut(after_events=1)

        async with mock.client() as client:
            reply = await client.chat("openai/gpt-4o-mini", "hi")

    Answers are played in the order in which they were scripted. `calls` has what was asked, `connections` how many
    connections there are. A call beyond the script's end gets an `UnexpectedCallError`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.connections = ConnectionCounts()
        self._providers: dict[tuple[Origin, str], str] = {}

    def open(self, origin: Origin) -> MockConnection:
        """Give a new connection. Called by the client."""
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
        """Give an account with fake keys of these names (or `Key`s), by provider; by default one for every provider."""
        from bifrost.config import ProviderConfig
        from bifrost.providers.catalog import CATALOG

        every: Mapping[str, Sequence[str]] = {provider: [f"{provider}-key"] for provider in CATALOG}
        used = every if keys is None else keys
        # What has no address of its own (its owner's resource) gets one that only a mock answers at.
        placed = {
            name: ProviderConfig(base_url=f"https://{name}.example")
            for name in used
            if name in CATALOG and not CATALOG[name].base_url
        }
        return make_account(used, configs={**placed, **(configs or {})})

    def client(self, account: Any = None, **options: Any) -> Bifrost:
        """Give a client that talks to this mock, with `account` or this mock's own; options as for `Bifrost`."""
        from bifrost.client import Bifrost

        return Bifrost(account=self.account if account is None else account, transport=self, **options)

    def record(self, request: HttpRequest, *, origin: Origin) -> tuple[MockCall, Dialect]:
        """Read a request as a call, not yet counted and without its connection. Used by the connections."""
        dialect, endpoint = dialect_of(request)
        body = body_of(request)
        has_key, key = key_of(request.headers)
        call = MockCall(
            index=len(self.calls),
            provider=request.provider or self._provider(origin, request.path),
            endpoint=endpoint,
            model=field_of(body, "model") or "",
            stream=bool(field_of(body, "stream")),
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


class MockConnection:
    """A connection in memory: plays the script's steps, and misbehaves as they say."""

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
        """The peer has closed it."""
        self._broken = anyio.Event()
        self._reader: _Reader | None = None
        self._read_timeout: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Take a request and give the head of the scripted answer, or raise what a real connection would."""
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
            # The provider went down while the connection was idle. The step is for the one that is made now.
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
        """Bound each further wait for body bytes."""
        self._read_timeout = seconds

    def usable(self) -> bool:
        """Say whether the idle connection can take another request."""
        return not (self._gone or self._closed or self._broken.is_set())

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        if self._reader is None or not self._reader.ended:
            raise InternalError("finish() on a connection whose answer was not read to its end")
        self._free()
        self.reused = True

    def cut(self) -> None:
        """Break the connection under a waiting reader."""
        self._broken.set()

    async def close(self) -> None:
        """Throw the connection away."""
        self._free()
        self._broken.set()
        if self._number and not self._closed:
            self._mock.connections.open -= 1
        self._closed = True

    # --- for the reader

    async def wait(self, seconds: float, *, phase: Phase) -> None:
        """Wait as long as the script says, and no longer than the limit of reading or the connection's life."""
        limit = math.inf if self._read_timeout is None else self._read_timeout
        if seconds:
            with anyio.move_on_after(min(seconds, limit)):
                await self._broken.wait()
        if self._broken.is_set():
            raise TransportError(f"the exchange with {self._origin} broke off")
        if seconds > limit:
            raise CallTimeoutError(f"{self._origin} sent nothing for too long", phase=phase)

    def hang_up(self) -> None:
        """Be closed by the peer, the answer having come whole."""
        self._gone = True

    async def end(self, play: Play, *, phase: Phase) -> None:
        """Do what the script has in place of the rest of the answer."""
        if play.ending == "stall":
            await self.wait(math.inf, phase=phase)
        self._gone = True
        if play.ending == "reset":
            raise TransportError(f"{self._origin} reset the connection")
        raise ProtocolError(f"{self._origin} broke the HTTP protocol or cut its answer")

    # --- inside

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

    async def _answer(self, play: Play) -> Answer:
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
        return Answer(play.status, Headers.of(*fields.items()), self._reader)

    def _free(self) -> None:
        self._reader = None
        if self._busy:
            self._busy = False
            self._mock.connections.in_use -= 1


class _Reader:
    """The body of a scripted answer, piece by piece."""

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
    """Make an account of fake keys: by provider their names, or `Key`s that say more than a name."""
    from bifrost.account import Key, StaticAccount

    def made(entry: str | Key) -> Key:
        return Key(name=entry, value=fake_key(entry)) if isinstance(entry, str) else entry

    known = {provider: [made(entry) for entry in entries] for provider, entries in keys.items()}
    return StaticAccount(keys=known, configs=configs)


def _provider_at(origin: Origin, path: str) -> str | None:
    """Give the catalog's provider with this address; of several the one whose path reaches furthest."""
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
