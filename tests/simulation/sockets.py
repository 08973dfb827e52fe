"""Runs of worlds over real sockets: on any transport of the conformance suite, in real time, a fiftieth as long."""

from __future__ import annotations

import gc
from contextlib import AsyncExitStack, contextmanager, nullcontext
from random import Random
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from warnings import catch_warnings, simplefilter

import anyio
import attrs
import httpx

from bifrost import Bifrost, NetworkConfig, StaticAccount
from bifrost.engine.clock import Clock
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, RawServer, leak_check
from tests.conformance.transports import AUTHORITY, TRANSPORTS, Forward
from tests.engine.rig import is_quiet, until
from tests.simulation.ledger import Broken, Ledger
from tests.simulation.peer import SimulatedProvider
from tests.simulation.run import Simulation, Slow, Watch, config_of, keys_of, listening_everywhere
from tests.simulation.world import answer_to, shortened, world_of
from tests.transport.http2_peer import serving
from tests.transport.proxying import Proxy, Socks

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost import Plugin, ProviderConfig
    from bifrost.testing.virtual import Backend
    from tests.conformance.transports import Route
    from tests.simulation.world import Settings, World

_FACTOR = 0.02
_LONGEST = 2.0
_LATE = 3.0
"""How much later than its deadline a wait may end on a busy machine, in seconds."""


def simulate_on_sockets(
    seed: int,
    backend: Backend,
    transport: str,
    *,
    client: type[Bifrost] = Bifrost,
    provider: type[SimulatedProvider] = SimulatedProvider,
) -> Ledger:
    """Run the world of a seed on a transport, and judge it. Raises `Broken`, which says how to repeat the run.

    `client` and `provider` can be replaced by defective ones, to test the checker.
    """
    world = shortened(world_of(seed), _FACTOR, longest=_LONGEST)
    route = TRANSPORTS[transport]
    simulation = SocketSimulation(world, route, client, provider)
    try:
        with nullcontext() if route.given is None else _leaks_allowed():
            return anyio.run(simulation.run, backend, backend=backend)
    except AssertionError as error:
        broken = Broken(
            f"{error}\n\nREPLAY={seed} (on {backend}, {transport}): run tests/simulation with this variable"
        )
    raise broken


@contextmanager
def _leaks_allowed() -> Iterator[None]:
    """Ignore connections that were not closed: httpcore leaves one open that is cancelled within its TLS handshake."""
    with catch_warnings():
        simplefilter("ignore", ResourceWarning)
        try:
            yield
        finally:
            gc.collect()


class SocketSimulation(Simulation):
    """A run over sockets."""

    limit = 15.0

    def __init__(self, world: World, route: Route, client: type[Bifrost], provider: type[SimulatedProvider]) -> None:
        super().__init__(world, client, MockTransport, Watch)
        self._route = route
        self._provider_type = provider

    async def run(self, backend: Backend) -> Ledger:
        self._backend = backend
        self._ledger = ledger = Ledger(self._world, anyio.current_time, tolerance=_LATE)
        with listening_everywhere() as log:
            log.addFilter(lambda _: not serving.get())
            async with AsyncExitStack() as around:
                if self._route.given is None:
                    await around.enter_async_context(leak_check())
                await self._lay(around)
                self._client = self._make()
                ledger.watch(self._client, self._server)
                async with self._client:
                    await self._client.providers()
                    for name in self._world.providers:
                        self._remember(name)
                    await self._live()
                    await until(lambda: is_quiet(self._client))
                if isinstance(self._given, httpx.AsyncBaseTransport):
                    await self._given.aclose()
                if self._route.given is None:
                    with anyio.fail_after(10):
                        await self._server.all_closed()
                del self._client
        ledger.heard(log.lines, log.records)
        ledger.judge()
        return ledger

    async def _lay(self, around: AsyncExitStack) -> None:
        """Start the provider, and the proxy if there is one."""
        route = self._route
        tls = AUTHORITY.context() if route.tls else None
        if tls is not None:
            tls.set_alpn_protocols(["h2" if route.http2 else "http/1.1"])
        self._server = await around.enter_async_context(self._provider_type(ssl_context=tls, http2=route.http2))
        self._server.function(lambda request: answer_to(request.messages[-1].text)).always()
        self._server.inject(self._world.faults)
        network: dict[str, Any] = {"http2": route.http2}
        if route.tls:
            network["ca"] = AUTHORITY.pem
        if route.proxy is not None:
            port = self._server.port
            handler: Any = Socks() if route.proxy == "socks5" else Proxy() if route.tls else Forward(port)
            proxy = await around.enter_async_context(RawServer(handler))
            network["proxy"] = f"{route.proxy}://127.0.0.1:{proxy.port}"
        self._network = NetworkConfig(**network)
        self._given = None if route.given is None else route.given()

    def _make(self) -> Bifrost:
        providers = self._world.providers
        account = StaticAccount(
            keys={name: keys_of(settings) for name, settings in providers.items()},
            configs={name: self.config(name, settings) for name, settings in providers.items()},
        )
        clock = Clock(sleep=_sleep, random=Random(self._world.seed).random)
        return self._client_type(account, transport=self._given, plugins=self.plugins(), clock=clock)

    def config(self, name: str, settings: Settings) -> ProviderConfig:
        base_url = f"{self._server.base_url}{urlsplit(CATALOG[name].base_url).path}"
        return attrs.evolve(config_of(settings), base_url=base_url, network=self._network)

    def plugins(self) -> list[Plugin]:
        plugins = super().plugins()
        for plugin in plugins:
            if isinstance(plugin, Slow):
                plugin.seconds *= _FACTOR
        return plugins


async def _sleep(seconds: float) -> None:
    """Wait for a fiftieth of what a client waits between attempts."""
    await anyio.sleep(seconds * _FACTOR)
