"""Fault plans: the same plan brings the same faults, over the mock and over real sockets."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import msgspec
import pytest

import bifrost
from bifrost import ProviderConfig, Timeouts
from bifrost.config import SizeLimits
from bifrost.engine.clock import Clock
from bifrost.testing import (
    Fault,
    FaultPlan,
    FaultRule,
    FaultRun,
    LoopbackProvider,
    MockTransport,
    UnexpectedCallError,
    leak_check,
    no_waits,
    run_virtual,
)
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.testing.virtual import Backend

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"
BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])
EACH = Fault.one_of_each()


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt without a client around it."""

    provider: str = "openai"
    model: str = "gpt-4o-mini"
    endpoint: str = "chat"
    key: str | None = "openai-key"
    stream: bool = False


# --- the plan


def test_the_same_seed_brings_the_same_faults_and_another_seed_others() -> None:
    def played(seed: int) -> list[Fault | None]:
        run = FaultRun(FaultPlan.storm(0.5, seed=seed))
        return [run.take(Asked(), now=number) for number in range(200)]

    assert played(1) == played(1)
    assert played(1) != played(2)
    assert 60 < sum(fault is not None for fault in played(1)) < 140


def test_what_happens_to_one_provider_does_not_depend_on_the_others_calls() -> None:
    rules = tuple(FaultRule(provider=name, chances=((0.5, Fault.fail(503)),)) for name in ("openai", "anthropic"))
    alone, among = FaultRun(FaultPlan(seed=3, rules=rules)), FaultRun(FaultPlan(seed=3, rules=rules))
    order = Random(0)
    found: list[Fault | None] = []
    while len(found) < 50:
        if order.random() < 0.5:
            among.take(Asked(provider="anthropic"), now=0)
        else:
            found.append(among.take(Asked(), now=0))
    assert found == [alone.take(Asked(), now=0) for _ in range(50)]


def test_a_sequence_comes_first_and_chance_after_it() -> None:
    plan = FaultPlan(rules=(FaultRule(sequence=(Fault.fail(429), None), chances=((1.0, Fault.cut()),)),))
    run = FaultRun(plan)
    assert [run.take(Asked(), now=0) for _ in range(4)] == [Fault.fail(429), None, Fault.cut(), Fault.cut()]
    assert run.played == [Fault.fail(429), Fault.cut(), Fault.cut()]


@table(
    ("conditions", "other"),
    [
        ({"provider": "openai"}, {"provider": "anthropic"}),
        ({"model": "gpt-4o-mini"}, {"model": "gpt-4o"}),
        ({"endpoint": "chat"}, {"endpoint": "embeddings"}),
        ({"key": "openai-key"}, {"key": "spare"}),
        ({"stream": False}, {"stream": True}),
    ],
)
def test_a_rule_is_for_the_attempts_it_names(conditions: dict[str, Any], other: dict[str, Any]) -> None:
    run = FaultRun(FaultPlan(rules=(FaultRule(sequence=(Fault.fail(500),), **conditions),)))
    assert run.take(Asked(**other), now=0) is None
    assert run.take(Asked(), now=0) == Fault.fail(500)


def test_an_outage_has_a_beginning_and_an_end() -> None:
    run = FaultRun(FaultPlan(rules=(FaultRule(since=10, until=20, chances=((1.0, Fault.refuse()),)),)))
    found = [run.take(Asked(), now=1000 + elapsed) for elapsed in (0, 9.9, 10, 19.9, 20, 99)]
    assert [fault is not None for fault in found] == [False, False, True, True, False, False]


def test_the_first_rule_with_a_fault_wins_and_those_behind_it_do_not_count() -> None:
    first = FaultRule(sequence=(None, Fault.fail(500)))
    second = FaultRule(sequence=(Fault.fail(502), Fault.fail(503)))
    run = FaultRun(FaultPlan(rules=(first, second)))
    found = [run.take(Asked(), now=0) for _ in range(4)]
    assert [fault and fault.status for fault in found] == [502, 500, 503, None]


def test_looking_does_not_count() -> None:
    run = FaultRun(FaultPlan.of(Fault.fail(500)))
    assert run.peek(Asked(), now=0) == run.peek(Asked(), now=0) == run.take(Asked(), now=0) == Fault.fail(500)
    assert run.peek(Asked(), now=0) is None


def test_spans_are_drawn_between_their_ends_and_from_the_seed() -> None:
    fault = Fault.reset(after_share=(0.2, 0.4), delay=(1.0, 3.0))
    plan = FaultPlan(seed=5, rules=(FaultRule(chances=((1.0, fault),)),))
    drawn: list[Any] = [plan.fault(0, number) for number in range(50)]
    assert drawn == [plan.fault(0, number) for number in range(50)]
    assert all(0.2 <= each.after_share <= 0.4 and 1 <= each.delay <= 3 for each in drawn)
    assert len({each.delay for each in drawn}) == 50


PLANS = [
    FaultPlan(),
    FaultPlan.of(*EACH, None),
    FaultPlan.storm(0.3, seed=7),
    FaultPlan(seed=1, rules=(FaultRule(provider="openai", stream=True, since=1.5, until=60.0),)),
]


@table("plan", PLANS, ids=["empty", "each", "storm", "outage"])
def test_a_plan_can_be_printed_and_played_again(plan: FaultPlan) -> None:
    names = {"Fault": Fault, "FaultPlan": FaultPlan, "FaultRule": FaultRule}
    assert eval(repr(plan), names) == plan  # noqa: S307 - that it is Python is the point
    assert FaultPlan.from_json(plan.to_json()) == plan


def test_a_run_can_be_played_again_without_chance() -> None:
    run = FaultRun(FaultPlan.storm(0.5, seed=9))
    found = [run.take(Asked(), now=0) for _ in range(30)]
    again = FaultRun(run.as_played())
    assert [again.take(Asked(), now=0) for _ in range(30)] == found
    assert again.take(Asked(), now=0) is None


@pytest.mark.parametrize("text", ["", "[]", '{"rules": [{"sequence": [{"kind": "meteor"}]}]}'])
def test_what_is_no_plan_is_refused(text: str) -> None:
    with pytest.raises(bifrost.UsageError, match="not a fault plan"):
        FaultPlan.from_json(text)


def test_contradictions_are_refused() -> None:
    with pytest.raises(bifrost.UsageError, match="more than one position"):
        Fault.cut(after_bytes=1, after_events=1)
    with pytest.raises(bifrost.UsageError, match="no more than 1 together"):
        FaultRule(chances=((0.6, Fault.cut()), (0.5, Fault.reset())))
    with pytest.raises(bifrost.UsageError, match="from 0 to 1"):
        FaultRule(chances=((-0.1, Fault.cut()),))


# --- played

OUTCOMES: dict[str, tuple[str, str]] = {
    "refuse": ("ConnectError", "ConnectError"),
    "black_hole": ("CallTimeoutError", "CallTimeoutError"),
    "reset": ("TransportError", "TransportError"),
    "cut": ("ProtocolError", "ProtocolError"),
    "stall": ("CallTimeoutError", "CallTimeoutError"),
    "garbage": ("ProtocolError", "ProtocolError"),
    "html": ("MalformedResponseError", "MalformedResponseError"),
    "empty": ("MalformedResponseError", "MalformedResponseError"),
    "bad_json": ("MalformedResponseError", "StreamInterruptedError"),
    "error_event": ("ServerError", "StreamInterruptedError"),
    "oversize": ("ResponseTooLargeError", "ResponseTooLargeError"),
    "slow": ("ok", "ok"),
    "hang_up": ("ok", "ok"),
}
"""What a call sees of a fault: asked plainly, and as a stream."""
COMMITTED = {"reset", "cut", "stall"}
"""What interrupts a stream if it comes late enough."""


def allowed(fault: Fault, *, stream: bool, sockets: bool) -> set[str]:
    if fault.kind == "fail" or (fault.kind in ("html", "empty") and fault.status != 200):
        return {kind.__name__ for kind in vars(bifrost).values() if is_provider_error(kind)}
    found = {OUTCOMES[fault.kind][stream]}
    if stream and fault.kind in COMMITTED and fault.after_share is not None:
        found |= {"StreamInterruptedError"}
    if stream and fault.kind in ("bad_json", "error_event") and not fault.after_events:
        found = {OUTCOMES[fault.kind][0]}
    if not stream and fault.kind in COMMITTED and fault.after_share is not None:
        found |= {"ok"}
    if sockets and fault.kind == "refuse":
        found = {"TransportError"}
    return found


def is_provider_error(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, bifrost.ProviderError)


async def outcome(client: bifrost.Bifrost, *, stream: bool, timeout: float) -> str:
    """Make a call and name what came of it."""
    try:
        if stream:
            async with client.stream_chat(GPT, "hi", max_retries=0, timeout=timeout) as opened:
                await opened.final()
        else:
            await client.chat(GPT, "hi", max_retries=0, timeout=timeout)
    except bifrost.BifrostError as error:
        return type(error).__name__
    return "ok"


REFUSALS = ("AuthenticationError", "QuotaExceededError")

CONFIG = {"openai": ProviderConfig(size_limits=SizeLimits(body=1024 * 1024, event=512 * 1024))}


def small(fault: Fault) -> Fault:
    """Make what is oversize as large as these limits need."""
    return Fault.oversize(2 * 1024 * 1024) if fault.kind == "oversize" else fault


@BOTH
@pytest.mark.parametrize("stream", [False, True])
def test_each_fault_is_seen_by_a_call_to_the_mock(stream: bool, backend: Backend) -> None:
    async def main() -> None:
        mock = MockTransport()
        mock.stream(["one", " two", " three"]).always()
        async with leak_check(settle=0):
            for fault in map(small, EACH):
                # A client of its own, since a reset on a kept connection is taken for a stale one and not seen.
                async with mock.client(mock.account_with(configs=CONFIG)) as client:
                    run = mock.inject(FaultPlan.of(fault))
                    found = await outcome(client, stream=stream, timeout=60)
                    assert found in allowed(fault, stream=stream, sockets=False), fault
                    assert [each.kind for each in run.played] == [fault.kind]
                    after = await outcome(client, stream=stream, timeout=60)
                    # A key that was refused is not tried again.
                    assert after == ("CredentialsExhaustedError" if found in REFUSALS else "ok"), fault
        assert mock.connections.open == 0

    run_virtual(main, backend=backend)


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
async def test_each_fault_is_seen_by_a_call_over_real_sockets(stream: bool) -> None:
    quick = Timeouts(first_token=0.3, idle_bytes=0.3, idle_events=0.3)
    async with leak_check(), LoopbackProvider() as server:
        server.stream(["one", " two", " three"]).always()
        config = pointed_at(server, quick)
        for planned in EACH:
            fault = Fault.slow(delay=0.01, pace=0.001) if planned.kind == "slow" else small(planned)
            waits = fault.kind in ("stall", "black_hole")
            async with server.client(server.account({"openai": ["k"]}, configs=config)) as client:
                run = server.inject(FaultPlan.of(fault))
                found = await outcome(client, stream=stream, timeout=0.5 if waits else 30)
                assert found in allowed(fault, stream=stream, sockets=True), fault
                assert [each.kind for each in run.played] == [fault.kind]


def pointed_at(server: LoopbackProvider, timeouts: Timeouts) -> dict[str, ProviderConfig]:
    return {
        "openai": ProviderConfig(
            base_url=server.config("openai").base_url, timeouts=timeouts, size_limits=CONFIG["openai"].size_limits
        )
    }


@pytest.fixture(params=["mock", "sockets"])
def place(request: pytest.FixtureRequest) -> Iterator[MockTransport | LoopbackProvider]:
    with no_waits():
        yield MockTransport() if request.param == "mock" else LoopbackProvider()


@pytest.mark.anyio
async def test_a_spoilt_answer_leaves_the_scripts_step_to_the_next_attempt(
    place: MockTransport | LoopbackProvider,
) -> None:
    place.reply("first").then.reply("second").then.reply("third")
    plan = FaultPlan.of(Fault.cut(after_bytes=5), None, Fault.slow(delay=0.01), Fault.fail(503), Fault.hang_up())
    run = place.inject(plan)
    if isinstance(place, LoopbackProvider):
        await place.start()
    async with place.client() as client:
        texts = [(await client.chat(GPT, "hi")).text for _ in range(3)]
    if isinstance(place, LoopbackProvider):
        await place.stop()
    assert texts == ["first", "second", "third"]
    assert [fault.kind for fault in run.played] == ["cut", "slow", "fail", "hang_up"]
    place.assert_done()
    assert place.faults is run
    place.forget()
    assert place.faults is None


@pytest.mark.anyio
async def test_a_connection_that_hung_up_is_not_used_again(place: MockTransport | LoopbackProvider) -> None:
    place.reply("a").hang_up().then.hang_up().then.reply("c")
    if isinstance(place, LoopbackProvider):
        await place.start()
    async with place.client() as client:
        for expected in "a", "ok", "c":
            reply = await client.chat(GPT, "hi")
            assert reply.text == expected
            assert len(reply.attempts) == 1
            if isinstance(place, LoopbackProvider):
                with anyio.fail_after(5):
                    await place.all_closed() if expected != "c" else None
    if isinstance(place, LoopbackProvider):
        await place.stop()
    assert place.connections.opened == 3


@BOTH
def test_faults_spare_recorded_answers_too(backend: Backend) -> None:
    async def main() -> list[str]:
        with no_waits():
            async with LoopbackProvider() as server, server.client() as client:
                server.inject(FaultPlan.of(Fault.cut(after_share=0.5), Fault.fail(500), None))
                return [str(attempt.category) for attempt in (await client.chat(GPT, "hello")).attempts]

    assert anyio.run(main, backend=backend) == ["transient", "transient", "None"]


@pytest.mark.anyio
async def test_what_is_scripted_instead_of_an_answer_cannot_be_spoilt() -> None:
    mock = MockTransport()
    mock.refuse().then.reply("ok")
    mock.inject(FaultPlan.of(Fault.cut(), None))
    with no_waits():
        async with mock.client() as client:
            reply = await client.chat(GPT, "hi")
    assert [attempt.category for attempt in reply.attempts] == ["never_sent", None]


@pytest.mark.anyio
async def test_a_fault_of_an_answer_that_nobody_scripted_is_a_call_too_many() -> None:
    mock = MockTransport()
    mock.inject(FaultPlan.of(Fault.cut()))
    async with mock.client() as client:
        with pytest.raises(UnexpectedCallError):
            await client.chat(GPT, "hi")


@BOTH
def test_a_storm_is_the_same_each_time(backend: Backend) -> None:
    """Fifty calls with fallbacks, three in ten attempts spoilt: the same attempts, twice."""

    async def main() -> list[list[str]]:
        mock = MockTransport()
        mock.reply("ok").always()
        mock.inject(FaultPlan.storm(0.3, seed=11))
        trails: list[list[str]] = []
        async with mock.client(max_retries=3, clock=Clock(random=Random(1).random)) as client:
            for _ in range(50):
                try:
                    attempts = (await client.chat(GPT, "hi", fallbacks=[CLAUDE])).attempts
                except bifrost.BifrostError as error:
                    attempts = error.attempts
                trails.append([f"{attempt.provider} {attempt.category} {attempt.total}" for attempt in attempts])
        return trails

    first = run_virtual(main, backend=backend)
    assert first == run_virtual(main, backend=backend)
    assert sum(map(len, first)) > 60
