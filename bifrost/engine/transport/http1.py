"""A connection of HTTP/1.1: httpcore's, the engine of httpx, driven directly over a network of ours."""

from __future__ import annotations

from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING

import anyio
import httpcore

from bifrost.engine.transport.body import (
    Body,
    Upload,
    answer_of,
    bound_interim,
    briefly,
    fields_of,
    is_ambiguous,
    target_of,
)
from bifrost.engine.transport.failures import translate
from bifrost.engine.transport.logs import SENDING
from bifrost.engine.transport.network import Wire
from bifrost.errors import BifrostError
from bifrost.wire.auth import basic_auth

if TYPE_CHECKING:
    from bifrost.config import Timeouts
    from bifrost.engine.transport.roads import Road
    from bifrost.engine.transport.seam import Answer
    from bifrost.wire.http import HttpRequest

_TARGETS_KEPT = 256
_TICKETS = 0.02
"""How much longer than for the connection a peer's first words in TLS are waited for, in seconds."""


class Http1Connection:
    """One connection of HTTP/1.1: httpcore's, over a network of ours."""

    __slots__ = (
        "_authority",
        "_body",
        "_engine",
        "_place",
        "_road",
        "_spoilt",
        "_targets",
        "_timeouts",
        "_wire",
        "connect_time",
        "reused",
    )

    def __init__(self, road: Road, wire: Wire | None = None) -> None:
        """Stand for a connection, or take over the wire of one that is made."""
        self._road = road
        self._place = str(road)
        self._wire = wire or Wire()
        self._engine: httpcore.AsyncHTTP11Connection | None = None
        self._spoilt = False
        """Bytes may stand behind an answer that nobody asked for; the next request would take them for its own."""
        self._authority = road.origin.authority.encode("ascii")
        self._targets: dict[str, httpcore.URL] = {}
        self._body: Body | None = None
        self._timeouts: dict[str, float | None] = {}
        self.reused = False
        self.connect_time: float | None = None
        if wire is not None:
            self._make()

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        return self._wire.sent

    @property
    def heard(self) -> bool:
        """Something has come of an answer to the present request."""
        return self._wire.heard

    async def connect(self, *, seconds: float) -> None:
        """Make the connection ahead of its first request."""
        await self._connected(seconds)
        await self._take_tickets()
        self.reused = True

    async def _take_tickets(self) -> None:
        """Read what a peer says in TLS after the handshake, which would look like an answer to nothing later on."""
        if self._wire.tls is None:
            return
        with anyio.move_on_after(_TICKETS + (self.connect_time or 0.0)), suppress(Exception):
            await self._wire.stream.read(1)
            # It has closed the connection, or spoken unasked.
            self._spoilt = True

    async def _connected(self, seconds: float) -> httpcore.AsyncHTTP11Connection:
        failure: BifrostError
        try:
            self.connect_time = await self._road.lay(self._wire, seconds=seconds)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="connect")
        else:
            return self._make()
        raise failure

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        self._wire.sent = self._wire.heard = False
        self.connect_time = None
        self._timeouts = {"write": timeouts.write, "read": read_timeout}
        outgoing: httpcore.Request | None = None
        failure: BifrostError
        sending = (request.headers, self._road.secrets)
        before = SENDING.set(sending)
        try:
            engine = self._engine or await self._connected(timeouts.connect)
            self._wire.joins_head = True
            outgoing = self._outgoing(request)
            response = await engine.handle_async_request(outgoing)
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="headers")
        else:
            self._body = Body(response.stream, self.translate, _PARSER, sending)
            answer = answer_of(response.status, response.headers, self._body, place=self._place)
            self._spoilt = is_ambiguous(answer.headers)
            return answer
        finally:
            SENDING.reset(before)
            if outgoing is not None:
                # httpcore keeps the request as long as its answer is read, which may be minutes; the key went out.
                outgoing.headers = []
        raise failure

    def _outgoing(self, request: HttpRequest) -> httpcore.Request:
        outgoing = httpcore.Request(
            request.method,
            self._url(request.path),
            content=Upload(request.body),
            extensions={"timeout": self._timeouts},
        )
        # Set here and not given above, where each would be looked at once more.
        outgoing.headers = fields_of(request, self._authority)
        proxy = self._road.proxy
        if self._road.forwards and proxy is not None and proxy.auth is not None:
            outgoing.headers.append((b"proxy-authorization", basic_auth(proxy.auth)))
        return outgoing

    def _url(self, path: str) -> httpcore.URL:
        url = self._targets.get(path)
        if url is None:
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            origin = self._road.origin
            target = (str(origin) if self._road.forwards else "") + target_of(path)
            url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target.encode("ascii"))
            self._targets[path] = url
        return url

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes (httpcore reads the limit when the body's first read begins)."""
        self._timeouts["read"] = seconds

    def usable(self) -> bool:
        """Say whether the peer has neither closed the idle connection nor sent anything on it."""
        return not self._spoilt and self._wire.quiet()

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        body, self._body = self._body, None
        self.reused = True
        if body is not None:
            self._spoilt = self._spoilt or body.has_sequel()
            await body.close()

    def cut(self) -> None:
        """Break the connection under a waiting reader."""
        self._wire.shut()

    async def close(self) -> None:
        """Throw the connection away: the socket first, then the reader (so that no generator is left half-read)."""
        body, self._body = self._body, None
        await briefly(self._wire.close())
        if body is not None:
            await briefly(body.drain())
        if self._engine is not None:
            await briefly(self._engine.aclose())

    def translate(self, error: Exception, *, phase: str) -> BifrostError:
        """Make our error of one that httpcore raised."""
        return translate(error, place=self._place, sent=self._wire.sent, phase=phase)

    def _make(self) -> httpcore.AsyncHTTP11Connection:
        origin = self._road.origin
        place = httpcore.Origin(origin.scheme.encode("ascii"), origin.host.encode("ascii"), origin.port)
        self._engine = httpcore.AsyncHTTP11Connection(place, self._wire.stream)
        bound_interim(self._engine, place=self._place)
        return self._engine


_PARSER = attrgetter("_connection._h11_state")
