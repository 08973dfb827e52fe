"""The transports that the suite holds to one behaviour. A new one is one line in `TRANSPORTS`."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import httpx

from bifrost import Bifrost, Key, NetworkConfig, ProviderConfig, RetryConfig, Secret, StaticAccount
from bifrost.testing import RawServer, leak_check, no_waits
from tests.canary import CANARY, Log, listening
from tests.conformance.provider import LEFT, Provider
from tests.engine.peers import Authority
from tests.engine.rig import is_quiet, until
from tests.transport.http2_peer import serving
from tests.transport.proxying import Proxy, Socks

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from anyio.abc import ByteStream

AUTHORITY = Authority()
MODELS = {"openai": "openai/m", "anthropic": "anthropic/m"}


def context() -> ssl.SSLContext:
    """Return a client's context that trusts the suite's authority."""
    import ssl

    return ssl.create_default_context(cadata=AUTHORITY.pem)


@attrs.frozen(kw_only=True)
class Route:
    """How a client reaches the provider."""

    tls: bool = False
    http2: bool = False
    proxy: str | None = None
    """The scheme of the proxy between them."""
    given: Callable[[], Any] | None = None
    """Makes what is given as `transport=`."""
    brings_ca: bool = False
    """What is given has its own certificates, and asks nobody for others."""

    reads_early: bool = True
    """An answer that comes while a request is still being written is read, also if the connection breaks then."""
    pools: bool = False
    """What is given keeps connections by itself."""


def httpx_shared() -> Any:
    """Return a transport of httpx, whose pool all connections share."""
    return httpx.AsyncHTTPTransport(verify=context(), trust_env=False)


def httpx_each() -> Any:
    """Return a function that makes a transport of httpx for each connection."""
    trusting = context()
    return lambda: httpx.AsyncHTTPTransport(verify=trusting, limits=httpx.Limits(max_connections=1), trust_env=False)


TRANSPORTS: Mapping[str, Route] = {
    "default": Route(),
    "default, TLS": Route(tls=True),
    "HTTP/2": Route(tls=True, http2=True),
    "HTTP proxy": Route(proxy="http"),
    "CONNECT proxy": Route(tls=True, proxy="http"),
    "SOCKS proxy": Route(proxy="socks5"),
    "httpx": Route(tls=True, given=httpx_shared, pools=True, brings_ca=True, reads_early=False),
    "callable": Route(tls=True, given=httpx_each, brings_ca=True, reads_early=False),
}


class Forward:
    """An HTTP proxy that hands requests over one by one, as the provider would see them without it."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def __call__(self, stream: ByteStream) -> None:
        async with await anyio.connect_tcp("127.0.0.1", self._port) as there, anyio.create_task_group() as group:
            group.start_soon(self._hand_over, stream, there, group.cancel_scope)
            group.start_soon(_copy, there, stream, group.cancel_scope)

    async def _hand_over(self, source: Any, target: Any, both: anyio.CancelScope) -> None:
        with suppress(*LEFT):
            while True:
                data = b""
                while b"\r\n\r\n" not in data:
                    data += await source.receive()
                head, _, body = data.partition(b"\r\n\r\n")
                method, address, version = head.split(b"\r\n", 1)[0].split(b" ")
                origin = b"http://127.0.0.1:%d" % self._port
                assert address.startswith(origin + b"/"), "the address is whole where a proxy is asked"
                first = b" ".join((method, address.removeprefix(origin), version))
                lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
                left = (int(lengths[0].partition(b":")[2]) if lengths else 0) - len(body)
                try:
                    await target.send(first + b"\r\n" + head.split(b"\r\n", 1)[1] + b"\r\n\r\n" + body)
                    while left > 0:
                        piece = await source.receive(left)
                        await target.send(piece)
                        left -= len(piece)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    # What the provider has said before it left is still to be passed on.
                    return
        both.cancel()


async def _copy(source: Any, target: Any, both: anyio.CancelScope) -> None:
    try:
        while True:
            await target.send(await source.receive())
    except LEFT:
        both.cancel()


class Scene:
    """A client on one of the routes, and the provider that it asks."""

    def __init__(self, route: Route, provider: Provider, server: RawServer, client: Bifrost) -> None:
        self.route = route
        self.provider = provider
        self.server = server
        self.client = client

    @property
    def journal(self) -> Any:
        return self.provider.journal

    async def ask(self, dialect: str, kind: str = "plain", prompt: str = "hi", **options: Any) -> Any:
        """Return the whole answer of a call, streamed or not."""
        with anyio.fail_after(30):
            if kind == "plain":
                return await self.client.chat(MODELS[dialect], prompt, **options)
            async with self.client.stream_chat(MODELS[dialect], prompt, **options) as stream:
                return await stream.final()

    async def quiet(self) -> None:
        await until(lambda: is_quiet(self.client))


@asynccontextmanager
async def staged(route: Route, *scripts: Any, trusts: bool = True, **config: Any) -> AsyncIterator[Scene]:
    """Give a client whose providers are at one server, and see afterwards that nothing is left of either."""
    provider = Provider(*scripts)
    tls: ssl.SSLContext | None = None
    if route.tls:
        tls = AUTHORITY.context()
        tls.set_alpn_protocols(["h2", "http/1.1"] if route.http2 else ["http/1.1"])
    async with AsyncExitStack() as around:
        around.enter_context(no_waits())
        await around.enter_async_context(leak_check())
        server = RawServer(provider.http2 if route.http2 else provider, ssl_context=tls)
        await around.enter_async_context(server)
        network: dict[str, Any] = {"http2": route.http2}
        if route.tls and trusts:
            network["ca"] = AUTHORITY.pem
        if route.proxy is not None:
            handler: Any = Socks() if route.proxy == "socks5" else Proxy() if route.tls else Forward(server.port)
            proxy = await around.enter_async_context(RawServer(handler))
            network["proxy"] = f"{route.proxy}://127.0.0.1:{proxy.port}"
        config = {"retry": RetryConfig(max_retries=0), **config}
        made = {
            name: ProviderConfig(base_url=f"{server.url}{path}", network=NetworkConfig(**network), **config)
            for name, path in (("openai", "/v1"), ("anthropic", ""))
        }
        keys = {name: [Key(name="own", value=Secret(key_for(name)))] for name in made}
        given = None if route.given is None else route.given()
        client = Bifrost(StaticAccount(keys=keys, configs=made), transport=given)
        async with client:
            yield Scene(route, provider, server, client)
            await until(lambda: is_quiet(client))
        if isinstance(given, httpx.AsyncBaseTransport):
            # It was given to be shared, so it is its owner's to close.
            await given.aclose()
        with anyio.fail_after(10):
            await server.all_closed()


@contextmanager
def client_logs() -> Iterator[Log]:
    """Listen to every logger, but for what the provider in the same process says."""
    with listening() as log:
        log.addFilter(lambda _: not serving.get())
        yield log


def key_for(dialect: str) -> str:
    """Return the key of a provider: the canary, which must be seen nowhere but in the journal."""
    return f"{CANARY}-{dialect}"
