"""The life of a client's engine: new, running, draining, closed. It also keeps what belongs to its event loop."""

from __future__ import annotations

import math
import warnings
from contextlib import suppress
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio

from bifrost.account import LiveAccount
from bifrost.config import ProviderConfig
from bifrost.context import CallContext
from bifrost.engine.active import Active
from bifrost.engine.call import Call
from bifrost.engine.clock import Clock
from bifrost.engine.explain import describe, explain
from bifrost.engine.host import Host
from bifrost.engine.path import Path
from bifrost.engine.providers.upstreams import Upstreams
from bifrost.engine.streaming.chunk_stream import ChunkStream, whole_of
from bifrost.engine.streaming.parsed_stream import ParsedStream
from bifrost.errors import (
    BifrostError,
    CallTimeoutError,
    ClientClosedError,
    InternalError,
    ShuttingDownError,
    UsageError,
)
from bifrost.plugins.base import LATE_ALL, Chain
from bifrost.reports.stats import Stats
from bifrost.telemetry.subscribers import Subscribers

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from bifrost.account import Account, Change
    from bifrost.config import CallOptions
    from bifrost.engine.map import Inputs, MapCalls
    from bifrost.operations.base import Operation
    from bifrost.plugins.base import Plugin
    from bifrost.reports.explanation import Explanation
    from bifrost.reports.providers import ProviderTable
    from bifrost.routing.plan import ModelGroups
    from bifrost.transport import Transport

    ModelOf: TypeAlias = Callable[[Any], str | None]
    """Returns the model that an input of a map specifies itself."""

State: TypeAlias = Literal["new", "running", "draining", "closed"]

DRAIN = 30.0
"""How long `close` waits for running calls by default, in seconds."""

_CUT_OFF_LIMIT = LATE_ALL + 1.0
"""How long to wait for the `after*` hooks of calls that were cut off before plugins are closed, in seconds."""

_MODELS_KNOWN = 1_000
"""How many names of models a map remembers as prepared."""

_UNREAD_LIMIT = 1.0
"""How long a drain waits for streams that nobody is reading, in seconds."""

_DEFAULT = ProviderConfig()


class Running:
    """What belongs to one event loop: the host task, the providers in use, and the path of calls."""

    __slots__ = ("active", "calls", "ending", "host", "path", "upstreams")

    def __init__(self, engine: Engine) -> None:
        self.calls = 0
        """The number of calls that have begun."""
        self.active = Active()
        """The calls that have begun and not ended. A stream counts until it is open, and again while it ends."""
        self.ending = False
        """Whether the plugins are being closed."""
        self.host = engine.new_host()
        self.host.start()
        self.upstreams = engine.new_upstreams(self.host)
        self.path = Path(self.upstreams, engine.clock, self.host, self.active)


class _Places:
    """The number of concurrent calls of a map: the lowest current limit of its providers."""

    __slots__ = ("_chain", "_models", "_operation", "_options", "_providers", "_running")

    def __init__(
        self, running: Running, operation: Operation[Any, Any, Any], options: CallOptions, chain: Chain
    ) -> None:
        self._running = running
        self._operation = operation
        self._options = options
        self._chain = chain
        self._models: set[str] = set()
        self._providers: set[str] = set()

    async def add(self, model: str, *, strict: bool = False) -> None:
        """Also use the providers of a model.

        Raises `BifrostError` if `strict` and no plugin can redirect the call.
        """
        if model in self._models:
            return
        if len(self._models) >= _MODELS_KNOWN:
            self._models.clear()
        self._models.add(model)
        host, upstreams = self._running.host, self._running.upstreams
        context = CallContext(operation=self._operation, model=model, options=self._options, started=host.now())
        try:
            self._providers.update(await upstreams.providers_of(context))
        except BifrostError:
            if strict and not self._chain.names_models:
                raise

    def __call__(self) -> int:
        return self._running.upstreams.places(self._providers) or (_DEFAULT.concurrency if self._models else 1)


class Engine:
    """What all copies of one client share: its plugins, and per event loop a host with the providers in use."""

    def __init__(
        self,
        account: Account,
        *,
        groups: ModelGroups,
        plugins: Sequence[Plugin],
        transport: Transport,
        clock: Clock,
        user_agent: str,
        telemetry: Subscribers | None = None,
    ) -> None:
        self.state: State = "new"
        # This comes first, since an engine whose construction fails is finalised too.
        self._running: Running | None = None
        self.account = LiveAccount(account, remembered=groups.providers)
        self.chain = Chain(plugins)
        self._groups = groups
        self._transport = transport
        self.clock = clock
        self._telemetry = telemetry or Subscribers()
        self._user_agent = user_agent

    # --- calls

    async def run(
        self,
        operation: Operation[Any, Any, Any],
        request: Any,
        options: CallOptions,
        *,
        output: Any = None,
        max_output_retries: int = 0,
    ) -> Any:
        """Run a complete call and return its response."""
        running = await self._ready(options.timeout)
        context = CallContext(operation=operation, model=request.model, options=options, started=running.host.now())
        running.calls += 1
        return await running.path.run(
            Call(context, request, self.chain, output=output, max_output_retries=max_output_retries)
        )

    def stream(
        self,
        operation: Operation[Any, Any, Any],
        request: Any,
        options: CallOptions,
        *,
        output: Any = None,
    ) -> ChunkStream:
        """Return a stream whose call begins when the stream is entered."""

        async def opening(stream: ChunkStream) -> None:
            running = await self._ready(options.timeout)
            context = CallContext(
                operation=operation,
                model=request.model,
                options=options,
                started=running.host.now(),
                is_stream=True,
            )
            running.calls += 1
            await running.path.run(Call(context, request, self.chain, stream, output=output))

        streaming = operation.streaming
        if streaming is None:
            raise UsageError(f"{operation.name} is never streamed")
        restarts = options.on_interrupt == "restart" and streaming.reset is not None
        if output is not None:
            return ParsedStream(opening, streaming=streaming, on_lost=self._lost, restarts=restarts, output=output)
        return ChunkStream(opening, streaming=streaming, on_lost=self._lost, restarts=restarts)

    async def begin_map(
        self,
        calls: MapCalls,
        inputs: Inputs | None,
        *,
        operation: Operation[Any, Any, Any],
        options: CallOptions,
        model: str | None,
        model_of: ModelOf,
    ) -> Host:
        """Start the task of a map. Without its own `concurrency`, its limit is that of its providers.

        Raises the error of a call of `model` that reaches no candidate.
        """
        running = await self._ready(options.timeout)
        host = running.host
        calls.accepting = lambda: self.state == "running" and host.alive
        if calls.concurrency is None:
            places = _Places(running, operation, options, self.chain)
            with anyio.move_on_after(options.timeout) as scope:
                if model is not None:
                    await places.add(model, strict=True)
            if scope.cancelled_caught:
                raise CallTimeoutError(
                    f"the timeout of {options.timeout:g} s ended while the account was asked", phase="hook"
                )

            async def prepare(item: Any) -> None:
                with suppress(BifrostError):  # The call itself says so.
                    if (named := model_of(item)) is not None:
                        await places.add(named)

            calls.places, calls.prepare = places, prepare
            if not host.alive:
                self._refuse(host)
        host.run(calls.own, inputs, context=copy_context())
        return host

    def _lost(self, source: Any, settle: Any, accumulator: Any, context: Any) -> None:
        """End a stream that was dropped without being closed. Called from a finaliser, in any thread."""
        if self._running is None or not self._running.host.alive:
            return
        host = self._running.host

        def end() -> None:
            source.release()
            if settle is not None and host.alive:
                host.run(settle, whole_of(accumulator, ["dropped_unclosed"]), context=context)

        host.call_soon(end)

    # --- what it tells

    async def explain(
        self,
        operation: Operation[Any, Any, Any],
        request: Any,
        options: CallOptions,
        *,
        is_stream: bool,
        output: Any,
    ) -> Explanation:
        """Describe what a call would do, without making it."""
        running = await self._ready(options.timeout)
        context = CallContext(
            operation=operation,
            model=request.model,
            options=options,
            started=running.host.now(),
            is_stream=is_stream,
        )
        with anyio.move_on_after(options.timeout):
            return await explain(running.upstreams, context, request, self.chain, output=output)
        raise CallTimeoutError(f"the timeout of {options.timeout:g} s ended while the account was asked", phase="hook")

    async def providers(self) -> ProviderTable:
        """Describe how the providers are set up."""
        return await describe((await self._ready()).upstreams)

    def stats(self) -> Stats:
        """Return the current counts, and those since the client opened. Works in any thread and state."""
        running = self._running
        if running is None:
            return Stats(state=self.state)
        return Stats(state=self.state, calls=running.calls, providers=running.upstreams.stats())

    # --- plugins

    async def change_plugins(self, change: Callable[[Chain], Chain]) -> None:
        """Replace the chain of plugins; running calls keep theirs.

        Opens the added plugins and closes the removed ones.
        """
        wanted = change(self.chain)
        came = [plugin for plugin in wanted.plugins if plugin not in self.chain.plugins]
        if self.state == "running":
            await wanted.open(came)
            if came and self._is_ending():
                # Nothing else would close them.
                await wanted.close(came)
                self._refuse(None)
        try:
            # Others may have changed the plugins while these were opening; their changes must not be lost.
            changed = change(self.chain)
        except BifrostError:
            await wanted.close(came)
            raise
        before, self.chain = self.chain, changed
        if self.state == "running":
            await before.close([plugin for plugin in before.plugins if plugin not in changed.plugins])

    # --- providers

    async def warm_up(self, names: Sequence[str], count: int) -> None:
        """Open connections to these providers in advance."""
        running = await self._ready()
        await running.upstreams.warm_up(names, count)

    async def refresh(self, names: Collection[str] | None = None, *, drain: float = DRAIN) -> None:
        """Apply the account's current settings."""
        running = self._running
        if self.state == "running" and running is not None and not running.host.ended:
            running.host.check()
            await running.host.ready()
            await running.upstreams.refresh(names, drain=drain)

    async def change_provider(self, name: str, change: Change, *, drain: float = DRAIN) -> None:
        """Override the account's settings of a provider. If that fails, nothing is changed."""
        before = self.account.put(name, change)
        try:
            await self.refresh((name,), drain=drain)
        except BifrostError:
            self.account.put_back(name, before, change=change)
            raise
        self.account.settle(name, change)

    # --- life

    async def open(self) -> None:
        """Start the host task and the plugins. Can be called repeatedly, from any task of one event loop."""
        await self._ready()

    async def _ready(self, timeout: float = math.inf) -> Running:
        running = self._running
        if running is None or not running.host.here():
            running = await self._elsewhere(running, timeout)
        if self.state != "running":
            self._refuse(running.host)
        return running

    async def _elsewhere(self, running: Running | None, timeout: float) -> Running:
        """Start at first use, and again if the loop of an earlier start has ended. Otherwise raise the reason."""
        if running is not None and not running.host.ended:
            running.host.check()
        else:
            if self._is_ending():
                self._refuse(None)
            self.state = "running"
            running = self._running = Running(self)
        with anyio.move_on_after(timeout) as scope:
            await running.host.ready()
        if scope.cancelled_caught:
            raise CallTimeoutError(
                f"the timeout of {timeout:g} s ended while the client was opening: a plugin's `open` takes that long",
                phase="hook",
            )
        return running

    def new_host(self) -> Host:
        """Create a host for the running loop."""
        return Host(setup=self._open_plugins, on_end=self._ended, telemetry=self._telemetry)

    def new_upstreams(self, host: Host) -> Upstreams:
        """Create the collection of a host's providers."""
        return Upstreams(
            self.account,
            groups=self._groups,
            host=host,
            transport=self._transport,
            clock=self.clock,
            user_agent=self._user_agent,
        )

    async def _open_plugins(self) -> None:
        await self.chain.open()
        running = self._running
        if self._is_ending() and running is not None and not running.ending:
            # Whoever has closed the client meanwhile has taken it for one whose plugins would not come to be open.
            running.ending = True
            with anyio.CancelScope(shield=True):
                await self.chain.close()

    def _is_ending(self) -> bool:
        return self.state in ("draining", "closed")

    def _refuse(self, host: Host | None) -> None:
        if host is not None and host.failure is not None:
            failure = host.failure
            if isinstance(failure, BifrostError):
                raise failure
            raise InternalError(f"the client's host task failed: {type(failure).__name__}") from failure
        if self.state == "draining":
            raise ShuttingDownError("the client is being closed")
        raise ClientClosedError(
            "this client was closed; make a new one, or move the call inside its `async with` block"
        )

    def _ended(self, host: Host) -> None:
        """Handle the end of a host, whatever its cause. Synchronous, since the loop may be ending too."""
        running = self._running
        if running is None or host is not running.host:
            return
        if host.failure is not None:
            error: BifrostError = InternalError(f"the client's host task failed: {type(host.failure).__name__}")
            error.__cause__ = host.failure
        else:
            error = ShuttingDownError("the client was closed while this call was running")
        running.upstreams.refuse_all(error)
        if self.state == "running":
            # The loop ended rather than the user closing the client, so it may open again on another loop.
            self.state = "new"

    async def close(self, *, drain: float = DRAIN) -> None:
        """Close the client: refuse new calls, let running ones finish for up to `drain` seconds, then cancel them."""
        running = self._running
        if running is None or running.host.ended:
            self.state = "closed"
            return
        running.host.check()
        self.state = "draining"
        try:
            await self._drain(running, drain)
        finally:
            # Also if the caller is cancelled while waiting, since nothing may be left running.
            with anyio.CancelScope(shield=True):
                # A host that is still opening closes what it has opened when it is stopped.
                last = running.host.alive and not running.ending
                running.ending = running.ending or last
                await running.host.stop()
                if last:
                    # Calls that were cut off must still run their `after*` hooks.
                    with anyio.move_on_after(_CUT_OFF_LIMIT):
                        await running.active.ended()
                    await self.chain.close()
            self.state = "closed"

    def abandon(self) -> None:
        """End at once, from any thread and without waiting. Plugins are not closed."""
        self.state = "closed"
        if self._running is not None:
            self._running.host.call_soon(self._running.host.request_stop)

    async def _drain(self, running: Running, seconds: float) -> None:
        running.upstreams.refuse_queued(ShuttingDownError("the client is being closed"))
        if seconds <= 0:
            return
        end = anyio.current_time() + seconds
        with anyio.CancelScope(deadline=end):
            await running.active.ended()
        with anyio.CancelScope(deadline=end):
            await running.upstreams.streams_ended(unread_limit=_UNREAD_LIMIT)

    def __del__(self) -> None:
        running = self._running
        if self.state == "closed" or running is None or running.host.is_parents:
            # A child process after a fork has opened nothing; what it drops belongs to its parent.
            return
        warnings.warn(
            "a bifrost client was never closed; use `async with Bifrost() as client:` (`with` for SyncBifrost) "
            "or its close()",
            ResourceWarning,
            stacklevel=2,
            source=self,
        )
        if running.host.alive:
            running.host.call_soon(running.host.request_stop)
