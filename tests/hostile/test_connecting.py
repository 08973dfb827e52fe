"""Connections: that are not made, that break before an answer, that were kept too long."""

from __future__ import annotations

import socket
import sys
import threading
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import CallTimeoutError, ConnectError, Timeouts, TransportError
from bifrost.config import ConnectionConfig
from tests.hostile.answers import CHAT, MODEL, OTHER, good, good_answer
from tests.hostile.server import HostileServer, Peer
from tests.hostile.stage import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.recorder import Kind

pytestmark = pytest.mark.anyio


# --- no connection


async def test_fault_01_a_refused_connection(stage: Any, kind: Kind) -> None:
    server = HostileServer(good, accepts=False)
    async with stage(server=server) as scene:
        scene.counts = False
        error = await scene.fails(ConnectError, kind)
        assert "refused" in error.message
        assert faults(error) == ["never_sent"] * 3
        await scene.renew()
        reply = await scene.ask(kind, fallbacks=[OTHER])
        assert (reply.text, reply.provider) == ("other", "anthropic")
        assert faults(reply) == ["never_sent"] * 3 + [None]
        server.accept()


async def test_fault_02_a_black_hole(stage: Any, kind: Kind) -> None:
    server = HostileServer(good, accepts=False)
    async with stage(server=server, timeouts=Timeouts(connect=0.1)) as scene:
        scene.counts = False
        fillers = server.fill()
        error = await scene.fails(CallTimeoutError, kind)
        assert error.phase == "connect"
        assert faults(error) == ["never_sent"] * 3
        await scene.renew()
        reply = await scene.ask(kind, fallbacks=[OTHER])
        assert reply.provider == "anthropic"
        for filler in fillers:
            filler.close()
        server.accept()


NAME = "provider.test"


class Resolver:
    """Stands in for the system's: knows one name, may be slow, and can be told that the name has moved."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.address: str | None = None
        self.asked = threading.Event()
        self.gate: threading.Event | None = None
        """If there is one, answers wait for it."""
        self._real = socket.getaddrinfo
        patch.setattr(socket, "getaddrinfo", self)

    def __call__(self, host: Any, *args: Any, **options: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        if name != NAME:
            return self._real(host, *args, **options)
        flags = options.get("flags", args[4] if len(args) > 4 else 0)
        if flags & socket.AI_NUMERICHOST:
            raise socket.gaierror(socket.EAI_NONAME, "no number")
        address, gate = self.address, self.gate
        self.asked.set()
        if gate is not None:
            gate.wait(20)
        if address is None:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return self._real(address, *args, **options)


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    return Resolver(monkeypatch)


def named(server: HostileServer) -> str:
    return f"http://{NAME}:{server.port}"


async def test_fault_03_a_name_that_nobody_knows(stage: Any, kind: Kind, resolver: Resolver) -> None:
    with HostileServer(good) as server:
        async with stage(server=server, url=named(server), allow_insecure_http=True) as scene:
            scene.counts = False
            error = await scene.fails(ConnectError, kind)
            assert NAME in error.message
            assert faults(error) == ["never_sent"] * 3
            resolver.address = "127.0.0.1"


async def test_fault_03_a_name_that_is_looked_up_slowly(stage: Any, kind: Kind, resolver: Resolver) -> None:
    resolver.address, resolver.gate = "127.0.0.1", threading.Event()
    with HostileServer(good) as server:
        async with stage(
            server=server, url=named(server), allow_insecure_http=True, timeouts=Timeouts(connect=0.2)
        ) as scene:
            scene.counts = False
            error = await scene.fails(CallTimeoutError, kind)
            assert error.phase == "connect"
            resolver.asked.clear()
            turned = 0
            with anyio.fail_after(10):
                async with anyio.create_task_group() as group:

                    async def call() -> None:
                        await scene.client.chat(MODEL, "hi")

                    scene.calls += 1
                    group.start_soon(call)
                    while not resolver.asked.is_set():
                        # The event loop turns while the name is being looked up.
                        turned += 1
                        await anyio.sleep(0.001)
                    group.cancel_scope.cancel()
                await scene.quiet()
            assert turned
            resolver.gate.set()
            resolver.gate = None


async def test_fault_04_a_name_that_moves(stage: Any, resolver: Resolver) -> None:
    resolver.address = "127.0.0.1"
    with HostileServer(good) as server, HostileServer(good, host="127.0.0.2", port=server.port) as moved:
        async with stage(
            server=server,
            url=named(server),
            allow_insecure_http=True,
            connections=ConnectionConfig(age=0.2),
        ) as scene:
            scene.counts = False
            await scene.ask()
            resolver.address = "127.0.0.2"
            with anyio.fail_after(10):
                while not moved.requests:
                    await scene.ask()
        await moved.all_closed()


# --- a connection that breaks before the answer


async def test_fault_05_taken_and_closed(stage: Any, kind: Kind) -> None:
    async with stage(Peer.close) as scene:
        error = await scene.fails(TransportError, kind)
        assert faults(error) == ["transient"] * 3
        scene.server.play(Peer.close, good)
        reply = await scene.ask(kind)
        assert (reply.text, faults(reply)) == ("hello", ["transient", None])


async def test_fault_05_read_and_closed(stage: Any, kind: Kind) -> None:
    def closes(peer: Peer) -> None:
        peer.read_request()
        peer.close()

    async with stage(closes) as scene:
        error = await scene.fails(TransportError, kind)
        assert faults(error) == ["transient"] * 3


def resets(peer: Peer) -> None:
    peer.read_request()
    peer.reset()


@pytest.mark.parametrize("script", [Peer.reset, resets], ids=["at once", "after the request"])
async def test_fault_06_taken_and_reset(stage: Any, kind: Kind, script: Any) -> None:
    async with stage(script) as scene:
        error = await scene.fails(TransportError, kind)
        assert set(faults(error)) <= {"transient", "never_sent"}
        assert len(error.attempts) == 3
        await scene.renew()
        reply = await scene.ask(kind, fallbacks=[OTHER])
        assert reply.provider == "anthropic"


def mute(peer: Peer) -> None:
    peer.read_request()
    peer.stall()


async def test_fault_07_no_answer(stage: Any, kind: Kind) -> None:
    async with stage(good, mute) as scene:
        await scene.warm(kind)
        error = await scene.fails(CallTimeoutError, kind, timeout=0.5)
        assert (error.phase, len(error.attempts)) == ("headers", 1)


UPLOAD = 6_000_000
"""More than the buffers of both sides take: the sender's is at most 4 MiB."""


async def test_fault_08_an_upload_that_is_never_read(stage: Any, kind: Kind) -> None:
    upload = "x" * UPLOAD
    async with stage(Peer.ignore, timeouts=Timeouts(write=0.2), loud=False, receives=65_536) as scene:

        async def call() -> Any:
            return await scene.client.chat(MODEL, upload, max_retries=0)

        async def stream() -> Any:
            async with scene.client.stream_chat(MODEL, upload, max_retries=0) as opened:
                return await opened.final()

        with pytest.raises(CallTimeoutError) as caught:
            await scene.run(call if kind == "plain" else stream)
        assert caught.value.phase == "write"
        assert faults(caught.value) == ["transient"]


async def test_fault_08_a_caller_that_leaves_while_it_uploads(stage: Any) -> None:
    async with stage(Peer.ignore, loud=False, receives=65_536) as scene:
        upload = "x" * UPLOAD
        scene.calls += 1
        with anyio.move_on_after(0.3) as scope:
            await scene.client.chat(MODEL, upload)
        assert scope.cancelled_caught
        scene.attempts += 1
        await scene.quiet()


# --- a connection that was kept


def once_then(last: Callable[[Peer], None]) -> Callable[[Peer], None]:
    """Answer the first request of each connection, and do something else to the second."""

    def script(peer: Peer) -> None:
        peer.read_request()
        if peer.requests > 1:
            last(peer)
        else:
            peer.send(good_answer(peer))

    return script


@pytest.mark.parametrize("ends", [Peer.close, Peer.reset], ids=["closed", "reset"])
async def test_fault_20_a_kept_connection_that_ends_at_the_next_request(stage: Any, kind: Kind, ends: Any) -> None:
    # Without retries: what follows is no retry.
    async with stage(once_then(ends)) as scene:
        await scene.ask(kind, max_retries=0)
        await scene.quiet()
        reply = await scene.ask(kind, max_retries=0)
        assert reply.text == "hello"
        assert faults(reply) == ["stale", None]
        assert [attempt.wait for attempt in reply.attempts] == [0, 0]


async def test_fault_21_connections_that_are_closed_just_as_they_are_used(stage: Any) -> None:
    random = Random(21)

    def hasty(peer: Peer) -> None:
        peer.read_request()
        peer.send(CHAT)
        if not peer.next_within(random.random() * 0.005):
            peer.open = False

    async with stage(hasty, loud=False, connections=ConnectionConfig(idle=60)) as scene:
        pauses = Random(22)

        async def caller() -> None:
            for _ in range(40):
                reply = await scene.ask(max_retries=0)
                assert reply.text == "hello"
                await anyio.sleep(pauses.random() * 0.005)

        async with anyio.create_task_group() as group:
            for _ in range(10):
                group.start_soon(caller)
        assert scene.calls == scene.server.requests == 400, "none is lost, and none is answered twice"
        # Some were caught by the race: the attempts that found their connection closed are known to the client alone.
        scene.counts = False


# --- no descriptors


@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_fault_27_no_descriptor_is_left(loop: str) -> None:
    import subprocess

    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("few_descriptors.py")), loop],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "recovered"
