"""What must hold after each fault is really looked at: whoever breaks it is found out."""

from __future__ import annotations

import logging
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import BifrostError, ClientClosedError
from tests.hostile.answers import good
from tests.hostile.server import HostileServer, Peer
from tests.hostile.stage import KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def found_out(problem: str | None = None) -> AsyncIterator[None]:
    with pytest.raises(AssertionError, match=problem):
        yield


async def test_a_call_without_fault_passes(stage: Any) -> None:
    async with stage(good) as scene:
        assert (await scene.ask()).text == "hello"
        assert scene.server.keys == [KEY]


async def test_an_attempt_that_no_trail_tells_is_found_out(stage: Any) -> None:
    async with found_out(), stage(good) as scene:
        await scene.ask()
        scene.attempts -= 1


async def test_a_hook_that_did_not_run_is_found_out(stage: Any) -> None:
    async with found_out(), stage(good) as scene:
        await scene.ask()
        scene._log.remove("watch.after")


async def test_a_call_whose_last_hook_did_not_run_is_found_out(stage: Any) -> None:
    async with found_out(), stage(good) as scene:
        await scene.ask()
        scene.calls += 1


async def test_a_key_in_a_log_is_found_out(stage: Any) -> None:
    async with found_out("a secret is seen"), stage(good):
        logging.getLogger("any.where").debug("the key is %s", KEY)


async def test_a_key_in_an_error_is_found_out(stage: Any) -> None:
    async def call() -> Any:
        raise BifrostError(f"refused {KEY}")

    async with found_out("a secret is seen"), stage(good) as scene:
        await scene.run(call)


async def test_a_socket_that_stays_open_is_found_out(stage: Any) -> None:
    async with found_out("socket"), stage(good):
        left = socket.socket()
        left.bind(("127.0.0.1", 0))
    left.close()


async def test_a_task_that_goes_on_is_found_out(stage: Any) -> None:
    async with anyio.create_task_group() as group:
        async with found_out("task"), stage(good):
            group.start_soon(anyio.sleep_forever)
        group.cancel_scope.cancel()


async def test_a_client_that_serves_no_more_is_found_out(stage: Any) -> None:
    with pytest.raises(ClientClosedError):
        async with stage(good) as scene:
            await scene.client.close()


async def test_an_error_of_a_script_is_told(stage: Any) -> None:
    def wrong(peer: Peer) -> None:
        peer.read_request()
        raise ValueError("a script's own")

    async def play() -> None:
        async with stage(wrong) as scene:
            await scene.fails(BifrostError)

    with pytest.raises(ValueError, match="own"):
        await play()


def test_a_server_counts_what_happens_to_it() -> None:
    def greets(peer: Peer) -> None:
        peer.send(b"hello")
        peer.close()

    with HostileServer(b"one", b"two") as server:
        for expected in (b"one", b"two", b"two"):
            with socket.create_connection((server.host, server.port)) as client:
                client.sendall(b"POST / HTTP/1.1\r\ncontent-length: 2\r\n\r\nhi")
                assert client.recv(10) == expected
        server.play(greets)
        with socket.create_connection((server.host, server.port)) as client:
            assert client.recv(10) == b"hello"
    assert (server.opened, server.requests, server.open) == (4, 3, 0)
    assert server.attempts == 4
