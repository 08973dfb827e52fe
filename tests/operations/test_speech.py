"""Speech through the public clients, whole and as a stream of bytes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from bifrost import StreamInterruptedError, SyncBifrost
from bifrost.errors import InvalidRequestError, MalformedResponseError, RateLimitError, UnsupportedError
from bifrost.operations import speech
from bifrost.operations.speech import SpeechRequest, SpeechResponse
from bifrost.testing import LoopbackProvider, MockTransport, assert_called, no_waits

MODEL = "openai/gpt-4o-mini-tts"
SOUND = b"ID3\x04" + bytes(range(256)) * 8
MP3 = {"content-type": "audio/mpeg", "x-request-id": "req-1"}


def test_these_names_of_the_module_are_public() -> None:
    names = ["SPEECH", "SpeechAccumulator", "SpeechRequest", "SpeechResponse", "speech_request"]
    assert sorted(speech.__all__) == names


@pytest.mark.anyio
async def test_speech_is_bytes_with_a_media_type(mock: MockTransport) -> None:
    mock.fail(503).then.raw(200, SOUND, MP3)
    async with mock.client() as client:
        with no_waits():
            reply = await client.speak(MODEL, "Hello", voice="coral", speed=1.5)
    assert (reply.audio, reply.media_type, reply.raw) == (SOUND, "audio/mpeg", SOUND)
    assert (reply.provider, reply.model, reply.request_id) == ("openai", "gpt-4o-mini-tts", "req-1")
    assert [attempt.category for attempt in reply.attempts] == ["transient", None]
    (_, call) = assert_called(mock, times=2, endpoint="speech")
    assert call.request == SpeechRequest(model="gpt-4o-mini-tts", input="Hello", voice="coral", speed=1.5)


@pytest.mark.anyio
async def test_over_a_socket_whole_and_streamed() -> None:
    async with LoopbackProvider() as server, server.client() as client:
        server.raw(200, SOUND, MP3).times(2)
        assert (await client.speak(MODEL, "Hello", voice="coral")).audio == SOUND
        async with client.stream_speech(MODEL, "Hello", voice="coral") as stream:
            pieces = [piece async for piece in stream]
            reply = await stream.final()
    assert b"".join(pieces) == reply.audio == SOUND
    assert (reply.media_type, reply.request_id) == ("audio/mpeg", "req-1")


@pytest.mark.anyio
async def test_a_stream_that_breaks_has_what_arrived(mock: MockTransport) -> None:
    mock.raw(200, SOUND, MP3).cut(after_bytes=8)
    async with mock.client() as client, client.stream_speech(MODEL, "Hello", voice="coral") as stream:
        with pytest.raises(StreamInterruptedError) as caught:
            await stream.final()
    partial: Any = caught.value.partial
    assert partial.audio == SOUND[:8]


REFUSED: dict[str, tuple[bytes, str, type[Exception]]] = {
    "an error": (b'{"error": {"message": "slow down", "code": "rate_limit_exceeded"}}', "json", RateLimitError),
    "another document": (b'{"id": "a"}', "json", MalformedResponseError),
    "a page": (b"<html><title>Sign in</title>", "html", MalformedResponseError),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.anyio
async def test_what_is_no_sound_is_an_error(case: str, mock: MockTransport) -> None:
    body, kind, error = REFUSED[case]
    content_type = {"json": "application/json", "html": "text/html"}[kind]
    mock.raw(200, body, {"content-type": content_type}).times(2)
    async with mock.client(max_retries=0) as client:
        with pytest.raises(error):
            await client.speak(MODEL, "Hello", voice="coral")
        with pytest.raises(error):
            async with client.stream_speech(MODEL, "Hello", voice="coral") as stream:
                await stream.final()


@pytest.mark.anyio
async def test_an_error_under_the_name_of_sound_is_an_error(mock: MockTransport) -> None:
    mock.raw(200, REFUSED["an error"][0], MP3)
    async with mock.client(max_retries=0) as client:
        with pytest.raises(RateLimitError):
            async with client.stream_speech(MODEL, "Hello", voice="coral") as stream:
                await stream.final()


@pytest.mark.anyio
async def test_wrong_arguments_are_refused(mock: MockTransport) -> None:
    async with mock.client() as client:
        with pytest.raises(InvalidRequestError, match="input: the text is empty"):
            await client.speak(MODEL, " ", voice="coral")
        with pytest.raises(InvalidRequestError, match="voice: expected `str`"):
            await client.speak(MODEL, "a", voice=5)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        with pytest.raises(UnsupportedError, match="anthropic has no speech endpoint here"):
            await client.speak("anthropic/claude-haiku-4-5", "a", voice="coral")
    assert not mock.calls


@pytest.mark.anyio
async def test_what_groq_lacks_is_left_out_with_a_warning(mock: MockTransport) -> None:
    mock.raw(200, b"RIFF....WAVE", {"content-type": "application/octet-stream"})
    async with mock.client() as client:
        reply = await client.speak("groq/playai-tts", "a", voice="Fritz-PlayAI", instructions="Slowly.")
    assert reply.media_type == "audio/wav"
    assert any(warning.startswith("instructions was left out") for warning in reply.warnings)
    assert mock.calls[0].json == {"model": "playai-tts", "input": "a", "voice": "Fritz-PlayAI"}


def test_without_await(mock: MockTransport) -> None:
    mock.raw(200, SOUND, MP3).times(2)
    with SyncBifrost(mock.account, transport=mock) as client:
        assert client.speak(MODEL, "a", voice="coral").audio == SOUND
        with client.stream_speech(MODEL, "a", voice="coral") as stream:
            assert b"".join(stream) == SOUND


def test_a_notebook_plays_sound() -> None:
    response = SpeechResponse(audio=b"abc", media_type="audio/wav", model="m", provider="p")
    assert '<audio controls src="data:audio/wav;base64,YWJj">' in response._repr_html_()
    assert "<audio" not in response.replace(media_type="")._repr_html_()
    assert "<b" not in response.replace(media_type='audio/"><b')._repr_html_().partition("</audio>")[0]
    assert repr(response) == "SpeechResponse(p/m: audio/wav, 3 bytes)"
    assert msgspec.json.decode(msgspec.json.encode(response), type=SpeechResponse) == response
