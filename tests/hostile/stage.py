"""A client among hostile servers, and what must hold of it afterwards, whatever they did.

After each fault the same client serves a good call, its hooks are paired, the servers saw as many attempts as the
trails tell, nothing is open or running any more, no error of another library came out, and the key was seen nowhere.
"""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, TypeVar

import anyio
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    InvalidRequestError,
    Key,
    NetworkConfig,
    Plugin,
    ProviderConfig,
    RetryConfig,
    StaticAccount,
)
from bifrost.testing import leak_check, no_waits
from tests.canary import CANARY, assert_unseen, listening, shown_by
from tests.conformance.transports import AUTHORITY, Route
from tests.engine.rig import is_quiet, until
from tests.hostile.answers import MODELS, good
from tests.hostile.holds import call_measured, holds_noted
from tests.hostile.proxy import Tunnel
from tests.hostile.server import HostileServer
from tests.plugins.recorder import KINDS, Kind, Recorder, ask, assert_paired

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from bifrost import ChatResponse
    from tests.hostile.server import Script

ErrorT = TypeVar("ErrorT", bound=BifrostError)

LATE = 10.0
"""How much later than its deadline a call may end on a busy machine, in seconds."""
TIMEOUT = 20.0
"""The timeout of a call that is not about timeouts."""
RETRIES = RetryConfig(max_retries=2)
KEY = CANARY
DIRECT = Route()
SPARE = "sk-spare-9x7q5w3z1k"


class Watch(Recorder):
    """Notes the hooks of calls, and keeps no chunks."""

    on_chunk = Plugin.on_chunk  # pyright: ignore[reportAssignmentType] - the base takes the chunks of any operation


class Scene:
    """A client, the server that the provider under test is at, and a good one for the other provider."""

    def __init__(
        self,
        server: HostileServer,
        other: HostileServer,
        make: Callable[[], Bifrost],
        *,
        provider: str,
        timeout: float,
        log: list[str],
    ) -> None:
        self.server = server
        self.other = other
        self.client = make()
        self.model = MODELS[provider]
        self.fallback = MODELS["openai" if provider == "anthropic" else "anthropic"]
        self.calls = 0
        self.attempts = 0
        """Those on the trails of all calls."""
        self.counts = True
        """Whether the servers can have seen every attempt."""
        self._refused = 0
        """Calls that were wrong in themselves: with hooks or without, depending on who found out."""
        self._make = make
        self._timeout = timeout
        self._log = log

    async def ask(self, kind: Kind = "plain", model: str | None = None, **options: Any) -> ChatResponse:
        """Make a call within its deadline; its whole answer."""
        return await self.run(
            lambda: ask(self.client, kind, model or self.model, **options), timeout=options.get("timeout")
        )

    async def run(self, call: Callable[[], Awaitable[ChatResponse]], *, timeout: float | None = None) -> ChatResponse:
        """Make a call in a way of its own."""
        self.calls += 1
        error: BifrostError
        try:
            with anyio.fail_after((timeout or self._timeout) + LATE), call_measured():
                reply = await call()
        except BifrostError as caught:
            error = caught
        else:
            self.attempts += len(reply.attempts)
            return reply
        self.attempts += len(error.attempts)
        self._refused += isinstance(error, InvalidRequestError)
        assert_unseen(*shown_by(error))
        raise error

    async def fails(self, expected: type[ErrorT], kind: Kind = "plain", **options: Any) -> ErrorT:
        """Make a call that fails; its error."""
        with pytest.raises(expected) as caught:
            await self.ask(kind, **options)
        return caught.value

    async def outcome(self, kind: Kind = "plain", **options: Any) -> ChatResponse | BifrostError:
        """Make a call that may fail; its answer or its error."""
        try:
            return await self.ask(kind, **options)
        except BifrostError as error:
            return error

    async def warm(self, kind: Kind = "plain") -> None:
        """Make a good call, so that the next one, which has little time, finds a connection."""
        await self.ask(kind)
        await self.quiet()

    async def renew(self) -> None:
        """Go on with a client that remembers no key that was refused and no provider that could not be reached."""
        await self.quiet()
        await self.client.close()
        self.client = self._make()

    async def heal(self) -> None:
        """See that the same client serves as soon as the server does."""
        self.server.play(good)
        for kind in KINDS:
            reply = await self.ask(kind, f"{self.model.partition('/')[0]}/spare")
            assert reply.text in {"hello", "other"}

    async def quiet(self) -> None:
        """Wait until nothing of the client is in use."""
        await until(lambda: is_quiet(self.client), seconds=LATE)

    def assert_paired(self) -> None:
        """Each hook that was entered was left, once, and each call has its last one."""
        assert_paired(self._log)
        assert self.calls - self._refused <= self._log.count("watch.after_call") <= self.calls


def faults(outcome: ChatResponse | BifrostError) -> list[str | None]:
    """Give what became of each attempt of a call."""
    return [attempt.category for attempt in outcome.attempts]


@asynccontextmanager
async def staged(
    *scripts: Script,
    route: Route = DIRECT,
    server: HostileServer | None = None,
    url: str | None = None,
    provider: str = "openai",
    timeout: float = TIMEOUT,
    keys: Sequence[str] = (KEY,),
    heals: bool = True,
    loud: bool = True,
    receives: int | None = None,
    **config: Any,
) -> AsyncIterator[Scene]:
    """Give a client whose `provider` is at a server that plays `scripts` (or at `url`), and see what it left behind.

    `server` may be given, and have been started, so that its address is known. `config` goes to `ProviderConfig`. The
    client waits for no backoff. `receives` is the size of the server's buffer. `loud=False` leaves out the listening to
    logs, for exchanges of very many events.
    """
    if server is not None or url is not None:
        # The test has a server of its own, at an address of its own.
        route = Route(given=route.given)
    config = {"retry": RETRIES, **config}
    tls = AUTHORITY.context() if route.tls else None
    hooks: list[str] = []
    with ExitStack() as around:
        around.enter_context(no_waits())
        log = around.enter_context(listening()) if loud else None
        async with leak_check(), holds_noted():
            with ExitStack() as servers:
                peer = servers.enter_context(server or HostileServer(*scripts, tls=tls, receives=receives))
                other = servers.enter_context(HostileServer(good, tls=tls))
                scheme = _tunnelled(route)
                tunnels = [servers.enter_context(Tunnel(scheme)) for _ in (peer, other) if scheme is not None]
                second = "openai" if provider == "anthropic" else "anthropic"
                account = StaticAccount(
                    keys={
                        provider: [
                            *(Key(name=f"key {n}", value=key) for n, key in enumerate(keys)),
                            Key(name="spare", value=SPARE, models=["spare"]),
                        ],
                        second: [Key(name="other", value=KEY)],
                    },
                    configs={
                        provider: ProviderConfig(
                            base_url=f"{url or peer.url}/v1", **{**_network(route, peer, tunnels), **config}
                        ),
                        second: ProviderConfig(base_url=f"{other.url}/v1", **_network(route, other, tunnels[1:])),
                    },
                )

                def make() -> Bifrost:
                    return Bifrost(account, plugins=[Watch(hooks, "watch")], transport=route.given, timeout=timeout)

                scene = Scene(peer, other, make, provider=provider, timeout=timeout, log=hooks)
                try:
                    yield scene
                    if heals:
                        await scene.heal()
                    await scene.quiet()
                finally:
                    await scene.client.close()
                scene.assert_paired()
                for each in (peer, other, *tunnels):
                    await each.all_closed()
                if scene.counts:
                    assert peer.attempts + other.attempts == scene.attempts
        if log is not None:
            assert_unseen(*log.lines)


def _tunnelled(route: Route) -> str | None:
    """Return the scheme of the proxy that stands before each server, `None` if there is none."""
    return route.proxy if route.tls or route.proxy != "http" else None


def _network(route: Route, server: HostileServer, tunnels: Sequence[HostileServer]) -> dict[str, Any]:
    """Return the settings with which a client takes this route. Of plain http the server is its own proxy."""
    settings: dict[str, Any] = {"ca": AUTHORITY.pem} if route.tls else {}
    if route.proxy is not None:
        settings["proxy"] = tunnels[0].url if tunnels else server.url
    return {"network": NetworkConfig(**settings)} if settings else {}
