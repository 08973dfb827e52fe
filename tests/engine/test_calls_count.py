"""How many Python functions a plain request costs above the transport: the one measure of speed that repeats itself.

Counted are the `call` events of `sys.setprofile`, the event loop's own included: each entry into a Python function and
each time a coroutine is resumed. What happens inside the stand-in for the transport is left out. Seen with Python
3.11.7, anyio 4.16.0, trio 0.35.0, msgspec 0.22.0: 223 on asyncio and 278 on trio for one caller, and as many for each
of 64. On asyncio the count is exact, on trio it varies a little, since trio shuffles its tasks.
"""

from __future__ import annotations

import sys
from collections import Counter
from typing import TYPE_CHECKING, Any, Self

import anyio
import anyio.lowlevel
import msgspec
import pytest

from bifrost import Bifrost, CallContext, Plugin, StaticAccount
from bifrost.transport import ConnectionBase, ResponseHead, Transport
from bifrost.wire.http import Headers

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from bifrost.config import Timeouts
    from bifrost.transport import Origin
    from bifrost.wire.http import HttpRequest

BUDGET = {"asyncio": 226, "trio": 285}

BODY = msgspec.json.encode(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "gpt-4o-mini",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
)
HEAD = Headers.of(("content-type", "application/json"), ("x-request-id", "req_1"))


class StandIn(Transport, ConnectionBase):
    """A transport, its connection and its reader in one: answers at once, after one turn of the event loop."""

    reused = True
    sent = True
    connect_time = None

    def __init__(self) -> None:
        self._body = BODY

    def open(self, origin: Origin) -> StandIn:
        return StandIn()

    async def send(self, request: HttpRequest, *, timeouts: Timeouts, read_timeout: float | None) -> ResponseHead:
        await anyio.lowlevel.checkpoint()
        self._body = BODY
        return ResponseHead(200, HEAD, self)

    async def read(self) -> bytes:
        body, self._body = self._body, b""
        return body

    def limit_reads(self, seconds: float | None) -> None:
        pass

    def usable(self) -> bool:
        return True

    async def finish(self) -> None:
        pass

    def cut(self) -> None:
        pass

    async def close(self) -> None:
        pass


class Hooks(Plugin):
    """Overrides both hooks of a candidate, and does nothing in them."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def before(self, call: CallContext, request: Any) -> None:
        pass

    async def after(self, call: CallContext, outcome: Any) -> None:
        pass


class Count:
    """Counts the Python calls inside its block, except those made by the stand-in and by the callers themselves."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._inside = 0
        self._before: Any = None

    def __enter__(self) -> Self:
        self._before = sys.getprofile()
        sys.setprofile(self._event)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(self._before)

    def _event(self, frame: FrameType, event: str, _argument: object) -> None:
        if event == "call":
            if self._inside or frame.f_code in LEFT_OUT:
                self._inside += 1
            else:
                code = frame.f_code
                self.calls["/".join(code.co_filename.split("/")[-2:]) + f":{code.co_name}"] += 1
        elif event == "return" and self._inside:
            self._inside -= 1

    def per_request(self, requests: int) -> float:
        return self.calls.total() / requests

    def told(self, requests: int) -> str:
        """Tell where the calls went, for whoever has to find out why there are more."""
        return "\n".join(f"{calls / requests:8.2f} {name}" for name, calls in self.calls.most_common(40))


LEFT_OUT: frozenset[CodeType] = frozenset(
    member.__code__ for member in vars(StandIn).values() if hasattr(member, "__code__")
)


def a_client() -> Bifrost:
    plugins = [Hooks("a"), Hooks("b"), Hooks("c")]
    return Bifrost(StaticAccount(keys={"openai": "sk-x"}), transport=StandIn(), plugins=plugins)


async def one_caller(requests: int) -> Count:
    async with a_client() as client:
        await several(client, 20)
        with Count() as count:
            await several(client, requests)
    return count


async def many_callers(callers: int, requests: int) -> Count:
    """Count the requests of tasks that have been there before, and are there still when the last of them is done."""
    count = Count()
    begin, end = anyio.Event(), anyio.Event()
    ready = left = callers

    async def caller(client: Bifrost) -> None:
        nonlocal ready, left
        await several(client, 5)
        ready -= 1
        if not ready:
            count.__enter__()
            begin.set()
        await begin.wait()
        await several(client, requests)
        left -= 1
        if not left:
            count.__exit__()
            end.set()
        await end.wait()

    async with a_client() as client, anyio.create_task_group() as group:
        for _ in range(callers):
            group.start_soon(caller, client)
    return count


async def several(client: Bifrost, requests: int) -> None:
    for _ in range(requests):
        reply = await client.chat("openai/gpt-4o-mini", "hi", timeout=30)
        assert len(reply.attempts) == 1


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_of_a_single_caller_stays_within_its_budget(backend: str) -> None:
    count = anyio.run(one_caller, 100, backend=backend)
    assert count.per_request(100) <= BUDGET[backend], count.told(100)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_request_among_many_stays_within_its_budget(backend: str) -> None:
    count = anyio.run(many_callers, 64, 10, backend=backend)
    assert count.per_request(640) <= BUDGET[backend], count.told(640)


def test_the_count_repeats_itself() -> None:
    first, second = (anyio.run(one_caller, 50, backend="asyncio") for _ in range(2))
    assert abs(first.per_request(50) - second.per_request(50)) < 1


def test_the_stand_in_is_left_out() -> None:
    count = anyio.run(one_caller, 10, backend="asyncio")
    seen = {name.rpartition(":")[2] for name in count.calls if "test_calls_count" in name}
    assert seen.isdisjoint({"open", "send", "read", "usable", "finish"})
    assert {"before", "after"} <= seen
