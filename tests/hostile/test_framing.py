"""Bodies on their way: that stall, are cut, end elsewhere than they say, or are followed by what nobody asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import BadRequestError, BifrostError, CallTimeoutError, MalformedResponseError, TransportError
from tests.conformance.transports import Route
from tests.engine.peers import SSE_HEAD
from tests.engine.rig import until
from tests.hostile.answers import CHAT, MODEL, STREAM, good, good_answer, head
from tests.hostile.server import Peer
from tests.hostile.stage import faults
from tests.hostile.test_connecting import UPLOAD
from tests.hostile.test_heads import says

if TYPE_CHECKING:
    from tests.plugins.recorder import Kind

OVER_EACH_ROUTE = True
pytestmark = pytest.mark.anyio

BODY = CHAT.partition(b"\r\n\r\n")[2]
LENGTH = len(BODY)
JSON = "content-type: application/json"
CHUNKED = head(JSON, "transfer-encoding: chunked")


async def test_fault_11_a_body_that_stalls(stage: Any) -> None:
    async with stage(good, says(CHAT[:-10])) as scene:
        await scene.warm()
        error = await scene.fails(CallTimeoutError, timeout=0.5)
        assert (error.phase, faults(error)) == ("body", ["transient"])


async def test_fault_11_a_body_byte_by_byte_for_ever(stage: Any) -> None:
    def drips(peer: Peer) -> None:
        peer.read_request()
        peer.send(head(JSON, version="1.0"))
        while True:
            peer.drip(b" ", every=0.01)

    async with stage(good, drips) as scene:
        await scene.warm()
        error = await scene.fails(CallTimeoutError, timeout=0.5)
        assert (error.phase, faults(error)) == ("body", ["transient"])


async def test_fault_11_a_stream_that_stalls_before_its_first_event(stage: Any) -> None:
    async with stage(good, says(SSE_HEAD)) as scene:
        await scene.warm("stream")
        error = await scene.fails(CallTimeoutError, "stream", timeout=0.5)
        assert error.phase in ("body", "first_token")
        assert len(error.attempts) == 1


async def test_fault_12_a_body_that_is_reset(stage: Any) -> None:
    async with stage(says(CHAT[:-10], then=Peer.reset)) as scene:
        error = await scene.fails(TransportError)
        assert faults(error) == ["transient"] * 3
        assert error.body is None
        scene.server.play(says(CHAT[:-10], then=Peer.reset), good)
        assert (await scene.ask()).text == "hello"


async def test_fault_13_a_body_shorter_than_its_length(stage: Any) -> None:
    short = head(JSON, f"content-length: {LENGTH + 10}") + BODY
    async with stage(says(short, then=Peer.close)) as scene:
        # The JSON is whole, but the answer is not.
        error = await scene.fails(TransportError)
        assert faults(error) == ["transient"] * 3


@pytest.mark.parametrize("apart", [False, True], ids=["at once", "later"])
async def test_fault_14_a_second_answer_behind_the_first(stage: Any, transport: Route, kind: Kind, apart: bool) -> None:
    wrong = CHAT.replace(b"hello", b"wrong")

    def talks(peer: Peer) -> None:
        peer.read_request()
        if apart:
            peer.send(good_answer(peer), wrong)
        else:
            peer.send(good_answer(peer) + wrong)

    async with stage(talks) as scene:
        for number in range(1, 6):
            assert (await scene.ask(kind)).text == "hello"
            await scene.quiet()
            # What comes when the next request is on its way already cannot be told from its answer.
            whole = number * (len(wrong) + len(CHAT if kind == "plain" else STREAM))
            await until(lambda whole=whole: scene.server.sent_bytes == whole)
            if transport.proxy is not None:
                # Nothing tells when the proxy has passed it on.
                await anyio.sleep(0.1)
        if not apart:
            assert scene.server.opened == 5


BROKEN_CHUNKS = {
    "a chunk that is cut": CHUNKED + b"%x\r\n" % LENGTH + BODY[:50],
    "a size that is none": CHUNKED + b"zz\r\n" + BODY,
    "a negative size": CHUNKED + b"-5\r\n" + BODY,
    "a size of thirty digits": CHUNKED + b"f" * 30 + b"\r\n" + BODY,
    "a chunk longer than its size": CHUNKED + b"5\r\n" + BODY + b"\r\n0\r\n\r\n",
    "no end": CHUNKED + b"%x\r\n%b\r\n" % (LENGTH, BODY),
    "half an end": CHUNKED + b"%x\r\n%b\r\n0\r\n" % (LENGTH, BODY),
}


@pytest.mark.parametrize("what", BROKEN_CHUNKS)
async def test_fault_15_chunks_that_are_none(stage: Any, what: str) -> None:
    async with stage(says(BROKEN_CHUNKS[what], then=Peer.close)) as scene:
        error = await scene.fails(TransportError)
        assert faults(error) == ["transient"] * 3


async def test_fault_22_an_answer_that_ends_with_its_connection(stage: Any) -> None:
    whole = head(JSON, version="1.0") + BODY
    async with stage(says(whole, then=Peer.close)) as scene:
        for number in range(1, 4):
            assert (await scene.ask()).text == "hello"
            assert scene.server.opened == number


async def test_fault_22_a_stream_that_ends_with_its_connection(stage: Any) -> None:
    events = STREAM[len(SSE_HEAD) :]
    pieces = [piece for piece in events.split(b"\r\n") if piece.startswith(b"data")]
    whole = head("content-type: text/event-stream", version="1.0") + b"".join(pieces)
    async with stage(says(whole, then=Peer.close)) as scene:
        reply = await scene.ask("stream")
        assert (reply.text, reply.warnings) == ("hello", [])


async def test_fault_22_an_answer_without_length_that_is_cut(stage: Any) -> None:
    cut = head(JSON, version="1.0") + BODY[:-20]
    async with stage(says(cut, then=Peer.close)) as scene:
        error = await scene.fails(MalformedResponseError)
        # Nothing tells it from a provider that ends so, and once more is worth a try.
        assert faults(error) == ["malformed"] * 2


@pytest.mark.parametrize("ends", [Peer.close, Peer.stall], ids=["and closed", "and left open"])
async def test_fault_23_a_refusal_before_the_upload_is_over(stage: Any, kind: Kind, ends: Any) -> None:
    refusal = b'{"error": {"message": "too long for us", "type": "invalid_request_error"}}'

    def refuses(peer: Peer) -> None:
        peer.read_head()
        fields = (JSON, f"content-length: {len(refusal)}", "connection: close")
        peer.send(head(*fields, status="413 Content Too Large") + refusal)
        ends(peer)

    upload = "x" * UPLOAD
    async with stage(refuses, loud=False, receives=65_536) as scene:

        async def call() -> Any:
            return await scene.client.chat(MODEL, upload)

        async def stream() -> Any:
            async with scene.client.stream_chat(MODEL, upload) as opened:
                return await opened.final()

        with pytest.raises(BifrostError) as caught:
            await scene.run(call if kind == "plain" else stream)
        assert isinstance(caught.value, BadRequestError)
        assert (caught.value.status, faults(caught.value)) == (413, ["caller"])
        assert "too long for us" in caught.value.message
