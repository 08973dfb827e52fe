"""Calls and streams that are between two attempts while the client closes, or their provider goes. In virtual time.

What is in flight may finish until the drain is over. A further attempt would be new work, so who waits for one is
answered at once; and every hook has run before the plugins are closed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    BifrostError,
    ChatResponse,
    ProviderConfig,
    RetryConfig,
    ShuttingDownError,
    StreamInterruptedError,
)
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, leak_check
from tests.engine.rig import until
from tests.plugins.recorder import MODEL, OTHER, Recorder

if TYPE_CHECKING:
    from bifrost import Bifrost

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SLOW = RetryConfig(backoff_base=100, backoff_cap=100)
"""Waits before a retry are longer than any drain here."""


class Caller:
    """A call or a stream in a task of its own, and what came of it."""

    def __init__(self, client: Bifrost, *, stream: bool, **options: Any) -> None:
        self.client = client
        self.stream = stream
        self.options = options
        self.outcome: ChatResponse | BifrostError | None = None
        self.done = anyio.Event()
        self.read = 0

    async def run(self) -> None:
        try:
            self.outcome = await (self._streamed() if self.stream else self.client.chat(MODEL, "hi", **self.options))
        except BifrostError as error:
            self.outcome = error
        self.done.set()

    async def _streamed(self) -> ChatResponse:
        async with self.client.stream_chat(MODEL, "hi", on_interrupt="restart", **self.options) as stream:
            async for _ in stream:
                self.read += 1
            return await stream.final()


class Scene:
    """A client with a plugin that waits in its hooks, and one caller."""

    def __init__(self, mock: MockTransport, *, stream: bool, retry: RetryConfig = SLOW, **options: Any) -> None:
        self.log: list[str] = []
        account = mock.account_with(
            {"openai": ["one"], "anthropic": ["two"]}, configs={"openai": ProviderConfig(retry=retry)}
        )
        slow = {hook: lambda *_: anyio.sleep(0.1) for hook in ("after", "after_call")}
        clock = Clock(random=lambda: 0.5)
        self.client = mock.client(account, plugins=[Recorder(self.log, does=slow)], clock=clock)
        self.caller = Caller(self.client, stream=stream, **options)

    async def close(self, drain: float) -> float:
        """Close the client and give how long that took."""
        began = anyio.current_time()
        await self.client.close(drain=drain)
        assert self.log[-1] == "a.close", "the hooks of every call come first"
        for hook in ("before", "before_call"):
            assert self.log.count(f"a.{hook}") == self.log.count(f"a.{hook.replace('before', 'after')}") > 0
        return anyio.current_time() - began


@pytest.fixture(params=[False, True], ids=["plain", "stream"])
def stream(request: pytest.FixtureRequest) -> bool:
    return request.param


def script(mock: MockTransport, *, stream: bool) -> None:
    """Let the first attempt fail: a stream after its first content."""
    if stream:
        mock.on(provider="openai").stream(["a", "b"]).cut(after_events=1)
    else:
        mock.on(provider="openai").fail(503)
    mock.on(provider="openai").hang().always()
    mock.on(provider="anthropic").reply("spare").always()


async def waiting(scene: Scene, mock: MockTransport) -> None:
    """Wait until the first attempt has failed and the caller waits for the second: for fifty seconds from then."""
    await until(lambda: len(mock.calls) == 1)
    await anyio.sleep(1)
    assert scene.client.stats().in_flight == scene.client.stats().waiting == 0
    assert scene.caller.outcome is None


def assert_refused(caller: Caller) -> None:
    error = caller.outcome
    assert isinstance(error, BifrostError)
    if caller.stream:
        assert isinstance(error, StreamInterruptedError)
        assert error.partial.text == "a"
        assert {type(other) for other in error.errors} == {ShuttingDownError}
    else:
        assert isinstance(error, ShuttingDownError)
    # A fallback takes no more either.
    assert {attempt.category for attempt in error.attempts[1:]} <= {"limit"}


@pytest.mark.parametrize("fallbacks", [[], [OTHER]], ids=["alone", "fallback"])
@pytest.mark.parametrize("drain", [0, 5])
async def test_who_waits_for_another_attempt_is_answered_when_the_client_closes(
    mock: MockTransport, stream: bool, drain: float, fallbacks: list[str]
) -> None:
    script(mock, stream=stream)
    scene = Scene(mock, stream=stream, fallbacks=fallbacks)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await waiting(scene, mock)
        assert await scene.close(drain) < 1
    assert_refused(scene.caller)
    assert len(mock.calls) == 1


async def test_who_waits_for_a_key_is_answered_when_the_client_closes(mock: MockTransport) -> None:
    mock.fail(429, retry_after=20)
    scene = Scene(mock, stream=False)
    second = Caller(scene.client, stream=False)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await waiting(scene, mock)
        group.start_soon(second.run)
        await anyio.sleep(1)
        assert second.outcome is None
        assert await scene.close(5) < 1
    assert isinstance(second.outcome, ShuttingDownError)
    assert list(second.outcome.attempts) == []


async def test_who_waits_for_another_attempt_is_answered_when_the_provider_goes(
    mock: MockTransport, stream: bool
) -> None:
    script(mock, stream=stream)
    scene = Scene(mock, stream=stream)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await waiting(scene, mock)
        began = anyio.current_time()
        await scene.client.remove_provider("openai", drain=5)
        assert anyio.current_time() - began < 1
        await scene.caller.done.wait()
        assert anyio.current_time() - began < 1
        assert_refused(scene.caller)
        await scene.close(5)


async def test_who_waits_at_a_provider_that_goes_is_served_by_the_fallback_at_once(
    mock: MockTransport, stream: bool
) -> None:
    script(mock, stream=stream)
    scene = Scene(mock, stream=stream, fallbacks=[OTHER])
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await waiting(scene, mock)
        began = anyio.current_time()
        await scene.client.remove_provider("openai", drain=5)
        await scene.caller.done.wait()
        assert anyio.current_time() - began < 1
        assert isinstance(scene.caller.outcome, ChatResponse)
        assert scene.caller.outcome.text == "spare"
        await scene.close(5)


async def test_who_waits_at_a_provider_that_moves_waits_on_and_goes_there(mock: MockTransport, stream: bool) -> None:
    script(mock, stream=stream)
    scene = Scene(mock, stream=stream)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await waiting(scene, mock)
        mock.forget()
        mock.reply("moved").always()
        began = anyio.current_time()
        await scene.client.update_provider("openai", config=ProviderConfig(base_url="https://moved.example/moved/v1"))
        await scene.caller.done.wait()
        assert anyio.current_time() - began == pytest.approx(49, abs=1)
        assert isinstance(scene.caller.outcome, ChatResponse)
        assert scene.caller.outcome.text == "moved"
        assert mock.calls[-1].http.path.startswith("/moved/v1/")
        await scene.close(5)


@pytest.mark.parametrize("drain", [0, 5])
async def test_a_new_beginning_that_is_under_way_is_cut_off_at_the_end_of_the_drain(
    mock: MockTransport, drain: float
) -> None:
    script(mock, stream=True)
    scene = Scene(mock, stream=True, retry=RetryConfig())
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await until(lambda: len(mock.calls) == 2)
        assert await scene.close(drain) == pytest.approx(drain, abs=1)
    error = scene.caller.outcome
    assert isinstance(error, StreamInterruptedError)
    assert [type(other) for other in error.errors] == [ShuttingDownError]


async def test_a_new_beginning_that_is_under_way_may_finish_during_the_drain(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).cut(after_events=1).then.stream(["x", "y"]).delay(2).drip(0.5)
    scene = Scene(mock, stream=True, retry=RetryConfig())
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await until(lambda: len(mock.calls) == 2)
        assert 2 < await scene.close(10) < 6
    assert isinstance(scene.caller.outcome, ChatResponse)
    assert scene.caller.outcome.text == "xy"


async def test_a_stream_that_breaks_during_the_drain_does_not_begin_anew(mock: MockTransport) -> None:
    mock.stream(["a", "b", "c"]).drip(1).cut(after_events=2)
    scene = Scene(mock, stream=True)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await until(lambda: scene.caller.read == 2)
        assert await scene.close(10) < 3
    error = scene.caller.outcome
    assert isinstance(error, StreamInterruptedError)
    assert error.partial.text == "ab"
    assert len(mock.calls) == 1


@pytest.mark.parametrize("read", ["to its end", "in part", "not at all"])
async def test_closing_right_behind_a_stream_takes_no_time(mock: MockTransport, read: str) -> None:
    mock.stream(["a", "b"])
    client = mock.client()
    async with client.stream_chat(MODEL, "hi") as stream:
        if read == "to its end":
            await stream.final()
        elif read == "in part":
            await stream.__anext__()
    began = anyio.current_time()
    await client.close()
    assert anyio.current_time() == began


async def test_closing_ends_as_soon_as_the_last_stream_does(mock: MockTransport) -> None:
    mock.stream(["a", "b"])
    client = mock.client()
    ended: list[float] = []

    async def read() -> None:
        async with client.stream_chat(MODEL, "hi") as stream:
            await anyio.sleep(0.113)
            await stream.final()
        ended.append(anyio.current_time())

    async with anyio.create_task_group() as group:
        group.start_soon(read)
        await anyio.sleep(0.07)
        await client.close()
        ended.append(anyio.current_time())
    assert ended[0] == ended[1]


async def test_the_hooks_of_a_stream_that_is_cut_off_run_before_plugins_are_closed(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).stall(after_events=1)
    scene = Scene(mock, stream=True)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await until(lambda: scene.caller.read == 2)
        assert await scene.close(0) < 1
    assert isinstance(scene.caller.outcome, StreamInterruptedError)


async def test_the_hooks_of_a_stream_that_has_just_ended_run_before_plugins_are_closed(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).drip(1)
    scene = Scene(mock, stream=True)
    async with leak_check(), anyio.create_task_group() as group:
        group.start_soon(scene.caller.run)
        await until(lambda: scene.caller.read == 2)
        assert 1 < await scene.close(10) < 5
    assert isinstance(scene.caller.outcome, ChatResponse)
