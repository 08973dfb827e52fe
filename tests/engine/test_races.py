"""Callers that leave while queued, as a worker takes them, or as their answer is delivered, in many orders of tasks.

The order is trio's, decided by a seed: a run that fails is run again with the number in its name.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
from trio.testing import MockClock

from bifrost import BifrostError, CallCancelledError, ProviderConfig, ShuttingDownError
from bifrost.testing import MockTransport, leak_check
from tests.engine.peers import MODEL
from tests.engine.rig import is_quiet, rig_of, until
from tests.engine.seeded import missing_switches, run_seeded
from tests.plugins.recorder import Recorder
from tests.table import table
from tests.wide import few_of

if TYPE_CHECKING:
    from bifrost.engine.pool.workers import Job

SEEDS = range(50)


# --- the seed


async def _order() -> list[int]:
    seen: list[int] = []

    async def note(number: int) -> None:
        for _ in range(3):
            await anyio.lowlevel.checkpoint()
            seen.append(number)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(note, number)
    return seen


def test_a_seed_decides_the_order_of_tasks() -> None:
    """Fails when trio changes what it is held by: without it the tests below would prove little."""
    assert missing_switches() == []
    orders = [run_seeded(seed, _order) for seed in SEEDS]
    assert orders == [run_seeded(seed, _order) for seed in SEEDS]
    assert len({tuple(order) for order in orders}) > 40


# --- one pool


async def _leave_a_pool(seed: int) -> tuple[int, int]:
    chance = random.Random(seed)
    async with rig_of(concurrency=2, queue=3) as rig:
        delivered: list[int] = []
        answered: list[int] = []
        left: list[int] = []

        async def work(job: Job) -> Any:
            for _ in range(chance.randint(0, 3)):
                await anyio.lowlevel.checkpoint()
            if job.finish(job.subject):
                delivered.append(job.subject)

        async def call(number: int, turns: int) -> None:
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def leave() -> None:
                        for _ in range(turns):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    group.start_soon(leave)
                    assert await rig.pool.submit(rig.job(number, work)) == number
                    answered.append(number)
                    group.cancel_scope.cancel()
            if number not in answered:
                left.append(number)

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for number in range(16):
                    group.start_soon(call, number, chance.randint(0, 25))
                    if chance.random() < 0.5:
                        await anyio.lowlevel.checkpoint()
        assert sorted(answered + left) == list(range(16)), "each caller is answered or has left, and once"
        assert len(delivered) == len(set(delivered))
        assert set(answered) <= set(delivered), "nobody has a response that no worker delivered"
        await until(lambda: rig.idle)
        assert await rig.pool.submit(rig.job("next", rig.at_once)) == "next"
    return len(answered), len(left)


@pytest.mark.parametrize("seed", few_of(SEEDS, 10))
def test_of_a_caller_that_leaves_and_its_worker_one_side_wins(seed: int) -> None:
    answered, left = run_seeded(seed, _leave_a_pool, seed)
    assert answered + left == 16


def test_over_all_seeds_both_sides_win_often() -> None:
    counts = [run_seeded(seed, _leave_a_pool, seed) for seed in SEEDS[:10]]
    assert sum(answered for answered, _ in counts) > 20
    assert sum(left for _, left in counts) > 20


# --- a client


async def _leave_a_client(seed: int) -> None:
    chance = random.Random(seed)
    mock = MockTransport()
    mock.reply("hello").always()
    log: list[str] = []
    recorder = Recorder(log)
    account = mock.account_with({"openai": ["k"]}, configs={"openai": ProviderConfig(concurrency=2, queue=4)})
    answers = left = 0
    async with leak_check(), mock.client(account, plugins=[recorder]) as client:

        async def call(turns: int) -> None:
            nonlocal answers, left
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:

                    async def leave() -> None:
                        for _ in range(turns):
                            await anyio.lowlevel.checkpoint()
                        scope.cancel()

                    group.start_soon(leave)
                    assert (await client.chat(MODEL, "hi")).text == "hello"
                    answers += 1
                    group.cancel_scope.cancel()
                    return
            left += 1

        with anyio.fail_after(60):
            async with anyio.create_task_group() as group:
                for _ in range(12):
                    group.start_soon(call, chance.randint(0, 60))
        await until(lambda: is_quiet(client))
        ends = recorder.seen.get("after_call", [])
        cancelled = sum(isinstance(end, CallCancelledError) for end in ends)
        # A call that was cancelled before it began has no hooks; one that was answered as it was cancelled has both.
        assert len(ends) == log.count("a.before_call")
        assert cancelled <= left
        stats = client.stats()
        assert stats.in_flight == stats.waiting == 0
        openai = stats.providers["openai"]
        assert openai.worker_restarts == 0
        assert openai.calls >= openai.ok + openai.failed
        assert (await client.chat(MODEL, "hi")).text == "hello"
    assert sorted(set(log)) == ["a.after", "a.after_call", "a.before", "a.before_call", "a.close", "a.open"]
    for hook in ("", "_call"):
        assert log.count(f"a.before{hook}") == log.count(f"a.after{hook}")
    assert mock.connections.open == 0


@pytest.mark.parametrize("seed", few_of(SEEDS, 10))
def test_calls_that_are_left_at_any_moment_lose_nothing(seed: int) -> None:
    run_seeded(seed, _leave_a_client, seed)


# --- closing


async def _close_amid_everything(seed: int, in_a_hook: bool) -> None:
    """Close three times at once, and perhaps from a hook too, with a stream open, calls in flight and calls queued."""
    chance = random.Random(seed)
    mock = MockTransport()
    mock.on(stream=True).stream(["a", "b"]).stall(after_events=1).always()
    mock.on(stream=False).hang().always()
    log: list[str] = []
    outcomes: list[Any] = []
    began = 0.0
    config = ProviderConfig(concurrency=4, queue=10, stream_share=0.5)
    account = mock.account_with({"openai": ["k"]}, configs={"openai": config})
    drain = 5.0

    async def close_too(call: Any, outcome: Any) -> None:
        await client.close(drain=drain)

    recorder = Recorder(log, after_call=close_too) if in_a_hook else Recorder(log)
    # A hook that waits for the end of its own call waits as long as hooks may.
    limit = drain + (10 if in_a_hook else 0) + 1
    async with leak_check(), mock.client(account, plugins=[recorder]) as client:

        async def plain() -> None:
            try:
                outcomes.append(await client.chat(MODEL, "hi"))
            except BifrostError as error:
                outcomes.append(error)

        async def streamed() -> None:
            try:
                async with client.stream_chat(MODEL, "hi") as stream:
                    outcomes.append(await stream.final())
            except BifrostError as error:
                outcomes.append(error)

        async with anyio.create_task_group() as group:
            group.start_soon(streamed)
            await until(lambda: client.stats().in_flight == 1)
            for _ in range(6):
                group.start_soon(plain)
            await until(lambda: client.stats().in_flight == 4 and client.stats().waiting == 3)
            for _ in range(chance.randint(0, 5)):
                await anyio.lowlevel.checkpoint()
            began = anyio.current_time()
            for _ in range(2):
                group.start_soon(lambda: client.close(drain=drain))
            await client.close(drain=drain)
            assert anyio.current_time() - began <= limit
        assert anyio.current_time() - began <= limit
    assert len(outcomes) == 7, "everybody is answered"
    assert all(isinstance(outcome, BifrostError) for outcome in outcomes)
    assert sum(isinstance(outcome, ShuttingDownError) for outcome in outcomes) >= 3, "the queued ones at the least"
    assert_unlost(log)


def assert_unlost(log: list[str]) -> None:
    for hook in ("", "_call"):
        assert log.count(f"a.before{hook}") == log.count(f"a.after{hook}") > 0
    assert log.count("a.close") == 1


@pytest.mark.parametrize("in_a_hook", [False, True])
@pytest.mark.parametrize("seed", few_of(SEEDS[:15], 4))
def test_closing_amid_everything_answers_everybody_in_time(seed: int, in_a_hook: bool) -> None:
    run_seeded(seed, _close_amid_everything, seed, in_a_hook)


# --- a clock that jumps


async def _jump() -> None:
    """The machine slept for an hour: what had a limit is over, once, and nothing is tried again and again."""
    mock = MockTransport()
    mock.hang().always()
    config = ProviderConfig(concurrency=3, queue=20)
    account = mock.account_with({"openai": ["k"]}, configs={"openai": config})
    log: list[str] = []
    errors: list[BifrostError] = []
    asked = 0
    async with leak_check(), mock.client(account, plugins=[Recorder(log)], timeout=60) as client:

        async def call() -> None:
            with pytest.raises(BifrostError) as caught:
                await client.chat(MODEL, "hi", max_retries=5)
            errors.append(caught.value)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(call)
            await until(lambda: client.stats().waiting == 7 and len(mock.calls) == 3)
            clock: Any = trio.lowlevel.current_clock()
            assert isinstance(clock, MockClock)
            asked = len(mock.calls)
            clock.jump(3600)
        assert len(errors) == 10
        assert len(mock.calls) == asked == 3, "an hour that was lost makes nobody ask again"
        await until(lambda: is_quiet(client))
        mock.forget()
        mock.reply("hello")
        assert (await client.chat(MODEL, "hi")).text == "hello"
    assert log.count("a.before_call") == log.count("a.after_call") == 11


@table("seed", SEEDS[:5])
def test_an_hour_that_is_lost_ends_everything_once(seed: int) -> None:
    run_seeded(seed, _jump)
