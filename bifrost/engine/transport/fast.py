"""Connections through pyreqwest, a client written in Rust (the extra `fast`, asyncio only).

Making one of its clients takes 12 ms, so one serves all connections to an origin, with a pool of sockets below them: a
`FastConnection` is a place on it and does not know which socket carries it. A request that is broken off before its
answer's head has come cannot be taken back from the client, which holds its socket until the answer comes
or the call's time is over.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import quote

import anyio
import anyio.lowlevel
import attrs
import msgspec
from pyreqwest.client import ClientBuilder
from pyreqwest.exceptions import (
    BuilderError,
    ConnectTimeoutError,
    DecodeError,
    DetailedPyreqwestError,
    RequestTimeoutError,
)
from pyreqwest.proxy import ProxyBuilder

from bifrost.config import NetworkConfig
from bifrost.engine.host import on_trio
from bifrost.engine.transport.pem import Papers, papers_of
from bifrost.engine.transport.proxies import Proxy, proxy_of
from bifrost.engine.transport.seam import Answer, Origin
from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.wire.auth import user_and_password
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from pyreqwest.client import Client
    from pyreqwest.request import StreamRequest
    from pyreqwest.response import ResponseBodyReader

    from bifrost.config import ProviderConfig, Timeouts
    from bifrost.engine.transport.seam import Connection, Transport
    from bifrost.wire.http import HttpRequest

_log = logging.getLogger("bifrost.transport")

_CLOSE_LIMIT = 0.3
"""How long the closing of an answer may take, in seconds."""
_IDLE = 30.0
"""How long a client keeps a socket that is not used, in seconds."""
_ABANDONED = 3600.0
"""The longest silence on a socket, in seconds: what nobody has given a deadline ends then."""
_LATE = 0.5
"""How long after its deadline an exchange may go on below, in seconds: so it is ended here, if there is somebody."""
_HEAD_LIMIT = 64 * 1024
"""The most bytes of an answer's header fields."""
_IN_A_TARGET = "!$%&'()*+,/:;=?@[]~"
"""What stands in a request's target as it is, beside letters, digits and `-._`."""


class _Road(msgspec.Struct, frozen=True):
    """What connections of a provider must have in common to share a client."""

    origin: Origin
    proxy: Proxy | None
    connect: float
    """The connect limit, in seconds."""


@attrs.define(eq=False)
class _Common:
    """What the transports of one client's providers share."""

    papers: Papers | None = None
    """Those of the providers that name no certificates."""
    announced: set[str] = attrs.field(factory=set[str])


@attrs.define(eq=False)
class FastTransport:
    """Connections through clients of pyreqwest, one for each origin. `for_provider` gives those of a provider.

    Proxy variables of the environment are honoured as everywhere. Authorities, be they named in the settings or in
    `SSL_CERT_FILE` and `SSL_CERT_DIR`, are trusted beside those that the client brings.
    """

    _network: NetworkConfig = attrs.field(factory=NetworkConfig)
    _common: _Common = attrs.field(factory=_Common)
    _papers: Papers | None = attrs.field(default=None, init=False)
    _clients: dict[_Road, Client] = attrs.field(factory=dict["_Road", "Client"], init=False)
    _users: Counter[_Road] = attrs.field(factory=Counter["_Road"], init=False)

    def for_provider(self, config: ProviderConfig) -> Transport:
        """Give the transport for one provider."""
        return FastTransport(config.network, self._common)

    def open(self, origin: Origin) -> Connection:
        """Give a new connection; certificates are read with the first that needs them. Raises `ConfigError`."""
        if on_trio():
            raise ConfigError('transport="fast" works on asyncio only; on trio leave `transport` out')
        _check(self._network)
        proxy = proxy_of(self._network, origin)
        if self._papers is None and (origin.scheme == "https" or (proxy is not None and proxy.scheme == "https")):
            self._papers = self._read_papers()
        if proxy is not None:
            self._announce(origin.scheme, proxy)
        return FastConnection(self, origin, proxy)

    def _read_papers(self) -> Papers:
        network = self._network
        if network.ca is not None or network.client_certificate is not None:
            return papers_of(network)
        self._common.papers = self._common.papers or papers_of(network)
        return self._common.papers

    def borrow(self, road: _Road) -> Client:
        """Give the client for a road, made for the first connection on it. Raises `ConfigError`."""
        client = self._clients.get(road)
        if client is None:
            client = self._clients[road] = _client(road, self._papers or Papers())
        self._users[road] += 1
        return client

    def give_back(self, road: _Road) -> None:
        """Let go of a client; with its last connection its sockets are closed."""
        self._users[road] -= 1
        if not self._users[road]:
            del self._users[road], self._clients[road]

    def _announce(self, scheme: str, proxy: Proxy) -> None:
        """Say once where requests go instead of straight to the provider; without the proxy's password."""
        told = f"the {proxy.source} sends {scheme} through the proxy {proxy.host}"
        if told not in self._common.announced:
            self._common.announced.add(told)
            _log.info("%s", told)


def _check(network: NetworkConfig) -> None:
    """Refuse the settings that this client cannot follow."""
    if network.ssl_context is not None:
        raise ConfigError(
            'transport="fast" takes no network.ssl_context, for its TLS is not Python\'s: name ca and '
            "client_certificate, or leave `transport` out"
        )
    if network.http2:
        raise ConfigError('transport="fast" speaks HTTP/1.1 only: leave network.http2 out, or `transport`')


class FastConnection:
    """A place on an origin's client, which carries one exchange at a time."""

    __slots__ = (
        "_client",
        "_cut",
        "_deadline",
        "_exchange",
        "_limit",
        "_origin",
        "_place",
        "_proxy",
        "_reader",
        "_road",
        "_transport",
        "_wait",
        "connect_time",
        "reused",
        "sent",
    )

    def __init__(self, transport: FastTransport, origin: Origin, proxy: Proxy | None) -> None:
        self._transport = transport
        self._origin = origin
        self._proxy = proxy
        self._place = str(origin) if proxy is None else f"{origin} (through {proxy})"
        self._client: Client | None = None
        self._road: _Road | None = None
        self._exchange: StreamRequest | None = None
        """The exchange whose head has come."""
        self._reader: ResponseBodyReader | None = None
        self._limit: float | None = None
        self._deadline = math.inf
        self._wait: anyio.CancelScope | None = None
        """Where somebody waits for bytes just now."""
        self._cut = False
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None
        """Never known: the client tells nobody."""

    def end_by(self, deadline: float) -> None:
        """Have the client give up the next exchange soon after this moment, whatever has become of its caller."""
        self._deadline = deadline

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        self._cut = False
        self._limit = read_timeout
        if self._client is None:
            road = _Road(self._origin, self._proxy, timeouts.connect)
            self._client = self._transport.borrow(road)
            self._road = road
        # The worst is assumed, until a failure tells that there was no connection.
        self.sent = True
        exchange = self._outgoing(self._client, request)
        response = await self._bounded(exchange.__aenter__(), phase="headers")
        self._exchange = exchange
        self._reader = response.body_reader
        fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in response.headers.items()]
        if sum(len(name) + len(value) for name, value in fields) > _HEAD_LIMIT:
            raise ProtocolError(f"{self._place} answers with more than 64 KiB of header fields")
        return Answer(response.status, Headers(fields), self)

    def _outgoing(self, client: Client, request: HttpRequest) -> StreamRequest:
        builder = client.request(request.method, f"{self._origin}{quote(request.path, safe=_IN_A_TARGET)}")
        builder = builder.headers(list(request.headers.items()))
        if request.body or request.method != "GET":
            builder = builder.body_bytes(request.body)
        if self._deadline < math.inf:
            left = max(0.0, self._deadline - anyio.current_time()) + _LATE
            builder = builder.timeout(timedelta(seconds=left))
        # What came is given at once; by default the client waits for the whole of a small body, or 64 KiB of a stream.
        return builder.streamed_read_buffer_limit(0).build_streamed()

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        if self._reader is None:
            return b""
        data = await self._bounded(self._reader.read_chunk(), phase="body")
        if data is None:
            self._reader = None
            return b""
        return bytes(data)

    async def _bounded(self, waiting: Awaitable[Any], *, phase: str) -> Any:
        """Wait for the client, for as long as bytes may take; `cut` ends that too."""
        failure: BifrostError | None = None
        deadline = math.inf if self._limit is None else anyio.current_time() + self._limit
        with anyio.CancelScope(deadline=deadline) as scope:
            self._wait = scope
            try:
                return await waiting
            except Exception as error:  # noqa: BLE001 - foreign code; translated here, raised outside the block
                failure = _translate(error, place=self._place, proxy=self._proxy, phase=phase)
                self.sent = not isinstance(failure, ConnectError | ConfigError) and not _is_connecting(error)
            except anyio.get_cancelled_exc_class():
                # The client raises a cancellation of its own, which no scope takes for its own; here is the scope's.
                await anyio.lowlevel.checkpoint()
                raise
            finally:
                self._wait = None
        self._reader = None
        if failure is None and self._cut:
            failure = TransportError(f"the exchange with {self._place} was broken off")
        elif failure is None:
            failure = CallTimeoutError(f"{self._place} sent nothing for too long", phase=cast("Any", phase))
        elif not self.sent and failure.fault == "transient":
            failure.fault = "never_sent"
        raise failure

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes."""
        self._limit = seconds

    def usable(self) -> bool:
        """Say that it can be used: the client looks after its sockets and takes none that the peer has closed."""
        return True

    async def finish(self) -> None:
        """End an exchange whose body was read to its end; the client keeps the socket."""
        exchange, self._exchange = self._exchange, None
        self._reader = None
        self.reused = True
        if exchange is not None:
            await exchange.__aexit__(None, None, None)

    def cut(self) -> None:
        """Wake a waiting reader; the socket is closed by `close`."""
        self._cut = True
        if self._wait is not None:
            self._wait.cancel()

    async def close(self) -> None:
        """Throw the exchange away, and with it its socket, if its head has come; give the client back."""
        exchange, self._exchange = self._exchange, None
        self._reader = None
        if exchange is not None:
            limit = anyio.current_time() + _CLOSE_LIMIT
            with anyio.CancelScope(shield=True, deadline=limit), suppress(Exception):
                await exchange.__aexit__(None, None, None)
        road, self._road, self._client = self._road, None, None
        if road is not None:
            self._transport.give_back(road)


def _client(road: _Road, papers: Papers) -> Client:
    """Make a client that does what it is told and nothing by itself: no redirects, cookies, unpacking, environment."""
    builder = (
        ClientBuilder()
        .http1_only()
        .no_proxy()
        .follow_redirects(False)
        .referer(False)
        .gzip(False)
        .brotli(False)
        .zstd(False)
        .deflate(False)
        .connect_timeout(timedelta(seconds=road.connect))
        .read_timeout(timedelta(seconds=_ABANDONED))
        .pool_idle_timeout(timedelta(seconds=_IDLE))
    )
    if road.proxy is not None:
        builder = builder.proxy(_way(road.proxy))
    try:
        for authority in papers.authorities:
            builder = builder.add_root_certificate_pem(authority)
        if papers.identity is not None:
            builder = builder.identity_pem(papers.identity)
        return builder.build()
    except BuilderError:
        pass  # Its text may hold the proxy's address.
    raise ConfigError(
        "pyreqwest cannot be set up: check SSL_CERT_FILE, SSL_CERT_DIR and the proxy of the environment, and ca, "
        "client_certificate and proxy of the provider's network"
    )


def _way(proxy: Proxy) -> ProxyBuilder:
    host = f"[{proxy.host}]" if ":" in proxy.host else proxy.host
    # To pyreqwest, `socks5` means that names are looked up here.
    scheme = "socks5h" if proxy.is_socks else proxy.scheme
    way = ProxyBuilder.all(f"{scheme}://{host}:{proxy.port}")
    if proxy.auth is None:
        return way
    user, password = user_and_password(proxy.auth)
    return way.basic_auth(user.decode(), password.decode())


def _causes(error: Exception) -> str:
    """Give what the client says of an error's causes. It holds the address: only looked at, never told."""
    if not isinstance(error, DetailedPyreqwestError):
        return ""
    return "\n".join(cause["message"] for cause in error.details["causes"] or ())


def _is_connecting(error: Exception) -> bool:
    return "client error (Connect)" in _causes(error)


_SYSTEM_ERROR = re.compile(r"\(os error (\d+)\)")


def _translate(error: Exception, *, place: str, proxy: Proxy | None, phase: str) -> BifrostError:
    """Make our error of one of pyreqwest's. The result holds no reference to it and none of its text."""
    if _is_connecting(error):
        return _connect_failure(error, place, proxy)
    match error:
        case BuilderError():
            return ConfigError(f"{place} is no address that can be called, or a header cannot be sent")
        case ConnectTimeoutError() | RequestTimeoutError():
            return CallTimeoutError(f"{place} sent nothing for too long", phase=cast("Any", phase))
        case DecodeError():
            return ProtocolError(f"{place} broke the HTTP protocol or cut its answer ({type(error).__name__})")
        case _:
            return TransportError(f"the exchange with {place} broke off ({type(error).__name__})")


_REFUSED = ("proxy authorization required", "proxy authentication")
"""What the client says of a proxy that does not take our credentials."""


def _connect_failure(error: Exception, place: str, proxy: Proxy | None) -> BifrostError:
    causes = _causes(error)
    if isinstance(error, RequestTimeoutError):
        return CallTimeoutError(f"no connection to {place} in time", phase="connect")
    if "invalid peer certificate" in causes:
        return ConfigError(
            f"the certificate of {place} is not trusted; if it is yours, name its authority in NetworkConfig(ca=...) "
            "or SSL_CERT_FILE"
        )
    if "corrupt message" in causes or "HandshakeFailure" in causes or "ProtocolVersion" in causes:
        return ConfigError(f"{place} does not speak TLS 1.2 or later; check scheme and port")
    if proxy is not None and any(words in causes for words in _REFUSED):
        return proxy.refusal(place)
    if "tunnel" in causes or "SOCKS error" in causes:
        return ConnectError(f"the proxy could not connect to {place}")
    if "dns error" in causes:
        return ConnectError(f"no connection to {place}: the name is not known")
    found = _SYSTEM_ERROR.search(causes)
    return ConnectError(f"no connection to {place}" + (f": {os.strerror(int(found[1]))}" if found else ""))
