from __future__ import annotations

import gc
import socket
import sys
import warnings
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from bifrost.testing import leak_check


def start_task(function: Any) -> None:
    """Start a task that nobody owns, as only an event loop itself can."""
    if "trio" in sys.modules and sys.modules["trio"].lowlevel.in_trio_run():
        sys.modules["trio"].lowlevel.spawn_system_task(function)
    else:
        kept.append(sys.modules["asyncio"].get_running_loop().create_task(function()))


kept: list[Any] = []


@pytest.mark.anyio
async def test_nothing_left_is_nothing_told() -> None:
    async with leak_check():
        async with anyio.create_task_group() as group:
            group.start_soon(anyio.lowlevel.checkpoint)
        socket.socket().close()


@pytest.mark.anyio
async def test_a_task_is_told_by_its_name() -> None:
    stop = anyio.Event()

    async def lingers() -> None:
        await stop.wait()

    with pytest.raises(AssertionError, match=r"leaked: task: .*lingers"):
        async with leak_check(settle=0.01):
            start_task(lingers)
    stop.set()


@pytest.mark.anyio
async def test_a_task_that_is_about_to_end_may() -> None:
    async def ends() -> None:
        await anyio.sleep(0.05)

    async with leak_check(settle=5):
        start_task(ends)


@pytest.mark.anyio
async def test_a_socket_is_told_with_its_peers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        client = None
        with pytest.raises(AssertionError, match=rf"leaked: socket: .* - .*{address[1]}"):
            async with leak_check(settle=0.01):
                client = socket.create_connection(address)
        assert client is not None
        client.close()


def test_a_socket_without_a_peer_is_told() -> None:
    left: list[socket.socket] = []
    with pytest.raises(AssertionError, match=r"socket: AF_INET, not connected, descriptor \d+"), leak_check():
        left.append(socket.socket())
    left[0].close()


def test_what_is_collected_unclosed_is_told() -> None:
    with pytest.raises(AssertionError, match="ResourceWarning: unclosed <socket"), leak_check():
        socket.socket()


def test_garbage_from_before_is_not_blamed() -> None:
    gc.disable()
    try:
        ring: list[Any] = [socket.socket()]
        ring.append(ring)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            del ring
            with leak_check():
                pass
    finally:
        gc.enable()


def test_other_warnings_pass() -> None:
    with pytest.warns(UserWarning, match="mine"), leak_check():
        warnings.warn("mine", UserWarning, stacklevel=1)


@pytest.mark.anyio
async def test_an_error_of_the_block_is_left_alone() -> None:
    left: list[socket.socket] = []

    def leaks_and_fails() -> None:
        left.append(socket.socket())
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), leak_check():
        leaks_and_fails()
    with pytest.raises(ZeroDivisionError):
        async with leak_check():
            leaks_and_fails()
    for each in left:
        each.close()
