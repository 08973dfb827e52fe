"""Real connections through httpcore, the engine of httpx, driven directly: one of its connections for each of ours."""

from __future__ import annotations

import logging
from operator import attrgetter
from typing import TYPE_CHECKING
from urllib.parse import quote

import attrs
import httpcore

from bifrost.engine.transport.body import Body, Upload, answer_of, briefly, fields_of
from bifrost.engine.transport.failures import translate
from bifrost.engine.transport.network import Wire
from bifrost.engine.transport.proxies import Proxy, environment_proxy
from bifrost.engine.transport.tls import environment_context
from bifrost.errors import BifrostError

if TYPE_CHECKING:
    import ssl

    from bifrost.config import Timeouts
    from bifrost.engine.transport.seam import Answer, Connection, Origin
    from bifrost.wire.http import HttpRequest

_log = logging.getLogger("bifrost.transport")

_TARGETS_KEPT = 256
_IN_A_TARGET = "!$%&'()*+,/:;=?@[]~"
"""What stands in a request's target as it is, beside letters, digits and `-._`."""


@attrs.define(eq=False)
class DirectTransport:
    """Connections that are made here, sharing one `SSLContext`.

    Proxy variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) and CA variables (`SSL_CERT_FILE`,
    `SSL_CERT_DIR`) of the environment are honoured as httpx's own client does.
    """

    _context: ssl.SSLContext | None = attrs.field(default=None, init=False)
    _announced: set[str] = attrs.field(factory=set[str], init=False)

    def open(self, origin: Origin) -> Connection:
        """Give a new connection; the TLS context is made with the first https origin. Raises `ConfigError`."""
        proxy = environment_proxy(origin)
        if self._context is None and "https" in (origin.scheme, proxy and proxy.scheme):
            self._context = environment_context()
        if proxy is not None:
            self._announce(origin.scheme, proxy)
        return DirectConnection(origin, context=self._context, proxy=proxy)

    def _announce(self, scheme: str, proxy: Proxy) -> None:
        """Say once where requests go instead of straight to the provider; without the proxy's password."""
        told = f"{scheme} through the proxy {proxy.host}"
        if told not in self._announced:
            self._announced.add(told)
            _log.info("the environment sends %s", told)


class DirectConnection:
    """A connection of httpcore's over a network of ours."""

    __slots__ = (
        "_authority",
        "_body",
        "_direct",
        "_engine",
        "_origin",
        "_place",
        "_spoilt",
        "_targets",
        "_timeouts",
        "_wire",
        "reused",
    )

    def __init__(self, origin: Origin, *, context: ssl.SSLContext | None, proxy: Proxy | None) -> None:
        self._origin = origin
        self._direct = proxy is None
        self._place = str(origin) if proxy is None else f"{origin} (through the environment's proxy)"
        self._wire = Wire()
        self._engine = _engine(origin, context, proxy, self._wire)
        self._spoilt = False
        """Bytes that nobody asked for came behind an answer; the next request would take them for its own."""
        self._authority = origin.authority.encode("ascii")
        self._targets: dict[str, httpcore.URL] = {}
        self._body: Body | None = None
        self._timeouts: dict[str, float | None] = {}
        self.reused = False

    @property
    def sent(self) -> bool:
        """The present request's head has (perhaps) gone out."""
        return self._wire.sent

    @property
    def connect_time(self) -> float | None:
        """How long the present exchange waited for its connection to be made, in seconds."""
        return self._wire.connect_time

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        wire = self._wire
        wire.sent = False
        wire.connect_time = None
        wire.joins_head = self._direct
        # `pool` is short on purpose: a connection that was not given back is our defect and should be loud.
        self._timeouts = {"connect": timeouts.connect, "write": timeouts.write, "read": read_timeout, "pool": 1.0}
        failure: BifrostError
        try:
            response = await self._engine.handle_async_request(self._outgoing(request))
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="headers")
        else:
            self._body = Body(response.stream, self.translate, _PARSER if self._direct else _PARSER_IN_A_POOL)
            return answer_of(response.status, response.headers, self._body, place=self._place)
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
        return outgoing

    def _url(self, path: str) -> httpcore.URL:
        url = self._targets.get(path)
        if url is None:
            if len(self._targets) >= _TARGETS_KEPT:
                self._targets.clear()
            origin = self._origin
            target = quote(path, safe=_IN_A_TARGET).encode("ascii")
            url = httpcore.URL(scheme=origin.scheme, host=origin.host, port=origin.port, target=target)
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
            self._spoilt = body.has_sequel()
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
        await briefly(self._engine.aclose())

    def translate(self, error: Exception, *, phase: str) -> BifrostError:
        """Make our error of one that httpcore raised."""
        return translate(error, place=self._place, sent=self._wire.sent, phase=phase)


def _engine(
    origin: Origin, context: ssl.SSLContext | None, proxy: Proxy | None, wire: Wire
) -> httpcore.AsyncHTTPConnection | httpcore.AsyncConnectionPool:
    if proxy is None:
        place = httpcore.Origin(origin.scheme.encode("ascii"), origin.host.encode("ascii"), origin.port)
        return httpcore.AsyncHTTPConnection(place, ssl_context=context, network_backend=wire)
    # Its connections through proxies are to be had in a pool only.
    return httpcore.AsyncConnectionPool(
        proxy=httpcore.Proxy(
            httpcore.URL(scheme=proxy.scheme, host=proxy.host, port=proxy.port, target="/"),
            auth=proxy.auth,
            ssl_context=context if proxy.scheme == "https" else None,
        ),
        ssl_context=context,
        max_connections=1,
        max_keepalive_connections=1,
        network_backend=wire,
    )


_PARSER = attrgetter("_connection._h11_state")
_PARSER_IN_A_POOL = attrgetter("_stream._connection._h11_state")
