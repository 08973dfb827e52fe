"""Lets a world happen: the whole client over a provider in memory, in virtual time, on either event loop.

The same world on the same loop happens the same way each time, down to the order of the tasks.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import contextmanager, nullcontext
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from bifrost import (
    AdaptiveConfig,
    Bifrost,
    BifrostError,
    ChatResponse,
    HedgeConfig,
    Key,
    Plugin,
    ProviderConfig,
    StaticAccount,
)
from bifrost.config import RetryConfig, SizeLimits, Timeouts
from bifrost.engine.clock import Clock
from bifrost.errors import ClientClosedError, ConfigError, ShuttingDownError
from bifrost.operations.chat.content import TextPart
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.chat.response import Choice
from bifrost.routing.hedge import LEAST
from bifrost.testing import MockTransport, fake_key, leak_check, run_virtual
from tests.canary import Log
from tests.engine.rig import is_quiet, until
from tests.engine.seeded import ordered_by
from tests.simulation.ledger import Broken, Ledger, number_of
from tests.simulation.world import ATTEMPTS_TOTAL, MODELS, answer_to

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost import CallContext
    from bifrost.testing.virtual import Backend
    from tests.simulation.ledger import Entry
    from tests.simulation.world import Ask, Change, Settings, World

_QUIET = 2_000.0
"""So long after the last call everything has recovered: keys that were parked, breakers that were open."""
_LIMIT = 50_000.0
"""A call that is not back by then never comes."""


def simulate(
    world: World,
    backend: Backend,
    *,
    client: type[Bifrost] = Bifrost,
    transport: type[MockTransport] = MockTransport,
    watch: type[Watch] | None = None,
) -> Ledger:
    """Let a world happen and judge it. Raises `Broken`, which says how to see it again.

    What is looked at may be replaced, to see that the checker sees.
    """
    simulation = Simulation(world, client, transport, watch or Watch)
    try:
        # asyncio takes its tasks in one order anyway.
        with ordered_by(world.seed) if backend == "trio" else nullcontext():
            return run_virtual(simulation.run, backend, backend=backend)
    except AssertionError as error:
        broken = Broken(f"{error}\n\nREPLAY={world.seed} (on {backend}): run the simulation's tests with this variable")
    raise broken


class Watch(Plugin):
    """Notes every hook; what it does beside that is for its kinds below."""

    def __init__(self, name: str, ledger: Ledger) -> None:
        self.name = name
        self.ledger = ledger

    async def before_call(self, call: CallContext, request: Any) -> Any:
        number = call.values[Watch] = number_of(request)
        if number in self.ledger.entries:
            self.ledger.entries[number].context = call
        self._note(call, "before_call")
        return await self.act(call, "before_call")

    async def after_call(self, call: CallContext, outcome: Any) -> Any:
        self._note(call, "after_call")
        return await self.act(call, "after_call")

    async def before(self, call: CallContext, request: Any) -> Any:
        self._note(call, "before")
        return await self.act(call, "before")

    async def after(self, call: CallContext, outcome: Any) -> Any:
        self._note(call, "after")
        return await self.act(call, "after")

    async def act(self, call: CallContext, hook: str) -> Any:
        """Do what this plugin is for."""

    def _note(self, call: CallContext, hook: str) -> None:
        if call.values[Watch] >= 0:
            self.ledger.hook(call.values[Watch], f"{self.name}.{hook}")


class Slow(Watch):
    """Waits in its hooks: for a while in those before, for a turn of the loop in those after."""

    seconds = 0.25

    async def act(self, call: CallContext, hook: str) -> Any:
        await anyio.sleep(self.seconds if hook == "before" else 0)


class Fragile(Watch):
    """Fails now and then."""

    async def act(self, call: CallContext, hook: str) -> Any:
        if call.values[Watch] in range(10, 1000, 11) and hook in ("before_call", "after"):
            raise LookupError("a plugin's own mistake")


class Memory(Watch):
    """Answers some calls by itself."""

    async def act(self, call: CallContext, hook: str) -> Any:
        number = call.values[Watch]
        if hook != "before" or number not in range(12, 1000, 13):
            return None
        entry = self.ledger.entries[number]
        entry.answered_by_plugin = True
        message = AssistantMessage(parts=[TextPart(text=entry.ask.answer)])
        return ChatResponse(id="remembered", choices=[Choice(index=0, message=message, finish_reason="stop")])


class Simulation:
    """A run of a world."""

    limit = _LIMIT
    """A call that has not ended after so many seconds never does."""

    def __init__(self, world: World, client: type[Bifrost], transport: type[MockTransport], watch: type[Watch]) -> None:
        self._world = world
        self._client_type = client
        self._transport_type = transport
        self._watch_type = watch

    async def run(self, backend: Backend) -> Ledger:
        world = self._world
        self._backend = backend
        self._ledger = ledger = Ledger(world, anyio.current_time)
        self._mock = mock = self._transport_type()
        mock.function(lambda request: answer_to(request.messages[-1].text)).always()
        mock.inject(world.faults)
        with listening_everywhere() as log:
            async with leak_check():
                self._client = self._make()
                ledger.watch(self._client, mock)
                async with self._client:
                    await self._client.providers()
                    for name in world.providers:
                        self._remember(name)
                    await self._live()
                    if ledger.closing is None:
                        await self._recover()
                        await until(lambda: is_quiet(self._client))
                del self._client
        ledger.heard(log.lines, log.records)
        ledger.judge()
        return ledger

    def _make(self) -> Bifrost:
        providers = self._world.providers
        account = StaticAccount(
            keys={name: keys_of(settings) for name, settings in providers.items()},
            configs={name: self.config(name, settings) for name, settings in providers.items()},
        )
        clock = Clock(random=Random(self._world.seed).random, wall=lambda: 1.7e9 + anyio.current_time())
        return self._client_type(account, transport=self._mock, plugins=self.plugins(), clock=clock)

    def config(self, name: str, settings: Settings) -> ProviderConfig:
        """Return the configuration of a provider."""
        return config_of(settings)

    def plugins(self) -> list[Plugin]:
        """Return the plugins of the client."""
        ledger = self._ledger
        fragile = Fragile("fragile", ledger)
        fragile.on_error = self._world.guard
        first, last = self._watch_type("first", ledger), self._watch_type("last", ledger)
        return [first, Slow("slow", ledger), fragile, Memory("memory", ledger), last]

    async def _live(self) -> None:
        """Let all that is planned happen, and wait until the last call is back."""
        with anyio.move_on_after(self.limit) as scope:
            async with anyio.create_task_group() as group:
                for change in self._world.changes:
                    group.start_soon(self._change, change)
                if self._world.close_at is not None:
                    group.start_soon(self._close, self._world.close_at)
                for ask in self._world.asks:
                    group.start_soon(self._call, ask)
        if scope.cancelled_caught:
            self._ledger.problem("I5", "somebody never came back")

    async def _recover(self) -> None:
        """When the faults are over and time has passed, every provider serves again: I9."""
        await anyio.sleep(_QUIET)
        self._mock.forget()
        self._mock.reply("well").always()
        for name, model in MODELS.items():
            answer = "nothing"
            with anyio.move_on_after(60):
                try:
                    answer = (await self._client.chat(f"{name}/{model}", "are you well?", timeout=60)).text
                except BifrostError as error:
                    answer = repr(error)
            if answer != "well":
                self._ledger.problem("I9", f"{name} does not serve any more: {answer}")

    def _remember(self, name: str) -> None:
        """Let a provider's answers have been quick so far, so that those that are not are hedged."""
        running = self._client._engine._running
        upstream = None if running is None else running.upstreams._upstreams.get(name)
        hedging = None if upstream is None else upstream.health.hedging
        if hedging is not None:
            for _ in range(LEAST):
                hedging.took("chat", MODELS[name], 0.1)

    # --- what happens

    async def _close(self, at: float) -> None:
        await anyio.sleep(at)
        self._ledger.closing = at
        self._ledger.note("close")
        await self._client.close(drain=self._world.drain)

    async def _change(self, change: Change) -> None:
        await anyio.sleep(change.at)
        ledger, name, settings = self._ledger, change.provider, change.settings
        ledger.concurrency[name] = max(ledger.concurrency[name], settings.concurrency)
        ledger.retries[name] = max(ledger.retries[name], settings.max_retries)
        ledger.keys[name] |= set(settings.keys)
        ledger.note(f"change {name}")
        try:
            if change.away is None:
                await self._client.update_provider(name, keys=keys_of(settings), config=self.config(name, settings))
            else:
                await self._client.remove_provider(name, drain=1.0)
                await anyio.sleep(change.away)
                await self._client.add_provider(name, keys=keys_of(settings), config=self.config(name, settings))
            self._remember(name)
        except (ClientClosedError, ShuttingDownError):
            if ledger.closing is None:
                raise
        except ConfigError as error:
            # Two changes cross: it is away already, or back already.
            if "is not configured" not in str(error) and "configured already" not in str(error):
                raise

    async def _call(self, ask: Ask) -> None:
        await anyio.sleep(ask.at)
        entry = self._ledger.submitted(ask)
        if ask.leave is None:
            await self._work(entry)
            return
        leave, now = ask.leave, anyio.current_time()
        entry.leaving = now + leave.after
        if leave.style == "scope" or self._backend == "trio":
            with anyio.CancelScope(deadline=entry.leaving):
                await self._work(entry)
            return
        task = asyncio.create_task(self._work(entry))
        if leave.style == "task":
            asyncio.get_running_loop().call_later(leave.after, task.cancel)
            await asyncio.wait([task])
        else:
            await asyncio.wait([asyncio.create_task(_patient(task, leave.after))])
        if not task.cancelled():
            task.result()
        if not entry.ends:
            # It was cancelled before it took its first step.
            self._ledger.ended(entry, "cancelled")

    async def _work(self, entry: Entry) -> None:
        ledger = self._ledger
        try:
            text = await self._ask(entry)
        except anyio.get_cancelled_exc_class():
            ledger.ended(entry, "cancelled")
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the ledger judges it
            ledger.ended(entry, "failed", error=error)
        else:
            ledger.ended(entry, "succeeded", text=text)

    async def _ask(self, entry: Entry) -> str:
        ask = entry.ask
        model, *fallbacks = ask.models
        if ask.kind == "plain":
            return (await self._client.chat(model, ask.question, fallbacks=fallbacks, timeout=ask.timeout)).text
        stream = self._client.stream_chat(model, ask.question, fallbacks=fallbacks, timeout=ask.timeout)
        with _timed(entry):
            await stream.__aenter__()
        if ask.kind == "dropped":
            with _timed(entry):
                return (await stream.__anext__()).text
        text = ""
        try:
            count = 0
            while ask.kind == "stream" or count < ask.take:
                try:
                    with _timed(entry):
                        text += (await stream.__anext__()).text
                except StopAsyncIteration:
                    break
                count += 1
                await anyio.sleep(ask.pace)
        finally:
            with _timed(entry):
                await stream.close()
        return text


async def _patient(task: asyncio.Task[None], seconds: float) -> None:
    """Wait for a task so long, and cancel it then."""
    try:
        await asyncio.wait_for(task, seconds)
    except (TimeoutError, asyncio.CancelledError):
        return


@contextmanager
def _timed(entry: Entry) -> Iterator[None]:
    began = anyio.current_time()
    try:
        yield
    finally:
        entry.pulls.append((began, anyio.current_time()))


class Records(Log):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        super().emit(record)


@contextmanager
def listening_everywhere() -> Iterator[Records]:
    """Listen to every logger there is; asyncio's own way to tell of its events is none."""
    log, root = Records(), logging.getLogger()
    level = root.level
    root.addHandler(log)
    root.setLevel(logging.DEBUG)
    try:
        yield log
    finally:
        root.removeHandler(log)
        root.setLevel(level)


def keys_of(settings: Settings) -> list[Key]:
    return [Key(name=name, value=fake_key(name)) for name in settings.keys]


def config_of(settings: Settings) -> ProviderConfig:
    return ProviderConfig(
        concurrency=settings.concurrency,
        adaptive=None if settings.adaptive is None else AdaptiveConfig(start=settings.adaptive),
        queue=settings.queue,
        on_full=settings.on_full,
        queue_timeout=settings.queue_timeout,
        timeouts=Timeouts(
            first_token=settings.first_token, idle_bytes=settings.idle, idle_events=settings.idle * 3, consumer_idle=20
        ),
        retry=RetryConfig(
            max_retries=settings.max_retries, attempts_total=ATTEMPTS_TOTAL, retry_sent=settings.retry_sent
        ),
        hedge=_hedge(settings),
        size_limits=SizeLimits(body=100_000, event=100_000, stream=500_000),
    )


def _hedge(settings: Settings) -> HedgeConfig | None:
    """Let everything be hedged that takes a second, as often as that is."""
    if settings.hedged == "not":
        return None
    return HedgeConfig(percentile=0.5, share=1, same_key=settings.hedged == "with_any_key")
