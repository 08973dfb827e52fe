from __future__ import annotations

import anyio
import pytest

from bifrost.engine.pool.gate import Gate
from tests.engine.rig import until

pytestmark = pytest.mark.anyio


async def test_as_many_enter_at_once_as_there_are_places() -> None:
    gate = Gate(2)
    assert gate.try_enter()
    assert await gate.enter()
    assert not gate.try_enter()
    assert gate.held == 2


async def test_waiters_are_served_in_the_order_they_came() -> None:
    gate = Gate(1)
    gate.try_enter()
    served: list[int] = []

    async def wait(number: int) -> None:
        await gate.enter()
        served.append(number)
        gate.leave()

    with anyio.fail_after(5):
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(wait, number)
                await until(lambda count=number: gate.waiting == count + 1)
            gate.leave()
    assert served == [0, 1, 2, 3, 4]
    assert gate.held == 0


async def test_a_freed_place_is_reserved_for_the_waiter_that_is_woken() -> None:
    gate = Gate(1)
    gate.try_enter()
    entered = anyio.Event()

    async def wait() -> None:
        await gate.enter()
        entered.set()

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await until(lambda: gate.waiting == 1)
        gate.leave()
        assert not gate.try_enter(), "a newcomer slipped in before the waiter that was called"
        await until(entered.is_set)
    assert gate.held == 1


async def test_a_newcomer_does_not_pass_those_who_wait() -> None:
    gate = Gate(2)
    gate.try_enter()
    gate.try_enter()
    async with anyio.create_task_group() as group:
        group.start_soon(gate.enter)
        await until(lambda: gate.waiting == 1)
        assert not gate.try_enter()
        gate.leave()
    assert gate.held == 2


async def test_a_waiter_that_leaves_holds_nothing_and_the_next_is_served() -> None:
    gate = Gate(1)
    gate.try_enter()
    scope = anyio.CancelScope()
    served = anyio.Event()

    async def leave_early() -> None:
        with scope:
            await gate.enter()

    async def wait() -> None:
        await gate.enter()
        served.set()

    async with anyio.create_task_group() as group:
        group.start_soon(leave_early)
        await until(lambda: gate.waiting == 1)
        group.start_soon(wait)
        await until(lambda: gate.waiting == 2)
        scope.cancel()
        await until(lambda: gate.waiting == 1)
        gate.leave()
        await until(served.is_set)
    assert gate.held == 1


async def test_a_place_given_to_a_waiter_that_leaves_at_that_moment_is_passed_on() -> None:
    gate = Gate(1)
    gate.try_enter()
    scope = anyio.CancelScope()
    served = anyio.Event()

    async def leave_early() -> None:
        with scope:
            await gate.enter()
            gate.leave()

    async def wait() -> None:
        await gate.enter()
        served.set()

    async with anyio.create_task_group() as group:
        group.start_soon(leave_early)
        await until(lambda: gate.waiting == 1)
        group.start_soon(wait)
        await until(lambda: gate.waiting == 2)
        gate.leave()
        scope.cancel()
        await until(served.is_set)
    assert gate.held == 1
    assert gate.waiting == 0


async def test_turning_away_wakes_every_waiter_without_a_place() -> None:
    gate = Gate(1)
    gate.try_enter()
    answers: list[bool] = []

    async def wait() -> None:
        answers.append(await gate.enter())

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(wait)
        await until(lambda: gate.waiting == 3)
        gate.turn_away()
    assert answers == [False, False, False]
    assert gate.held == 1
    assert gate.waiting == 0
