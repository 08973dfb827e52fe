"""The route to an origin, direct or through a proxy, with TLS at its end, and how it is established."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs

from bifrost.errors import ConnectError
from bifrost.transport.failures import never_sent
from bifrost.transport.heads import credentials_of_proxy
from bifrost.transport.socks import ask_socks
from bifrost.transport.wires import ConnectTimeoutError, PeerError
from bifrost.wire.http.request import request_head
from bifrost.wire.http.response import HttpFormatError, ResponseParser
from bifrost.wire.secrets import Secret, password_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from bifrost.transport.api import Origin
    from bifrost.transport.network import Network
    from bifrost.transport.proxies import Proxy

HTTP1 = ("http/1.1",)


@attrs.frozen(kw_only=True, eq=False)
class Route:
    """The route to one origin, shared by its connections."""

    origin: Origin
    proxy: Proxy | None
    context: ssl.SSLContext | None
    """For TLS with the origin and with a proxy that uses it; `None` if neither does."""
    sessions: dict[str, ssl.SSLSession] = attrs.field(factory=dict[str, "ssl.SSLSession"])
    """The latest TLS session with each origin, which shortens the next handshake."""

    def __str__(self) -> str:
        return str(self.origin) if self.proxy is None else f"{self.origin} (through {self.proxy})"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """The secrets of the route, which must not be logged."""
        if self.proxy is None or self.proxy.auth is None:
            return ()
        return (self.proxy.auth, password_of(self.proxy.auth))

    @property
    def forwards(self) -> bool:
        """Whether requests are sent to an HTTP proxy one by one, without a tunnel."""
        return self.proxy is not None and not self.proxy.is_socks and self.origin.scheme == "http"

    async def connect(self, network: Network, *, seconds: float, protocols: Sequence[str] = HTTP1) -> float:
        """Connect within `seconds`, including TLS with the origin. Returns how long it took, in seconds.

        Raises `WireError`, and `ConfigError` or `ConnectError` for errors of a proxy. In any case the network holds the
        socket and must be closed.
        """
        began = anyio.current_time()
        try:
            with anyio.fail_after(seconds):
                await self._lay(network, protocols)
        except TimeoutError as error:
            raise ConnectTimeoutError from error
        network.connected = True
        return anyio.current_time() - began

    def remember(self, network: Network) -> None:
        """Store the TLS session of a connection, for the next handshake with the origin."""
        session = network.session
        if session is not None:
            self.sessions[str(self.origin)] = session

    async def _lay(self, network: Network, protocols: Sequence[str]) -> None:
        origin, proxy, context = self.origin, self.proxy, self.context
        if proxy is None:
            await network.connect(origin.host, origin.port)
        else:
            await network.connect(proxy.host, proxy.port)
            if proxy.scheme == "https" and context is not None:
                await network.shake_hands(context, proxy.host, protocols=HTTP1)
            if proxy.is_socks:
                await ask_socks(network, proxy, origin, place=str(self))
            elif not self.forwards:
                await _ask_for_tunnel(network, proxy, self)
        if origin.scheme == "https" and context is not None:
            session = self.sessions.get(str(origin))
            await network.shake_hands(context, origin.host, protocols=protocols, session=session)


async def _ask_for_tunnel(network: Network, proxy: Proxy, route: Route) -> None:
    origin = route.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode("ascii")
    await network.write(request_head(b"CONNECT", target, [(b"host", target), *credentials_of_proxy(proxy)]))
    answer = ResponseParser(bodiless=True)
    problem: str | None = None
    try:
        while not answer.status:
            data = await network.read()
            if data:
                answer.feed(data)
            else:
                answer.end()
    except HttpFormatError as error:
        problem = str(error)
    if problem is not None:
        raise PeerError(problem)
    if answer.rest:
        raise PeerError("the proxy speaks before it is spoken to")
    if 200 <= answer.status < 300:
        return
    if answer.status >= 500:
        raise never_sent(ConnectError(f"the proxy could not connect to {route}: status {answer.status}"))
    raise proxy.refusal(route)
