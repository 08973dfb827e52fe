"""A bad road between client and provider: answers are right, or errors are typed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bifrost import BifrostError, CallTimeoutError, StreamInterruptedError, TransportError
from tests.hostile import proxy
from tests.hostile.answers import good
from tests.hostile.server import HostileServer

if TYPE_CHECKING:
    from tests.plugins.recorder import Kind

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("toxic", ["clear", "latency", "jitter", "bandwidth", "slicer", "slow_close"])
async def test_fault_28_a_bad_road_changes_no_answer(stage: Any, kind: Kind, toxic: str) -> None:
    with HostileServer(good) as server, proxy.ToxicProxy(server.port, getattr(proxy, toxic)) as road:
        async with stage(server=server, url=road.url) as scene:
            for _ in range(2):
                assert (await scene.ask(kind)).text == "hello"
                await scene.quiet()
            road.toxic = proxy.clear


@pytest.mark.parametrize("toxic", ["limit_data", "timeout", "silence", "reset"])
async def test_fault_28_a_road_that_ends_is_told(stage: Any, kind: Kind, toxic: str) -> None:
    wanted: Any = {"silence": CallTimeoutError}.get(toxic, TransportError)
    timeout = 0.4 if toxic == "silence" else 20.0
    made = proxy.limit_data(30) if toxic == "limit_data" else getattr(proxy, toxic)
    with HostileServer(good) as server, proxy.ToxicProxy(server.port, made) as road:
        async with stage(server=server, url=road.url) as scene:
            error = await scene.fails(wanted if kind == "plain" else BifrostError, kind, timeout=timeout)
            assert isinstance(error, (wanted, StreamInterruptedError))
            road.toxic = proxy.clear


@pytest.mark.parametrize("size", range(80, 700, 61))
async def test_fault_28_a_stream_that_ends_anywhere_is_whole_or_told(stage: Any, size: int) -> None:
    with HostileServer(good) as server, proxy.ToxicProxy(server.port, proxy.limit_data(size)) as road:
        async with stage(server=server, url=road.url) as scene:
            outcome = await scene.outcome("stream")
            match outcome:
                case StreamInterruptedError():
                    assert outcome.partial.text in {"hel", "hello"}
                case BifrostError():
                    assert isinstance(outcome, TransportError)
                case _:
                    assert outcome.text == "hello"
            road.toxic = proxy.clear
