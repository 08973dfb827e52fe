"""bifrost's own transport: HTTP/1.1, and HTTP/2 if it is configured."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio
import attrs

from bifrost.config import ProviderConfig
from bifrost.event_loop import spawn
from bifrost.transport.api import Transport
from bifrost.transport.http11 import Http1Connection
from bifrost.transport.logs import guard_loggers
from bifrost.transport.proxies import Proxy, check_plain, proxy_of
from bifrost.transport.routes import Route
from bifrost.transport.tls import context_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable

    from bifrost.transport.api import Connection, Origin, Task
    from bifrost.transport.http2_link import Http2Link

_log = logging.getLogger("bifrost.transport")


@attrs.define(eq=False)
class _SharedState:
    """What the transports of a client's providers share."""

    usual: ssl.SSLContext | None = None
    """The SSL context of all providers without their own certificates, because loading the usual ones takes time."""
    announced: set[str] = attrs.field(factory=set[str])


@attrs.define(eq=False)
class DirectTransport(Transport):
    """Connections of bifrost itself. `for_provider` returns the transport with a provider's own network settings.

    By default, the environment's variables for proxies (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY`) and for
    authorities (`SSL_CERT_FILE`, `SSL_CERT_DIR`) are used in the same way as in httpx's client.
    """

    _config: ProviderConfig = attrs.field(factory=ProviderConfig)
    _shared: _SharedState = attrs.field(factory=_SharedState)
    _run: Callable[[Task], None] = spawn
    """Starts the tasks of a shared connection."""
    _context: ssl.SSLContext | None = attrs.field(default=None, init=False)
    _sessions: dict[str, ssl.SSLSession] = attrs.field(factory=dict[str, "ssl.SSLSession"], init=False)
    """The latest TLS session with each origin."""
    _links: dict[Origin, list[Http2Link]] = attrs.field(factory=dict["Origin", "list[Http2Link]"], init=False)

    def __attrs_post_init__(self) -> None:
        guard_loggers()

    def for_provider(self, config: ProviderConfig, run: Callable[[Task], None] = spawn) -> Transport:
        """Return the transport for one provider. `run` starts tasks in the client's task group."""
        return DirectTransport(config, self._shared, run)

    def open(self, origin: Origin) -> Connection:
        """Return a new connection. Certificates are loaded with the first that needs them. Raises `ConfigError`."""
        if self._config.network.http2 and origin.scheme == "https":
            return self._http2(origin)
        return Http1Connection(self._route(origin))

    def _http2(self, origin: Origin) -> Connection:
        from bifrost.transport.http2 import Http2Connection, check_installed
        from bifrost.transport.http2_link import Http2Link

        links = self._links.setdefault(origin, [])
        links[:] = [link for link in links if link.lent > 0]
        if any(link.only_http1 for link in links):
            return Http1Connection(self._route(origin))
        found = next((link for link in links if link.takes_more), None)
        if found is None:
            check_installed()
            found = Http2Link(
                self._route(origin),
                most=self._config.network.streams_per_connection,
                retire_at=anyio.current_time() + self._config.connections.age,
                run=self._run,
            )
            links.append(found)
        return Http2Connection(found)

    def _route(self, origin: Origin) -> Route:
        proxy = proxy_of(self._config.network, origin)
        if proxy is not None:
            check_plain(proxy, origin, allow_insecure_http=self._config.allow_insecure_http)
            self._announce(origin, proxy)
        needs_tls = origin.scheme == "https" or (proxy is not None and proxy.scheme == "https")
        return Route(origin=origin, proxy=proxy, context=self._tls() if needs_tls else None, sessions=self._sessions)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            network = self._config.network
            if (network.ca, network.client_certificate, network.ssl_context) == (None, None, None):
                self._shared.usual = self._shared.usual or context_of(network)
                self._context = self._shared.usual
            else:
                self._context = context_of(network)
        return self._context

    def _announce(self, origin: Origin, proxy: Proxy) -> None:
        """Log once which proxy is used, without its password."""
        message = f"the {proxy.source} sends {origin.scheme} through the proxy {proxy.host}"
        if message not in self._shared.announced:
            self._shared.announced.add(message)
            _log.info("%s", message)
