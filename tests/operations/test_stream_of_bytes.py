"""An operation whose stream is bytes: speech, made here with nothing but what the package offers to every operation."""

from __future__ import annotations

from typing import Any, Literal

import msgspec
import pytest

from bifrost import (
    DROP,
    Bifrost,
    CallContext,
    ChunkStream,
    Plugin,
    StaticAccount,
    StreamInterruptedError,
    SyncBifrost,
    UsageError,
)
from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import TransportError
from bifrost.frozen import Value
from bifrost.operations.base import Operation, Streaming
from bifrost.operations.embeddings import EMBEDDINGS, embedding_request
from bifrost.providers.base import Built, Codec, Provider, Target
from bifrost.providers.openai import parse_error
from bifrost.testing import MockTransport, fake_key, no_waits
from bifrost.wire.http import HttpRequest, HttpResponse

MODEL = "speaker/tts-1"
SOUND = b"RIFF-sound-of-a-voice"


class SpeechRequest(Value, msgspec.Struct, frozen=True, kw_only=True):
    model: str
    text: str


class SpeechResponse(Value, msgspec.Struct, frozen=True, kw_only=True):
    sound: bytes
    model: str = ""
    provider: str = ""
    request_id: str | None = None
    attempts: list[AttemptRecord] = []
    warnings: list[str] = []
    rate_limit: RateLimit | None = None
    raw: bytes = b""


class Sound:
    """Joins the pieces."""

    def __init__(self, *, provider: str, model: str) -> None:
        self._pieces: list[bytes] = []
        self._provider, self._model = provider, model

    def add(self, chunk: bytes, /) -> None:
        self._pieces.append(chunk)

    def response(self, *, warnings: list[str] | None = None) -> SpeechResponse:
        return SpeechResponse(
            sound=b"".join(self._pieces), provider=self._provider, model=self._model, warnings=warnings or []
        )


SPEECH = Operation[SpeechRequest, SpeechResponse, bytes](
    name="speech",
    request=SpeechRequest,
    response=SpeechResponse,
    streaming=Streaming[bytes, SpeechResponse](
        chunk=bytes, accumulator=Sound, chunks_of=lambda response: [response.sound], has_content=bool
    ),
)


class Piece(msgspec.Struct):
    """An event: the bytes as they came."""

    data: bytes


class Pieces:
    """Takes the bytes as they come."""

    def __init__(self, *, event_limit: int, stream_limit: int) -> None:
        self.limits = event_limit, stream_limit

    def feed(self, data: bytes, /) -> list[Piece]:
        return [Piece(data[at : at + 4]) for at in range(0, len(data), 4)]

    def finish(self) -> list[Piece]:
        return []


class Decoder:
    def __init__(self, _: Target) -> None:
        self.done = False

    def feed(self, event: Piece, /) -> list[bytes]:
        return [event.data]

    def finish(self) -> Literal["complete"]:
        return "complete"


def build(request: SpeechRequest, target: Target) -> Built:
    body = msgspec.json.encode({"model": target.model, "input": request.text})
    return Built(request=HttpRequest(method="POST", path="/audio/speech", body=body, source=request))


def parse(response: HttpResponse, target: Target) -> SpeechResponse:
    return SpeechResponse(sound=response.body, model=target.model, provider=target.provider, raw=response.body)


EVENTS: dict[str, Any] = {"decoder": Decoder}
FOREIGN: dict[str, Any] = {"decoder": Decoder, "framer": Pieces}

SPEAKER = Provider(
    name="speaker",
    base_url="https://speaker.example/v1",
    codecs={"speech": Codec[SpeechRequest, SpeechResponse](operation=SPEECH, build=build, parse=parse, **FOREIGN)},
    parse_error=parse_error,
)


class Client(Bifrost):
    """A client with one more operation: a short method each."""

    async def say(self, model: str, text: str) -> SpeechResponse:
        return await self._engines.now().run(SPEECH, SpeechRequest(model=model, text=text), self._options)

    def stream_sound(self, model: str, text: str) -> ChunkStream[bytes, SpeechResponse]:
        return self._engines.now().stream(SPEECH, SpeechRequest(model=model, text=text), self._options)

    def stream_vectors(self) -> ChunkStream:
        return self._engines.now().stream(EMBEDDINGS, embedding_request("speaker/m", "a"), self._options)


@pytest.fixture
def mock() -> MockTransport:
    return MockTransport()


def client_of(mock: MockTransport, **options: Any) -> Client:
    return Client(StaticAccount(keys={"speaker": fake_key("main")}, providers=[SPEAKER]), transport=mock, **options)


def speaks(mock: MockTransport, sound: bytes = SOUND) -> Any:
    return mock.raw(200, sound, {"content-type": "audio/wav", "x-request-id": "req-1"})


@pytest.mark.anyio
async def test_its_chunks_are_bytes_and_its_response_is_whole(mock: MockTransport) -> None:
    speaks(mock)
    async with client_of(mock) as client, client.stream_sound(MODEL, "Hello") as stream:
        first = await stream.__anext__()
        assert (first, stream.partial.sound) == (b"RIFF", b"RIFF")
        rest = [chunk async for chunk in stream]
        reply = await stream.final()
    assert b"".join([first, *rest]) == SOUND
    assert len(rest) > 1
    assert (reply.sound, reply.provider, reply.model, reply.request_id) == (SOUND, "speaker", "tts-1", "req-1")
    assert [attempt.category for attempt in reply.attempts] == [None]


@pytest.mark.parametrize("kind", ["application/jsonl", "application/json-seq; charset=utf-8", "application/x-ndjson"])
@pytest.mark.anyio
async def test_pieces_of_json_are_a_stream(mock: MockTransport, kind: str) -> None:
    lines = b'{"a":1}\n{"a":2}\n'
    mock.raw(200, lines, {"content-type": kind})
    async with client_of(mock) as client, client.stream_sound(MODEL, "Hello") as stream:
        pieces = [chunk async for chunk in stream]
    assert pieces == [lines[at : at + 4] for at in range(0, len(lines), 4)]


@pytest.mark.anyio
async def test_a_plain_call_gives_the_same(mock: MockTransport) -> None:
    speaks(mock)
    async with client_of(mock) as client:
        reply = await client.say(MODEL, "Hello")
    assert (reply.sound, reply.request_id) == (SOUND, "req-1")


@pytest.mark.parametrize("sound", [b":\x00\x01\x02", b" \n:sound", b"data: not an event\n\n"])
@pytest.mark.anyio
async def test_bytes_that_begin_like_events_are_no_events(mock: MockTransport, sound: bytes) -> None:
    speaks(mock, sound)
    async with client_of(mock) as client:
        assert (await client.say(MODEL, "Hello")).sound == sound


@pytest.mark.anyio
async def test_events_in_answer_to_a_plain_call_make_its_response(mock: MockTransport) -> None:
    mock.raw(200, b"data: RIFF\n\ndata: -sound\n\n", {"content-type": "text/event-stream"})
    codec = Codec[SpeechRequest, SpeechResponse](operation=SPEECH, build=build, parse=parse, **EVENTS)
    row = SPEAKER.replace(codecs={"speech": codec})
    account = StaticAccount(keys={"speaker": fake_key("main")}, providers=[row])
    async with Client(account, transport=mock) as client:
        reply = await client.say(MODEL, "Hello")
    assert (reply.sound, reply.provider) == (b"RIFF-sound", "speaker")
    assert reply.raw.startswith(b"data: RIFF")


@pytest.mark.anyio
async def test_what_fails_before_the_first_piece_is_retried(mock: MockTransport) -> None:
    mock.fail(503)
    speaks(mock)
    with no_waits():
        async with client_of(mock) as client, client.stream_sound(MODEL, "Hello") as stream:
            reply = await stream.final()
    assert (reply.sound, len(reply.attempts)) == (SOUND, 2)


@pytest.mark.parametrize("on_interrupt", ["raise", "restart"])
@pytest.mark.anyio
async def test_one_that_breaks_has_what_came(mock: MockTransport, on_interrupt: str) -> None:
    """It has no chunk that could take back others, so it does not begin anew."""
    speaks(mock).cut(after_bytes=8)
    async with client_of(mock, on_interrupt=on_interrupt) as client, client.stream_sound(MODEL, "Hello") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    partial: Any = caught.value.partial
    assert isinstance(caught.value.__cause__, TransportError)
    assert partial.sound == SOUND[:8]
    assert len(mock.calls) == 1


@pytest.mark.anyio
async def test_it_has_no_text(mock: MockTransport) -> None:
    speaks(mock)
    async with client_of(mock) as client, client.stream_sound(MODEL, "Hello") as stream:
        with pytest.raises(UsageError, match="its chunks are bytes"):
            _ = stream.text_stream
        with pytest.raises(UsageError, match="its chunks are bytes"):
            await stream.display()
        assert (await stream.final()).sound == SOUND


class Louder(Plugin):
    """Changes chunks, takes some out, and answers by itself."""

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.seen: list[bytes] = []

    def before(self, call: CallContext, request: Any) -> Any:
        assert isinstance(request, call.operation.request)
        return self.answer

    def on_chunk(self, call: CallContext, chunk: bytes) -> Any:
        self.seen.append(chunk)
        return DROP if chunk == b"RIFF" else chunk.upper()


@pytest.mark.anyio
async def test_plugins_see_its_bytes(mock: MockTransport) -> None:
    speaks(mock)
    plugin = Louder()
    async with client_of(mock, plugins=[plugin]) as client, client.stream_sound(MODEL, "Hello") as stream:
        reply = await stream.final()
    assert b"".join(plugin.seen) == SOUND
    assert reply.sound == SOUND.removeprefix(b"RIFF").upper()


async def _in_turn(*chunks: Any) -> Any:
    for chunk in chunks:
        yield chunk


@pytest.mark.parametrize("kind", ["response", "list", "iterator"])
@pytest.mark.anyio
async def test_a_plugin_answers_with_a_response_or_with_bytes(mock: MockTransport, kind: str) -> None:
    answers = {"response": SpeechResponse(sound=b"ab"), "list": [b"a", b"b"], "iterator": _in_turn(b"a", b"b")}
    plugins = [Louder(answers[kind])]
    async with client_of(mock, plugins=plugins) as client, client.stream_sound(MODEL, "Hello") as stream:
        assert (await stream.final()).sound == b"AB"
    assert not mock.calls


@pytest.mark.anyio
async def test_what_is_no_answer_of_the_operation_is_not_taken(mock: MockTransport) -> None:
    speaks(mock)
    async with client_of(mock, plugins=[Louder([b"a", "b"])]) as client:
        reply = await client.say(MODEL, "Hello")
    assert reply.sound == SOUND
    (warning,) = reply.warnings
    assert warning.endswith("returned list, but it may return only SpeechResponse, an error, chunks, a request or None")


@pytest.mark.anyio
async def test_an_operation_without_chunks_is_not_streamed(mock: MockTransport) -> None:
    async with client_of(mock) as client:
        with pytest.raises(UsageError, match="embeddings is never streamed"):
            client.stream_vectors()


def test_without_await(mock: MockTransport) -> None:
    method: Any = Client.stream_sound

    class SyncClient(SyncBifrost):
        stream_sound = SyncBifrost._stream(method)

    speaks(mock)
    account = StaticAccount(keys={"speaker": fake_key("main")}, providers=[SPEAKER])
    with SyncClient(account, transport=mock) as client, client.stream_sound(MODEL, "Hello") as stream:
        assert b"".join(stream) == SOUND
        assert stream.final().sound == SOUND
