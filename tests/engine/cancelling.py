"""Calls that are cancelled at every point at which they wait, by every way there is to cancel.

After each: nothing of the client is in use, every hook that began has ended once, only retries that failed have cost of
the retry budget, and the next call works.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import anyio
import anyio.lowlevel
import attrs
import msgspec

from bifrost import BreakerConfig, CallCancelledError, HedgeConfig, ProviderConfig, RetryBudgetConfig
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, VirtualLoop, leak_check
from tests.engine.peers import MODEL
from tests.engine.rig import is_quiet, until
from tests.plugins.recorder import Recorder, assert_paired

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence

    from bifrost import Bifrost, CallContext, Key, StaticAccount

Moment: TypeAlias = Literal["waiting", "woken", "crossing"]
"""When the cancellation comes: as the call begins to wait, as it goes on, or as what it waited for has come but it does
not go on yet."""
Style: TypeAlias = Literal["scope", "task", "timeout", "wait_for"]


class Good(msgspec.Struct):
    good: bool


OTHER = "anthropic/claude-haiku-4-5"


class Stepped:
    """Awaits work, and acts once at its wait number `at`, counted from 1."""

    def __init__(self, work: Coroutine[Any, Any, Any], *, at: int, moment: Moment, act: Callable[[], object]) -> None:
        self._work = work
        self._at = at
        self._moment: Moment = moment
        self._act = act
        self.reached = False

    def __await__(self) -> Generator[Any, Any, Any]:
        waits = 0
        answer: Any = None
        error: BaseException | None = None
        while True:
            try:
                waited = self._work.send(answer) if error is None else self._work.throw(error)
            except StopIteration as stop:
                return stop.value
            waits += 1
            hit = waits == self._at
            self.reached = self.reached or hit
            if hit and self._moment == "waiting":
                self._act()
            elif hit and self._moment == "crossing" and isinstance(waited, asyncio.Future):
                # Before the task hears of it: this callback is the first.
                waited.add_done_callback(lambda _: self._act())
            answer, error = None, None
            try:
                answer = yield waited
            except BaseException as raised:  # noqa: BLE001 - passed on into the work
                error = raised
            if hit and self._moment == "woken":
                self._act()


async def cancelled(work: Coroutine[Any, Any, Any], *, at: int, moment: Moment, style: Style) -> bool:
    """Do work, cancel it at a wait, and say whether it waited so often."""
    scope = anyio.CancelScope()
    act: Callable[[], object] = scope.cancel
    match style:
        case "scope":
            stepped = Stepped(work, at=at, moment=moment, act=act)
            with scope:
                await stepped
        case "task":
            task: asyncio.Task[None] | None = None
            stepped = Stepped(work, at=at, moment=moment, act=lambda: task is not None and task.cancel())
            task = asyncio.create_task(_run(stepped))
            await asyncio.gather(task, return_exceptions=True)
        case "timeout":
            loop, timeout = asyncio.get_running_loop(), asyncio.timeout(None)
            stepped = Stepped(work, at=at, moment=moment, act=lambda: timeout.reschedule(loop.time()))
            with suppress(TimeoutError):
                async with timeout:
                    await stepped
        case "wait_for":
            clock = asyncio.get_running_loop()
            assert isinstance(clock, VirtualLoop)

            def jump() -> None:
                clock.advance(5)

            stepped = Stepped(work, at=at, moment=moment, act=jump)
            with suppress(TimeoutError):
                await asyncio.wait_for(_run(stepped), 5)
    return stepped.reached


async def _run(stepped: Stepped) -> None:
    await stepped


async def _plain(client: Bifrost) -> None:
    assert (await client.chat(MODEL, "hi")).text == "good"


async def _stream(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()
        assert (await stream.final()).text == "good"


async def _left_stream(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi") as stream:
        await stream.__anext__()


async def _long_way(client: Bifrost) -> None:
    response = await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert response.text == "good"
    assert [attempt.category for attempt in response.attempts] == ["throttled", "transient", "transient", None]


async def _long_stream(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi", fallbacks=[OTHER]) as stream:
        assert (await stream.final()).text == "good"


async def _hedged(client: Bifrost) -> None:
    response = await client.chat(MODEL, "hi")
    assert response.text == "good"
    assert len(response.attempts) == 2


async def _hedged_in_vain(client: Bifrost) -> None:
    response = await client.chat(MODEL, "hi")
    assert response.text == "good"
    assert [attempt.category for attempt in response.attempts] == ["transient", "transient", None]


async def _stream_anew(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi", fallbacks=[OTHER], on_interrupt="restart", max_retries=1) as stream:
        await stream.__anext__()
        assert (await stream.final()).text == "good"


async def _stream_again(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi") as stream:
        assert (await stream.final()).text == "good"


async def _stream_anew_at_once(client: Bifrost) -> None:
    async with client.stream_chat(MODEL, "hi", on_interrupt="restart") as stream:
        assert (await stream.final()).text == "good"


async def _asked_again(client: Bifrost) -> None:
    response = await client.chat(MODEL, "hi", output=Good, max_output_retries=1)
    assert response.parsed == Good(good=True)


def _script_good(mock: MockTransport) -> None:
    mock.stream(["go", "od"]).always()


def _script_long(mock: MockTransport) -> None:
    openai = mock.on(provider="openai", key="first")
    openai.fail(429)
    other = mock.on(provider="openai", key="second")
    other.fail(503).then.cut(after_bytes=5)
    mock.on(provider="anthropic").stream(["go", "od"]).always()
    mock.reply("good").always()


def _script_anew(mock: MockTransport) -> None:
    mock.on(provider="openai").stream(["ba", "d"]).cut(after_events=1).always()
    mock.on(provider="anthropic").fail(503).then.stream(["go", "od"]).always()


def _script_slow(mock: MockTransport) -> None:
    mock.hang().then.reply("good").delay(0.5)


def _script_overtaken(mock: MockTransport) -> None:
    mock.reply("good").delay(1.5).then.hang()


def _script_failing(mock: MockTransport) -> None:
    mock.fail(503).delay(1.5).then.reply("good").delay(1)


def _script_failing_twice(mock: MockTransport) -> None:
    mock.fail(503).delay(1.5).then.fail(503).delay(1).then.reply("good")


def _script_again(mock: MockTransport) -> None:
    mock.stream(["ba", "d"]).cut(after_bytes=5).then.stream(["go", "od"])


def _script_anew_at_once(mock: MockTransport) -> None:
    mock.stream(["ba", "d"]).cut(after_events=1).then.stream(["go", "od"])


def _script_unfit(mock: MockTransport) -> None:
    mock.fail(503).then.reply("{}").then.fail(503).then.reply('{"good": true}')


CALLS = {
    "plain": (_plain, _script_good),
    "stream": (_stream, _script_good),
    "stream that is left": (_left_stream, _script_good),
    "retries and a fallback": (_long_way, _script_long),
    "stream with retries and a fallback": (_long_stream, _script_long),
    "stream that is tried again": (_stream_again, _script_again),
    "stream that begins anew": (_stream_anew, _script_anew),
    "hedge that wins": (_hedged, _script_slow),
    "hedge that loses": (_hedged, _script_overtaken),
    "hedge of a call that fails": (_hedged, _script_failing),
    "hedge that fails, too": (_hedged_in_vain, _script_failing_twice),
    "stream that begins anew at the same place": (_stream_anew_at_once, _script_anew_at_once),
    "answer that does not fit": (_asked_again, _script_unfit),
}


# Each call meets the provider as the first did.
CONFIG = ProviderConfig(
    concurrency=1,
    queue=1,
    on_full="drop",
    breaker=BreakerConfig(enabled=False),
    retry_budget=RetryBudgetConfig(capacity=1_000, success=0, per_second=0),
)
HEDGING = attrs.evolve(
    CONFIG, concurrency=2, hedge=HedgeConfig(share=1), retry_budget=RetryBudgetConfig(retry=0, timeout=0, hedge=0)
)
"""Once twenty answers have come at once, what takes a second is slow."""


async def _sleep(_seconds: float) -> None:
    await anyio.lowlevel.checkpoint()


class Asked:
    """An account that is waited for whenever its keys are wanted."""

    def __init__(self, account: StaticAccount) -> None:
        self.providers = account.providers
        self.config = account.config
        self._keys = account.keys

    async def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
        await anyio.lowlevel.checkpoint()
        return self._keys(provider, call)


def paid_in_vain(ends: list[Any], *, cost: float) -> float:
    """Give what retries at openai have cost that failed: whatever else was paid comes back."""
    attempts = [attempt for end in ends for attempt in end.attempts if attempt.provider == "openai"]
    faults = [None, *(attempt.category for attempt in attempts)]
    # What does not fit is asked for again: that is a call's beginning.
    failed = [
        fault
        for before, fault in pairwise(faults)
        if before not in (None, "unfit") and fault not in (None, "unfit", "cancelled", "interrupted")
    ]
    return cost * len(failed)


async def assert_cancellable(name: str, *, style: Style, moment: Moment) -> None:
    """Make a call again and again, each time cancelled at its next wait, until it comes through."""
    call, script = CALLS[name]
    mock = MockTransport()
    log: list[str] = []
    plugins = [Recorder(log, "a", waits=True), Recorder(log, "b"), Recorder(log, "c", waits=True)]
    config = HEDGING if name.startswith("hedge") else CONFIG
    account = mock.account_with(
        {"openai": ["first", "second"], "anthropic": ["third"]},
        configs=dict.fromkeys(("openai", "anthropic"), config),
    )
    broken_off = 0
    async with leak_check():
        async with mock.client(
            Asked(account), plugins=plugins, clock=Clock(sleep=_sleep, random=lambda: 0.0)
        ) as client:
            if config.hedge is not None:
                mock.reply("at once").times(20)
                for _ in range(20):
                    await client.chat(MODEL, "hi")
            at, reached, left = 0, True, config.retry_budget.capacity
            while reached:
                at += 1
                del log[:]
                for plugin in plugins:
                    plugin.seen.clear()
                mock.forget()
                script(mock)
                reached = await cancelled(call(client), at=at, moment=moment, style=style)
                await until(lambda: is_quiet(client))
                assert mock.connections.in_use == 0
                assert_paired(log)
                ends = plugins[1].seen.get("after_call", [])
                left -= paid_in_vain(ends, cost=config.retry_budget.retry)
                broken_off += any(isinstance(end, CallCancelledError) for end in ends)
                mock.forget()
                mock.reply("next").always()
                assert (await client.chat(MODEL, "hi")).text == "next"
                await until(lambda: is_quiet(client))
                budget = client.stats().providers["openai"].budget
                assert budget is not None
                assert budget.left == left, f"cancelled at wait {at}"
            # Only a few of the waits are for something that can come and cross with the cancellation.
            assert broken_off >= (1 if moment == "crossing" else 3)
        assert mock.connections.open == 0
