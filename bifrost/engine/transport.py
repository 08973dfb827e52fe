"""The seam between the engine and an HTTP library, and the one file that imports httpx.

A `Transport` opens connections; a `Connection` carries one exchange at a time and tells what the engine must know to
judge a failure: whether it was `reused`, whether the request was `sent`. No httpx type and no httpx error leaves this
file: foreign errors are translated after their `except` block has ended, because their texts and contexts can hold
headers and addresses.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
from contextlib import suppress
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Protocol, cast, runtime_checkable
from urllib.parse import urlsplit
from urllib.request import getproxies_environment, proxy_bypass

import anyio
import attrs
import httpx
import msgspec

from bifrost.errors import BifrostError, CallTimeoutError, ConfigError, ConnectError, ProtocolError, TransportError
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from bifrost.config import Timeouts
    from bifrost.wire.http import HttpRequest

_log = logging.getLogger("bifrost.transport")

_CLOSE_LIMIT = 0.3
"""How long each of the three steps of closing a connection may take, in seconds."""
_PATHS_KEPT = 256
_SLICE = 256 * 1024
"""How much of a request's body is written at once: `write` bounds the wait for each, not for the whole upload."""
_HEAD_LIMIT = 64 * 1024
"""The most bytes of an answer's header fields."""
_FIELDS_LIMIT = 200
"""The most header fields of an answer."""


class Origin(msgspec.Struct, frozen=True):
    """Where connections go: scheme, host and port. Connections, and credentials, belong to one origin."""

    scheme: str
    host: str
    port: int

    @classmethod
    def of(cls, base_url: str) -> Origin:
        """Read the origin of a checked base address."""
        parts = urlsplit(base_url)
        return cls(parts.scheme, parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Reader(Protocol):
    """The body of an answer."""

    async def read(self) -> bytes:
        """Give the next bytes as they came (content coding not undone); empty bytes at the clean end."""
        ...


class Answer(msgspec.Struct, frozen=True):
    """The head of an answer, and a reader for its body."""

    status: int
    headers: Headers
    reader: Reader


class Connection(Protocol):
    """Carries one exchange at a time to one origin."""

    reused: bool
    """It has served an exchange before this one."""
    sent: bool
    """The present request's head has (perhaps) gone out."""
    connect_time: float | None
    """How long the present exchange waited for its connection to be made, in seconds."""

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer. `read_timeout` bounds each wait for bytes."""
        ...

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes; called before the body's first read."""
        ...

    def usable(self) -> bool:
        """Say whether the idle connection can take another request (the peer has neither closed nor spoken)."""
        ...

    async def finish(self) -> None:
        """End an exchange whose body was read to its end; the connection may serve another."""
        ...

    def cut(self) -> None:
        """Break the connection under a waiting reader, at once and from any task. `close` must still follow."""
        ...

    async def close(self) -> None:
        """Throw the connection away, whatever state it is in. Shielded and brief."""
        ...


@runtime_checkable
class Transport(Protocol):
    """Opens connections. Opening does no I/O: a connection is made with its first request."""

    def open(self, origin: Origin) -> Connection:
        """Give a new connection to an origin."""
        ...


def as_transport(transport: Any) -> Transport:
    """Take what a user gives as `transport=`: a `Transport`, an httpx transport, or a function that makes one.

    An httpx transport is shared by all connections as it is; a function without arguments is called once per
    connection and gives an httpx transport of its own.
    """
    if transport is None:
        return HttpxTransport()
    if isinstance(transport, httpx.AsyncBaseTransport):
        return _Shared(transport)
    if isinstance(transport, Transport):
        return transport
    if callable(transport):
        return _Made(cast("Callable[[], httpx.AsyncBaseTransport]", transport))
    raise ConfigError(
        f"transport= takes an httpx.AsyncBaseTransport, a function that makes one, or a bifrost Transport, "
        f"not {type(transport).__name__}"
    )


@attrs.define(eq=False)
class HttpxTransport:
    """Real connections through httpx, one transport per connection, sharing one `SSLContext`.

    Proxy variables (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) and CA variables (`SSL_CERT_FILE`,
    `SSL_CERT_DIR`) of the environment are honoured as httpx's own client does.
    """

    _context: ssl.SSLContext | None = attrs.field(default=None, init=False)
    _bare: ssl.SSLContext = attrs.field(factory=lambda: ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), init=False)
    """For plain http, so that no certificates are loaded for it."""
    _announced: set[str] = attrs.field(factory=set[str], init=False)

    def open(self, origin: Origin) -> Connection:
        """Give a new connection; the TLS context is made with the first https origin. Raises `ConfigError`."""
        if origin.scheme == "https" and self._context is None:
            self._context = _ssl_context()
        proxy = _environment_proxy(origin)
        failure: ConfigError
        try:
            transport = httpx.AsyncHTTPTransport(
                verify=self._context or self._bare,
                limits=httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=None),
                proxy=proxy,
                trust_env=False,
            )
        except Exception as error:  # noqa: BLE001 - its text can hold the proxy's password; told anew outside the block
            failure = ConfigError(
                f"the proxy that the environment names for {origin.scheme} cannot be used ({_kind(error)}): write it "
                "as http://host:port; for socks5:// also install httpx[socks]"
            )
        else:
            if proxy is not None:
                self._announce(origin.scheme, proxy)
            return HttpxConnection(transport, origin, owned=True, proxied=proxy is not None)
        raise failure

    def _announce(self, scheme: str, proxy: str) -> None:
        """Say once where requests go instead of straight to the provider; without the proxy's password."""
        told = f"{scheme} through the proxy {urlsplit(proxy).hostname}"
        if told not in self._announced:
            self._announced.add(told)
            _log.info("the environment sends %s", told)


@attrs.frozen(eq=False)
class _Shared:
    transport: httpx.AsyncBaseTransport

    def open(self, origin: Origin) -> Connection:
        return HttpxConnection(self.transport, origin, owned=False)


@attrs.frozen(eq=False)
class _Made:
    make: Callable[[], Any]

    def open(self, origin: Origin) -> Connection:
        try:
            transport = self.make()
        except Exception as error:  # noqa: BLE001 - a user's function; told anew outside the block
            problem = f"raised {_kind(error)}"
        else:
            if isinstance(transport, httpx.AsyncBaseTransport):
                return HttpxConnection(transport, origin, owned=True)
            problem = f"returned {_kind(transport)}"
        raise ConfigError(f"the function given as transport= {problem}; it makes an httpx.AsyncBaseTransport each time")


def _ssl_context() -> ssl.SSLContext:
    try:
        context = httpx.create_ssl_context()
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the certificates of authorities cannot be loaded ({_kind(error)}): "
            "check SSL_CERT_FILE and SSL_CERT_DIR in the environment"
        ) from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _environment_proxy(origin: Origin) -> str | None:
    proxies: Mapping[str, str] = getproxies_environment()
    address = proxies.get(origin.scheme) or proxies.get("all")
    if not address or proxy_bypass(f"{origin.host}:{origin.port}"):
        return None
    return address if "://" in address else f"http://{address}"


class HttpxConnection:
    """A connection of its own inside an httpx transport, or a place on a shared one."""

    __slots__ = (
        "_authority",
        "_body",
        "_extensions",
        "_network",
        "_origin",
        "_owned",
        "_proxied",
        "_spoilt",
        "_timeouts",
        "_traced",
        "_transport",
        "_urls",
        "connect_time",
        "reused",
        "sent",
    )

    def __init__(
        self, transport: httpx.AsyncBaseTransport, origin: Origin, *, owned: bool, proxied: bool = False
    ) -> None:
        self._transport = transport
        self._origin = origin
        self._owned = owned
        self._proxied = proxied
        self._traced = owned and isinstance(transport, httpx.AsyncHTTPTransport)
        self._spoilt = False
        """Bytes that nobody asked for came behind an answer; the next request would take them for its own."""
        self._authority = _authority(origin)
        self._urls: dict[str, httpx.URL] = {}
        self._network: Any = None
        self._body: _Body | None = None
        self._timeouts: dict[str, float | None] = {}
        self._extensions: dict[str, Any] = {}
        self.reused = False
        self.sent = False
        self.connect_time: float | None = None

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> Answer:
        """Send a request and wait for the head of the answer.

        Raises `ConnectError` if nothing could be sent, `CallTimeoutError`, `ProtocolError`, `TransportError`.
        """
        # Of a transport that does not tell, the worst is assumed: the request may have gone out.
        self.sent = not self._traced
        self.connect_time = None
        # `pool` is short on purpose: a connection that was not given back is our defect and should be loud.
        self._timeouts = {"connect": timeouts.connect, "write": timeouts.write, "read": read_timeout, "pool": 1.0}
        self._extensions = {"timeout": self._timeouts}
        if self._traced:
            self._extensions["trace"] = _Trace(self)
        failure: BifrostError
        try:
            response = await self._transport.handle_async_request(self._outgoing(request))
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self.translate(error, phase="headers")
        else:
            self._body = _Body(self, response.stream)
            fields = response.headers.raw
            if len(fields) <= _FIELDS_LIMIT and sum(len(name) + len(value) for name, value in fields) <= _HEAD_LIMIT:
                return Answer(response.status_code, Headers(fields), self._body)
            failure = ProtocolError(f"{self._origin} answers with more than {_FIELDS_LIMIT} header fields or 64 KiB")
        raise failure

    def _outgoing(self, request: HttpRequest) -> httpx.Request:
        return httpx.Request(
            request.method,
            self._url(request.path),
            headers=self._fields(request),
            stream=_Upload(request.body),
            extensions=self._extensions,
        )

    def _fields(self, request: HttpRequest) -> list[tuple[bytes, bytes]]:
        fields = [(b"host", self._authority)]
        fields += [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()]
        if request.body or request.method != "GET":
            fields.append((b"content-length", b"%d" % len(request.body)))
        return fields

    def _url(self, path: str) -> httpx.URL:
        url = self._urls.get(path)
        if url is None:
            if len(self._urls) >= _PATHS_KEPT:
                self._urls.clear()
            url = self._urls[path] = httpx.URL(f"{self._origin}{path}")
        return url

    def limit_reads(self, seconds: float | None) -> None:
        """Bound each further wait for body bytes (httpcore reads the limit when the body's first read begins)."""
        self._timeouts["read"] = seconds

    def usable(self) -> bool:
        """Say whether the peer has neither closed the idle connection nor sent anything on it."""
        network = self._network
        if network is None:
            # Not one of httpcore's: its maker knows.
            return True
        if self._spoilt or _is_readable(network):
            return False
        tls = network.get_extra_info("ssl_object")
        return tls is None or _is_silent(tls)

    async def finish(self) -> None:
        """End an exchange whose body was read to its end."""
        body, self._body = self._body, None
        self.reused = self._owned
        if body is not None:
            self._spoilt = body.has_sequel()
            await body.close()

    def cut(self) -> None:
        """Break the connection under a waiting reader."""
        sock = None if self._network is None else self._network.get_extra_info("socket")
        if sock is not None:
            _shut(sock)

    async def close(self) -> None:
        """Throw the connection away: the socket first, then the reader (so that no generator is left half-read)."""
        body, self._body = self._body, None
        network, self._network = self._network, None
        if network is not None:
            await _briefly(network.aclose())
        if body is not None:
            await _briefly(body.drain())
        if self._owned:
            await _briefly(self._transport.aclose())

    def connected(self, network: Any) -> None:
        """Remember the raw stream: it is closed by us, since httpcore leaks it when cancelled in a TLS handshake."""
        self._network = network

    def translate(self, error: Exception, *, phase: str) -> BifrostError:
        """Make our error of one that httpx or the user's transport raised."""
        return _translate(
            error,
            place=f"{self._origin} (through the environment's proxy)" if self._proxied else str(self._origin),
            sent=self.sent,
            phase=phase,
        )


class _Trace:
    """httpcore's trace hook: learns of the raw stream, the time of connecting, and whether the head went out."""

    __slots__ = ("_connection", "_started")

    def __init__(self, connection: HttpxConnection) -> None:
        self._connection = connection
        self._started: float | None = None

    async def __call__(self, name: str, info: Mapping[str, Any]) -> None:
        if name.endswith("send_request_headers.started"):
            # The request for a tunnel is the proxy's, not the provider's.
            self._connection.sent = info["request"].method != b"CONNECT"
        elif name in ("connection.connect_tcp.started", "socks.connect_tcp.started"):
            self._started = anyio.current_time()
        elif name.endswith(("connect_tcp.complete", "start_tls.complete")):
            self._connection.connected(info["return_value"])
            if self._started is not None:
                self._connection.connect_time = anyio.current_time() - self._started


class _Upload(httpx.AsyncByteStream):
    """A request body that is no generator, so that a cancelled upload leaves none behind."""

    __slots__ = ("_content", "_sent")

    def __init__(self, content: bytes) -> None:
        self._content = content
        self._sent = 0

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        start = self._sent
        if start >= len(self._content):
            raise StopAsyncIteration
        self._sent += _SLICE
        return self._content[start : self._sent]


class _Body:
    """Reads an answer's body, and can be ended from either side without leaving a generator half-read."""

    __slots__ = ("_connection", "_ended", "_iterator", "_stream")

    def __init__(self, connection: HttpxConnection, stream: Any) -> None:
        self._connection = connection
        self._stream = stream
        self._iterator: Any = None
        self._ended = False

    async def read(self) -> bytes:
        """Give the next bytes, empty at the clean end. Raises `TransportError`, `ProtocolError`, `CallTimeoutError`."""
        if self._ended:
            return b""
        if self._iterator is None:
            self._iterator = self._stream.__aiter__()
        try:
            while True:
                data = cast("bytes", await self._iterator.__anext__())
                if data:
                    return data
        except StopAsyncIteration:
            self._ended = True
            return b""
        except Exception as error:  # noqa: BLE001 - foreign code; translated below, outside the block
            failure = self._connection.translate(error, phase="body")
        self._ended = True
        raise failure

    def has_sequel(self) -> bool:
        """Say whether bytes follow the body in the parser's buffer. httpcore tells nowhere, so its parser is asked."""
        try:
            data, _ = _PARSER(self._stream).trailing_data
        except AttributeError:
            return False  # another library, or HTTP/2, which has frames
        return bool(data)

    async def close(self) -> None:
        with suppress(Exception):  # foreign code, and the body was read
            await self._stream.aclose()

    async def drain(self) -> None:
        """Pull until the reader ends or raises: its socket is closed by now, so this does not wait."""
        if not self._ended and self._iterator is not None:
            self._ended = True
            with suppress(Exception):
                while True:
                    await self._iterator.__anext__()
        await self.close()


_PARSER = attrgetter("_httpcore_stream._stream._connection._h11_state")


async def _briefly(closing: Awaitable[None]) -> None:
    """Do a step of throwing a connection away, whatever comes of it."""
    with anyio.CancelScope(shield=True, deadline=anyio.current_time() + _CLOSE_LIMIT), suppress(Exception):
        await closing


def _is_readable(network: Any) -> bool:
    try:
        return bool(network.get_extra_info("is_readable"))
    except ValueError:
        return True  # trio's way to say that httpcore has closed it, after an answer that said so


def _is_silent(tls: ssl.SSLObject) -> bool:
    """Say whether an idle TLS connection has nothing decrypted, or waiting to be, behind its last answer."""
    try:
        tls.read(1)
    except ssl.SSLWantReadError:
        return True
    except ssl.SSLError:
        return False
    return False


def _shut(sock: Any) -> None:
    # uvloop's sockets have no shutdown; there the closing that follows wakes the reader.
    with suppress(OSError, AttributeError, TypeError):
        sock.shutdown(socket.SHUT_RDWR)


def _authority(origin: Origin) -> bytes:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    return (host if origin.port == default else f"{host}:{origin.port}").encode("ascii")


def _translate(error: Exception, *, place: str, sent: bool, phase: str) -> BifrostError:
    """Make our error of a foreign one. The result holds no reference to it and none of its text that could be ours."""
    match error:
        case BifrostError():
            return error
        case httpx.ConnectTimeout():
            failure: BifrostError = CallTimeoutError(f"no connection to {place} in time", phase="connect")
        case httpx.WriteTimeout():
            failure = CallTimeoutError(f"{place} did not take the request in time", phase="write")
        case httpx.TimeoutException():
            failure = CallTimeoutError(f"{place} sent nothing for too long", phase=cast("Any", phase))
        case httpx.ProxyError():
            failure = _proxy_failure(error, place)
        case httpx.ConnectError():
            failure = _connect_failure(error, place)
        case httpx.RemoteProtocolError() | httpx.LocalProtocolError():
            failure = ProtocolError(f"{place} broke the HTTP protocol or cut its answer ({_kind(error)})")
        case httpx.UnsupportedProtocol() | httpx.InvalidURL():
            failure = ConfigError(f"{place} is no address that can be called")
        case _:
            failure = TransportError(f"the exchange with {place} broke off ({_kind(error)})")
    if not sent and failure.fault == "transient":
        failure.fault = "never_sent"
    return failure


def _proxy_failure(error: Exception, place: str) -> BifrostError:
    """Tell a proxy that will never let us through from one that cannot reach the provider just now."""
    status = str(error)[:3]
    if status.startswith("5"):
        return ConnectError(f"the proxy could not connect to {place}: status {status}")
    return ConfigError(f"the proxy on the way to {place} refuses: check HTTPS_PROXY and its credentials")


_OLD_TLS = frozenset(
    {
        "HTTP_REQUEST",
        "NO_PROTOCOLS_AVAILABLE",
        "SSLV3_ALERT_HANDSHAKE_FAILURE",
        "TLSV1_ALERT_PROTOCOL_VERSION",
        "UNSUPPORTED_PROTOCOL",
        "WRONG_VERSION_NUMBER",
    }
)
"""How OpenSSL calls a peer that speaks no TLS, or none that is safe: trying again does not help."""


def _connect_failure(error: Exception, place: str) -> BifrostError:
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return ConfigError(
                f"the certificate of {place} is not trusted ({cause.verify_message}); "
                "if it is yours, name its authority in SSL_CERT_FILE"
            )
        if isinstance(cause, ssl.SSLError) and cause.reason in _OLD_TLS:
            return ConfigError(f"{place} does not speak TLS 1.2 or later ({cause.reason}); check scheme and port")
        if isinstance(cause, OSError) and cause.errno is not None:
            # The system's own words, for which asyncio puts others. Names, TLS and test kits have words of their own.
            is_system = type(cause).__module__ == "builtins"
            return ConnectError(
                f"no connection to {place}: {os.strerror(cause.errno) if is_system else cause.strerror}"
            )
    return ConnectError(f"no connection to {place}")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Go from an error to what lies behind it; of several addresses tried in vain to the first."""
    while error is not None:
        yield error
        group = cast(
            "BaseExceptionGroup[BaseException] | None", error if isinstance(error, BaseExceptionGroup) else None
        )
        error = error.__cause__ or error.__context__ if group is None else group.exceptions[0]


def _kind(value: object) -> str:
    return type(value).__name__
