"""Load on a whole client, as scenarios of any size: small ones in the suite, large ones in the deep run.

Each gives figures and judges nothing.
"""

from __future__ import annotations

import gc
import math
from random import Random
from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel
import msgspec

from bifrost import Bifrost, BifrostError, ProviderConfig
from bifrost.config import RetryConfig
from bifrost.engine.clock import Clock
from bifrost.testing import Fault, FaultPlan, FaultRule, MockTransport
from tests.load.echo import MODEL, OTHER, Echo, account_of
from tests.load.gauges import percentile, resident

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bifrost.testing import MockCall


# --- every call is answered, once, with its own answer


class Counted(msgspec.Struct, kw_only=True):
    """What became of numbered calls."""

    calls: int
    lost: int = 0
    doubled: int = 0
    mismatched: int = 0
    failed: int = 0
    at_provider: int = 0
    left: int = 0
    """What the client still says to be under way."""

    @property
    def exact(self) -> bool:
        wrong = (self.lost, self.doubled, self.mismatched, self.failed, self.left)
        return not any(wrong) and self.at_provider == self.calls


async def numbered_calls(count: int, *, callers: int = 64) -> Counted:
    """Make so many calls, and count for each number how often it was answered."""
    echo = Echo()
    answers = bytearray(count)
    found = Counted(calls=count)
    numbers = iter(range(count))

    async def caller(client: Bifrost) -> None:
        for number in numbers:
            try:
                text = (await client.chat(MODEL, str(number))).text
            except BifrostError:
                found.failed += 1
                continue
            if text != str(number):
                found.mismatched += 1
            answers[int(text)] += 1

    async with Bifrost(account_of(openai=ProviderConfig(concurrency=32)), transport=echo) as client:
        async with anyio.create_task_group() as group:
            for _ in range(callers):
                group.start_soon(caller, client)
        stats = client.stats()
        found.left = stats.in_flight + stats.waiting + echo.in_use
    found.lost = answers.count(0)
    found.doubled = count - answers.count(0) - answers.count(1)
    found.at_provider = echo.asked.total()
    return found


# --- many at once


class Held(msgspec.Struct, kw_only=True):
    """Calls that were all in flight at the same moment."""

    calls: int
    in_flight: int
    answered: int
    kib_per_call: float
    other_p99: float
    """How long another provider's calls took meanwhile, in seconds."""
    other_alone_p99: float


async def hold(count: int, *, others: int = 200) -> Held:
    """Have so many calls in flight, ask another provider meanwhile, then let them all be answered at once."""
    gate = anyio.Event()
    echo = Echo(wait=lambda host: gate if "openai" in host else 0.0)
    answered = 0

    async def caller(client: Bifrost, number: int) -> None:
        nonlocal answered
        text = (await client.chat(MODEL, str(number))).text
        answered += text == str(number)

    async def asked_other(client: Bifrost) -> float:
        waits: list[float] = []
        for number in range(others):
            began = anyio.current_time()
            await client.chat(OTHER, str(number))
            waits.append(anyio.current_time() - began)
        return percentile(waits, 0.99)

    account = account_of(openai=ProviderConfig(concurrency=count), groq=ProviderConfig())
    async with Bifrost(account, transport=echo) as client:
        alone = await asked_other(client)
        before = resident()
        in_flight, grown, beside = 0, 0.0, math.inf
        async with anyio.create_task_group() as group:
            for number in range(count):
                group.start_soon(caller, client, number)
            while echo.in_use < count:
                await anyio.lowlevel.checkpoint()
            in_flight = client.stats().providers["openai"].in_flight
            grown = resident() - before
            beside = await asked_other(client)
            gate.set()
    return Held(
        calls=count,
        in_flight=in_flight,
        answered=answered,
        kib_per_call=grown / count,
        other_p99=beside,
        other_alone_p99=alone,
    )


# --- a storm


class Weathered(msgspec.Struct, kw_only=True):
    """What a storm did to users, and to memory."""

    calls: int = 0
    succeeded: int = 0
    failed: int = 0
    cancelled: int = 0
    mismatched: int = 0
    attempts: int = 0
    resident: list[tuple[float, float]] = []
    """Virtual seconds, and KiB."""
    objects: list[int] = []
    """How many objects there were at the end of each minute."""

    @property
    def success(self) -> float:
        """The share of calls that succeeded of those that nobody cancelled."""
        return self.succeeded / (self.succeeded + self.failed)


class _Forgetful(list["MockCall"]):
    """Keeps no call, so that a mock may be asked for hours."""

    def append(self, _call: MockCall) -> None:
        self.count_of_calls += 1

    count_of_calls = 0


STORM = (
    *(Fault.fail(status) for status in (500, 502, 503, 529)),
    Fault.refuse(),
    Fault.reset(),
    Fault.cut(after_bytes=0),
    Fault.empty(503),
    Fault.fail(408),
)
"""Troubles that pass: each may be tried again, and each try meets with one as likely."""


async def storm(
    *, seconds: float, rate: float = 0.3, per_second: float = 25.0, seed: int = 0, keys: int = 3
) -> Weathered:
    """Ask a provider of which each attempt fails with this chance, while callers leave, streams run, settings change.

    One call in five is a stream, one in twenty is left by its caller, and the settings change every minute.
    """
    found = Weathered()
    chance = Random(seed)
    mock = MockTransport()
    mock.calls = calls = _Forgetful()
    mock.function(lambda request: request.messages[-1].text).always()

    def brew(minute: int) -> None:
        # Before any content: after it a stream is not tried again, and that is no matter of retries.
        chances = tuple((rate / len(STORM), fault) for fault in STORM)
        mock.inject(FaultPlan(seed=seed * 10_000 + minute, rules=(FaultRule(chances=chances),)))

    async def call(client: Bifrost, number: int) -> None:
        text = f"call {number}"
        with anyio.move_on_after(chance.uniform(0, 0.2) if chance.random() < 0.05 else math.inf) as scope:
            try:
                if chance.random() < 0.2:
                    async with client.stream_chat(MODEL, text) as stream:
                        answer = (await stream.final()).text
                else:
                    answer = (await client.chat(MODEL, text)).text
            except BifrostError:
                found.failed += 1
                return
            found.succeeded += 1
            found.mismatched += answer != text
            return
        found.cancelled += scope.cancelled_caught

    names = [f"openai-{number}" for number in range(keys)]
    account = mock.account_with({"openai": names}, configs={"openai": ProviderConfig()})
    async with (
        mock.client(account, clock=Clock(random=Random(seed).random)) as client,
        anyio.create_task_group() as group,
    ):
        for minute in range(math.ceil(seconds / 60)):
            brew(minute)
            for number in range(int(min(60, seconds - 60 * minute) * per_second)):
                found.calls += 1
                group.start_soon(call, client, number)
                await anyio.sleep(1 / per_second)
            await client.update_provider("openai", config=ProviderConfig(concurrency=50 + minute % 7))
            found.resident.append((anyio.current_time(), resident()))
            found.objects.append(len(gc.get_objects()))
    found.attempts = calls.count_of_calls
    return found


# --- one provider's trouble is its own


class Beside(msgspec.Struct, kw_only=True):
    """How one provider's calls fared, alone and beside one that swallows everything."""

    p99_alone: float
    p99: float
    rate_alone: float
    rate: float
    stuck: int
    """Calls that were caught at the other provider."""


async def black_hole(*, seconds: float, per_second: float = 200.0, seed: int = 0) -> Beside:
    """Ask a sound provider, then do so again while every worker and the whole queue of another are stuck."""
    chance = Random(seed)
    echo = Echo(wait=lambda host: math.inf if "openai" in host else chance.uniform(0.02, 0.2))
    stuck = ProviderConfig(concurrency=50, queue=200, on_full="drop")

    async def measured(client: Bifrost) -> tuple[float, float]:
        waits: list[float] = []

        async def call(number: int) -> None:
            began = anyio.current_time()
            await client.chat(OTHER, str(number), timeout=30)
            waits.append(anyio.current_time() - began)

        began = anyio.current_time()
        async with anyio.create_task_group() as group:
            for number in range(int(seconds * per_second)):
                group.start_soon(call, number)
                await anyio.sleep(1 / per_second)
        return percentile(waits, 0.99), len(waits) / (anyio.current_time() - began)

    async def swallowed(client: Bifrost) -> None:
        while True:
            try:
                await client.chat(MODEL, "into the hole", timeout=20)
            except BifrostError:
                await anyio.sleep(0.5)

    async with Bifrost(account_of(openai=stuck, groq=ProviderConfig()), transport=echo) as client:
        p99_alone, rate_alone = await measured(client)
        p99, rate, caught = math.inf, 0.0, 0
        async with anyio.create_task_group() as group:
            for _ in range(300):
                group.start_soon(swallowed, client)
            await anyio.sleep(1)
            stats = client.stats().providers["openai"]
            caught = stats.in_flight + stats.waiting
            p99, rate = await measured(client)
            group.cancel_scope.cancel()
    return Beside(p99_alone=p99_alone, p99=p99, rate_alone=rate_alone, rate=rate, stuck=caught)


# --- an outage


class Outage(msgspec.Struct, kw_only=True):
    """What a provider that is down gets to see, in attempts per call."""

    load: float
    worst_second: float
    success_before: float
    success_after: float
    """Of the calls from ten seconds after the end on."""


async def outage(*, seconds: float = 60.0, per_second: int = 100, status: int = 503, seed: int = 0) -> Outage:
    """Ask at a steady rate for a while before, during and after an outage in which every attempt fails at once."""
    calm = 40.0
    began, ends = calm, calm + seconds
    echo = Echo(
        wait=lambda _host: 0.05,
        status=lambda _host: status if began <= anyio.current_time() < ends else 200,
    )
    good: dict[Literal["before", "during", "after"], int] = {"before": 0, "during": 0, "after": 0}
    all_of = dict(good)

    async def call(client: Bifrost, number: int) -> None:
        at = anyio.current_time()
        phase: Literal["before", "during", "after"]
        phase = "before" if at < began else "after" if at > ends + 30 else "during"
        all_of[phase] += 1
        try:
            await client.chat(MODEL, str(number))
        except BifrostError:
            return
        good[phase] += 1

    account = account_of(openai=ProviderConfig(retry=RetryConfig(max_retries=2)))
    async with (
        Bifrost(account, transport=echo, clock=Clock(random=Random(seed).random)) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(int((ends + calm) * per_second)):
            group.start_soon(call, client, number)
            await anyio.sleep(1 / per_second)
    seen = _within(echo, range(int(began), int(ends)))
    return Outage(
        load=sum(seen) / (seconds * per_second),
        worst_second=max(seen) / per_second,
        success_before=good["before"] / all_of["before"],
        success_after=good["after"] / all_of["after"],
    )


def _within(echo: Echo, seconds: Sequence[int]) -> list[int]:
    return [echo.by_second[second] for second in seconds]
