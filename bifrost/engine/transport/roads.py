"""The road to an origin: straight, or through a proxy, with TLS at its end; and how it is laid."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import attrs
import httpcore

from bifrost.engine.transport.body import bound_interim
from bifrost.engine.transport.failures import never_sent
from bifrost.engine.transport.socks import ask_socks
from bifrost.errors import ConnectError
from bifrost.wire.auth import Secret, basic_auth, password_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence

    from bifrost.engine.transport.network import Stream, Wire
    from bifrost.engine.transport.proxies import Proxy
    from bifrost.engine.transport.seam import Origin

HTTP1 = ("http/1.1",)


@attrs.frozen(kw_only=True, eq=False)
class Road:
    """How one origin is reached. Shared by its connections."""

    origin: Origin
    proxy: Proxy | None
    context: ssl.SSLContext | None
    """For TLS, with the origin and with a proxy that wants it; `None` where neither does."""

    def __str__(self) -> str:
        return str(self.origin) if self.proxy is None else f"{self.origin} (through {self.proxy})"

    @property
    def secrets(self) -> tuple[Secret, ...]:
        """What nobody may see of the way there."""
        if self.proxy is None or self.proxy.auth is None:
            return ()
        return (self.proxy.auth, password_of(self.proxy.auth))

    @property
    def forwards(self) -> bool:
        """Requests are handed to an HTTP proxy one by one; there is no tunnel."""
        return self.proxy is not None and not self.proxy.is_socks and self.origin.scheme == "http"

    async def lay(self, wire: Wire, *, seconds: float, protocols: Sequence[str] = HTTP1) -> float:
        """Connect, up to the origin's TLS, within so many seconds. Gives how long it took.

        Raises errors of httpcore, or `ConfigError` and `ConnectError` for what a proxy says. Whatever comes of it, the
        wire has the socket and must be closed.
        """
        began = anyio.current_time()
        try:
            with anyio.fail_after(seconds):
                await self._lay(wire, protocols)
        except TimeoutError as error:
            raise httpcore.ConnectTimeout from error
        wire.laid = True
        return anyio.current_time() - began

    async def _lay(self, wire: Wire, protocols: Sequence[str]) -> None:
        origin, proxy, context = self.origin, self.proxy, self.context
        if proxy is None:
            await wire.connect(origin.host, origin.port)
        else:
            await wire.connect(proxy.host, proxy.port)
            if proxy.scheme == "https" and context is not None:
                await wire.shake_hands(context, proxy.host, protocols=HTTP1)
            if proxy.is_socks:
                await ask_socks(wire.stream, proxy, origin, place=str(self))
            elif not self.forwards:
                await _ask_for_tunnel(wire.stream, proxy, self)
        if origin.scheme == "https" and context is not None:
            await wire.shake_hands(context, origin.host, protocols=protocols)


async def _ask_for_tunnel(stream: Stream, proxy: Proxy, road: Road) -> None:
    origin = road.origin
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    target = f"{host}:{origin.port}".encode("ascii")
    headers = [(b"host", target)]
    if proxy.auth is not None:
        headers.append((b"proxy-authorization", basic_auth(proxy.auth)))
    place = httpcore.Origin(proxy.scheme.encode("ascii"), proxy.host.encode("ascii"), proxy.port)
    url = httpcore.URL(scheme=place.scheme, host=place.host, port=place.port, target=target)
    connection = httpcore.AsyncHTTP11Connection(place, stream)
    bound_interim(connection, place=str(road))
    answer = await connection.handle_async_request(httpcore.Request("CONNECT", url, headers=headers))
    if 200 <= answer.status < 300:
        return
    if answer.status >= 500:
        raise never_sent(ConnectError(f"the proxy could not connect to {road}: status {answer.status}"))
    raise proxy.refusal(road)
