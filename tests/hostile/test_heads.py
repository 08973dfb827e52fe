"""Heads of answers: that never end, that are no HTTP, that contradict themselves, that are too large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from bifrost import BifrostError, CallTimeoutError, MalformedResponseError, ProtocolError, TransportError
from tests.hostile.answers import CHAT, good, good_answer, head
from tests.hostile.memory import resident
from tests.hostile.server import Peer
from tests.hostile.stage import faults

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.plugins.recorder import Kind

OVER_EACH_ROUTE = True
pytestmark = [pytest.mark.anyio, pytest.mark.one_loop]

MIB = 1024 * 1024


def says(*pieces: bytes, then: Callable[[Peer], None] = Peer.stall) -> Callable[[Peer], None]:
    """Send pieces in answer to a request, and then do something."""

    def script(peer: Peer) -> None:
        peer.read_request()
        peer.send(*pieces)
        then(peer)

    return script


async def test_fault_09_a_head_byte_by_byte_for_ever(stage: Any, kind: Kind) -> None:
    def drips(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\nx-y: ")
        while True:
            peer.drip(b"x", every=0.02)

    async with stage(good, drips) as scene:
        await scene.warm(kind)
        error = await scene.fails(CallTimeoutError, kind, timeout=0.5)
        assert (error.phase, len(error.attempts)) == ("headers", 1)


async def test_fault_10_a_head_that_stalls(stage: Any, kind: Kind) -> None:
    async with stage(good, says(b"HTTP/1.1 200 OK\r\ncontent-ty")) as scene:
        await scene.warm(kind)
        error = await scene.fails(CallTimeoutError, kind, timeout=0.5)
        assert (error.phase, len(error.attempts)) == ("headers", 1)


LENGTHS = {
    "two lengths": head("content-length: 2", "content-length: 3") + b"{}",
    "a list of lengths": head("content-length: 2, 3") + b"{}",
    "a negative length": head("content-length: -2") + b"{}",
    "a length that is no number": head("content-length: 0x10") + b"{}",
    "a length of two thousand digits": head(f"content-length: {'9' * 2000}") + b"{}",
    "an unknown transfer coding": head("transfer-encoding: nonsense") + b"{}",
}


@pytest.mark.parametrize("what", LENGTHS)
async def test_fault_16_lengths_that_contradict(stage: Any, kind: Kind, what: str) -> None:
    async with stage(says(LENGTHS[what], then=Peer.close)) as scene:
        error = await scene.fails(TransportError, kind)
        assert faults(error) == ["transient"] * 3


async def test_fault_16_chunks_win_over_a_length_and_the_connection_is_dropped(stage: Any) -> None:
    body = CHAT.partition(b"\r\n\r\n")[2]
    both = head("content-type: application/json", "transfer-encoding: chunked", "content-length: 3")
    answer = both + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
    async with stage(answer) as scene:
        # RFC 9112, 6.3: the chunks count. Somebody in between may have seen it otherwise, so nothing may follow.
        assert (await scene.ask()).text == "hello"
        await scene.quiet()
        assert (await scene.ask()).text == "hello"
        assert scene.server.opened == 2


NO_HTTP = {
    "garbage": b"\x00\x01\x02\xff\xfe garbage\r\n\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x28",
    "HTTP/2": bytes.fromhex("000012040000000000 000300000080 000400010000 000500ffffff"),
    "a status that is none": b"HTTP/1.1 abc Hm\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "ICY": b"ICY 200 OK\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "control characters": b"HTTP/1.1 2\x1b[2J\x0700 OK\r\n\r\n",
}


@pytest.mark.parametrize("what", NO_HTTP)
async def test_fault_17_no_http(stage: Any, kind: Kind, what: str) -> None:
    async with stage(says(NO_HTTP[what], then=Peer.close)) as scene:
        error = await scene.fails(ProtocolError, kind)
        assert len(error.attempts) == 3
        assert len(error.message) <= 200
        assert error.message.isprintable()


@pytest.mark.parametrize("first", [b"HTTP/9.9 200 OK", b"HTTP/1.1 200 \x1b[2J\x07"], ids=["version", "reason"])
async def test_fault_17_hardly_http(stage: Any, kind: Kind, first: bytes) -> None:
    async with stage(says(first + b"\r\n\r\n", then=Peer.close)) as scene:
        error = await scene.fails(BifrostError, kind)
        assert isinstance(error, MalformedResponseError | TransportError)
        assert str(error).isprintable()


INTERIM = b"HTTP/1.1 100 Continue\r\n\r\n"
EARLY = b"HTTP/1.1 103 Early Hints\r\nlink: </x>; rel=preload\r\n\r\n"
PROCESSING = b"HTTP/1.1 102 Processing\r\n\r\n"


async def test_fault_18_a_few_interim_answers(stage: Any, kind: Kind) -> None:
    def hesitates(peer: Peer) -> None:
        peer.read_request()
        peer.send(INTERIM, PROCESSING * 3, EARLY * 10, good_answer(peer))

    async with stage(hesitates) as scene:
        assert (await scene.ask(kind)).text == "hello"


@pytest.mark.parametrize("together", [True, False], ids=["at once", "one by one"])
async def test_fault_18_interim_answers_without_end(stage: Any, kind: Kind, together: bool) -> None:
    def floods(peer: Peer) -> None:
        peer.read_request()
        if together:
            peer.send(INTERIM * 10_000, good_answer(peer))
        for _ in range(10_000):
            peer.send(INTERIM)
        peer.send(good_answer(peer))

    async with stage(floods) as scene:
        error = await scene.fails(ProtocolError, kind, max_retries=0)
        assert "interim" in error.message


async def test_fault_18_a_protocol_that_nobody_asked_for(stage: Any, kind: Kind) -> None:
    upgrade = head("connection: upgrade", "upgrade: websocket", status="101 Switching Protocols")
    async with stage(says(upgrade)) as scene:
        error = await scene.fails(TransportError, kind, max_retries=0)
        assert len(error.attempts) == 1


LARGE = {
    "a field of 1 MiB": head(f"x-y: {'a' * MIB}", "content-length: 2") + b"{}",
    "a status line of 1 MiB": b"HTTP/1.1 200 " + b"a" * MIB + b"\r\ncontent-length: 2\r\n\r\n{}",
    "5,000 fields": head(*(f"x-{n}: a" for n in range(5000)), "content-length: 2") + b"{}",
    "90 KiB of fields": head(*(f"x-{n}: {'a' * 1000}" for n in range(90)), "content-length: 2") + b"{}",
    "a NUL": head("x-y: a\0b", "content-length: 2") + b"{}",
    "a bare CR": head("x-y: a\rx-z: b", "content-length: 2") + b"{}",
    "a field without a name": head(": a", "content-length: 2") + b"{}",
    "a blank in a name": head("x y: a", "content-length: 2") + b"{}",
}


@pytest.mark.parametrize("what", LARGE)
async def test_fault_19_header_fields_that_are_too_large_or_none(stage: Any, kind: Kind, what: str) -> None:
    async with stage(says(LARGE[what])) as scene:
        before = resident()
        error = await scene.fails(TransportError, kind)
        assert len(error.attempts) == 3
        assert error.message.isprintable()
        assert resident() - before < 16 * MIB


async def test_fault_19_header_fields_without_end(stage: Any, kind: Kind) -> None:
    def endless(peer: Peer) -> None:
        peer.read_request()
        peer.send(b"HTTP/1.1 200 OK\r\n")
        fields = b"".join(b"x-%d: %b\r\n" % (number, b"a" * 100) for number in range(500))
        while True:
            peer.send(fields)

    async with stage(endless, good) as scene:
        before = resident()
        reply = await scene.ask(kind)
        assert faults(reply) == ["transient", None]
        assert resident() - before < 16 * MIB
