from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import bifrost
from bifrost.testing import DeadlockError, LoopbackProvider, MockTransport, VirtualLoop, run_virtual, virtual_backends

if TYPE_CHECKING:
    from bifrost.testing.virtual import Backend

pytest_plugins = ["pytester"]

BOTH = pytest.mark.parametrize("backend", ["asyncio", "trio"])


@BOTH
def test_hours_pass_at_once(backend: Backend) -> None:
    async def wait(hours: int) -> float:
        with anyio.move_on_after(hours * 3600):
            await anyio.sleep_forever()
        return anyio.current_time()

    started = time.monotonic()
    assert run_virtual(wait, 100, backend=backend) == 360_000
    assert time.monotonic() - started < 60


@BOTH
def test_timers_go_off_in_their_order(backend: Backend) -> None:
    order: list[tuple[int, float]] = []

    async def after(seconds: int) -> None:
        await anyio.sleep(seconds)
        order.append((seconds, anyio.current_time()))

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for seconds in (30, 10, 20):
                group.start_soon(after, seconds)

    run_virtual(main, backend=backend)
    assert order == [(10, 10), (20, 20), (30, 30)]


@BOTH
def test_a_deadlock_is_told_and_what_waits_is_cleaned_up(backend: Backend) -> None:
    cleaned = False

    async def main() -> None:
        nonlocal cleaned
        try:
            await anyio.Event().wait()
        finally:
            cleaned = True

    with pytest.raises(DeadlockError, match="all tasks wait"):
        run_virtual(main, backend=backend)
    assert cleaned


@BOTH
@pytest.mark.parametrize("how", ["sleep_forever", "sleep", "sleep_until", "beside a timer", "a scope"])
def test_sleeping_for_ever_is_a_deadlock(backend: Backend, how: str) -> None:
    passed: list[float] = []

    async def main() -> None:
        match how:
            case "sleep_forever":
                await anyio.sleep_forever()
            case "sleep":
                await anyio.sleep(math.inf)
            case "sleep_until":
                await anyio.sleep_until(math.inf)
            case "beside a timer":
                with anyio.move_on_after(1000):
                    await anyio.sleep_forever()
                passed.append(anyio.current_time())
                await anyio.sleep_forever()
            case _:
                with anyio.fail_after(math.inf):
                    await anyio.sleep_forever()

    with pytest.raises(DeadlockError):
        run_virtual(main, backend=backend)
    assert passed == ([pytest.approx(1000)] if how == "beside a timer" else [])


@BOTH
def test_a_function_that_is_given_bare_may_be_one_that_sleeps_for_ever(backend: Backend) -> None:
    with pytest.raises(DeadlockError):
        run_virtual(anyio.sleep_forever, backend=backend)


@BOTH
@pytest.mark.parametrize("far", [1e5, 1e9, 1e300])
def test_what_is_far_off_comes_at_once(backend: Backend, far: float) -> None:
    async def main() -> float:
        await anyio.sleep(far)
        return anyio.current_time()

    assert run_virtual(main, backend=backend) == pytest.approx(far)


def test_a_timer_that_never_comes_can_be_cancelled() -> None:
    async def main() -> bool:
        import asyncio

        timer = asyncio.get_running_loop().call_later(math.inf, print)
        timer.cancel()
        return timer.cancelled()

    assert run_virtual(main)


@BOTH
def test_an_error_of_the_functions_own_comes_out(backend: Backend) -> None:
    async def main() -> None:
        await anyio.sleep(1)
        raise KeyError("own")

    with pytest.raises(KeyError, match="own"):
        run_virtual(main, backend=backend)


@BOTH
def test_sockets_and_threads_are_no_deadlock(backend: Backend) -> None:
    async def main() -> tuple[str, str]:
        async with LoopbackProvider() as server, server.client() as client:
            server.reply("over a socket")
            reply = await client.chat("openai/gpt-4o-mini", "hi")
        return reply.text, await anyio.to_thread.run_sync(lambda: "from a thread")

    assert run_virtual(main, backend=backend) == ("over a socket", "from a thread")


@BOTH
def test_a_provider_that_hangs_costs_the_calls_time_and_none_of_ours(backend: Backend) -> None:
    mock = MockTransport()
    mock.hang().always()

    async def main() -> float:
        async with mock.client() as client:
            with pytest.raises(bifrost.CallTimeoutError):
                await client.chat("openai/gpt-4o-mini", "hi", timeout=3600)
            return anyio.current_time()

    assert run_virtual(main, backend=backend) == 3600


def test_time_can_be_pushed_on() -> None:
    async def main() -> float:
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        loop.advance(7)
        return loop.time()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        assert runner.run(main()) == 7


def test_under_anyios_plugin_a_deadlock_fails_its_test_and_no_other(pytester: pytest.Pytester) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(
        """
        import anyio, pytest
        from bifrost.testing import virtual_backends

        pytestmark = pytest.mark.anyio

        @pytest.fixture(scope="module", params=virtual_backends(), ids=lambda backend: backend[0])
        def anyio_backend(request):
            return request.param

        async def test_before():
            await anyio.sleep(3600)

        async def test_deadlock():
            await anyio.Event().wait()

        async def test_after():
            await anyio.sleep(3600)
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:asyncio")
    result.assert_outcomes(passed=4, failed=2)
    result.stdout.fnmatch_lines(["*DeadlockError: a deadlock*", "*Cancelled*a deadlock: all tasks wait*"])


def test_each_loop_has_its_options() -> None:
    found: dict[Any, dict[str, Any]] = dict(virtual_backends())
    assert set(found) == {"asyncio", "trio"}
    assert found["asyncio"] == {"loop_factory": VirtualLoop}
