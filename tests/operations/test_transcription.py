"""Transcriptions through the public clients, and compared with the vendor's SDK."""

from __future__ import annotations

import io
from email import message_from_bytes
from typing import TYPE_CHECKING, Any

import httpx2
import msgspec
import openai
import pytest

from bifrost import SyncBifrost
from bifrost.errors import InvalidRequestError, MalformedResponseError, RateLimitError
from bifrost.operations import transcription
from bifrost.operations.transcription import TranscriptionRequest, TranscriptionResponse, TranscriptionSegment
from bifrost.providers.base import Target
from bifrost.providers.openai.transcription import build_transcription, transcription_fields
from bifrost.testing import LoopbackProvider, MockTransport, assert_called
from bifrost.wire.multipart import FormFile, encode_form

if TYPE_CHECKING:
    from pathlib import Path

MODEL = "openai/whisper-1"
SOUND = b"ID3\x04" + bytes(range(256))
BODY = {
    "text": "Hello there.",
    "language": "english",
    "duration": 1.5,
    "segments": [{"id": 0, "text": "Hello", "start": 0.0, "end": 0.5, "speaker": "A"}, None, {"text": " there."}],
    "words": [{"word": "Hello", "start": 0.0, "end": 0.5}],
    "usage": {"type": "tokens", "input_tokens": 5, "output_tokens": 3, "total_tokens": 8},
}


def parts_of(content_type: str, body: bytes) -> list[tuple[str, str | None, bytes]]:
    """Return the name, the file name and the content of each part of a form."""
    message = message_from_bytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    payload: Any = message.get_payload()
    return [
        (part.get_param("name", header="content-disposition"), part.get_filename(), part.get_payload(decode=True))
        for part in payload
    ]


def test_these_names_of_the_module_are_public() -> None:
    assert {"TRANSCRIPTIONS", "AudioInput", "TranscriptionRequest", "transcription_request"} <= set(
        transcription.__all__
    )


@pytest.mark.anyio
async def test_over_a_socket_from_bytes_a_path_and_a_file(tmp_path: Path) -> None:
    path = tmp_path / "talk.mp3"
    path.write_bytes(SOUND)
    async with LoopbackProvider() as server, server.client() as client:
        server.json(BODY).times(3)
        for file in (SOUND, path, io.BytesIO(SOUND)):
            reply = await client.transcribe(MODEL, file, response_format="verbose_json")
            assert reply.text == "Hello there."
    assert reply.segments == [
        TranscriptionSegment(text="Hello", start=0.0, end=0.5, speaker="A"),
        TranscriptionSegment(text=" there."),
    ]
    assert ([word.word for word in reply.words], reply.language, reply.duration) == (["Hello"], "english", 1.5)
    assert (reply.usage.input_tokens, reply.usage.output_tokens) == (5, 3)


@pytest.mark.anyio
async def test_subtitles_translations_and_errors(mock: MockTransport) -> None:
    mock.raw(200, b"1\n00:00:00,000 --> 00:00:01,000\nHi\n", {"content-type": "text/plain"}).then.json({"text": "Hi"})
    async with mock.client(max_retries=0) as client:
        reply = await client.transcribe(MODEL, SOUND, response_format="srt")
        assert reply.text.startswith("1\n00:00:00,000")
        reply = await client.transcribe(MODEL, SOUND, translate=True, language="de")
        assert any(warning.startswith("language was left out") for warning in reply.warnings)
        calls = assert_called(mock, times=2, endpoint="transcriptions")
        assert [call.http.path for call in calls] == ["/v1/audio/transcriptions", "/v1/audio/translations"]
        mock.raw(200, b"<html>", {"content-type": "text/html"}).then.json({"id": 1})
        for _ in range(2):
            with pytest.raises(MalformedResponseError):
                await client.transcribe(MODEL, SOUND)
        mock.json({"error": {"message": "slow down", "code": "rate_limit_exceeded"}})
        with pytest.raises(RateLimitError):
            await client.transcribe(MODEL, SOUND)


@pytest.mark.anyio
async def test_what_is_no_sound_is_refused(mock: MockTransport, tmp_path: Path) -> None:
    bad: list[tuple[Any, str]] = [
        (b"", "the sound is empty"),
        (tmp_path / "missing.mp3", "it cannot be read"),
        (5, "got int"),
        (io.StringIO("text"), "got StringIO"),
    ]
    async with mock.client() as client:
        for file, message in bad:
            with pytest.raises(InvalidRequestError, match=message):
                await client.transcribe(MODEL, file)
    assert not mock.calls


def test_without_await(mock: MockTransport) -> None:
    mock.json({"text": "Hi"})
    with SyncBifrost(mock.account, transport=mock) as client:
        reply = client.transcribe(MODEL, SOUND)
    assert repr(reply) == "TranscriptionResponse(openai/whisper-1: 2 characters)"
    assert "Hi" in reply._repr_html_()
    assert msgspec.json.decode(msgspec.json.encode(reply), type=TranscriptionResponse) == reply


def test_the_sdk_sends_the_same_parts() -> None:
    options: dict[str, Any] = {
        "language": "en",
        "prompt": "a",
        "response_format": "verbose_json",
        "temperature": 0.5,
        "timestamp_granularities": ["word", "segment"],
    }
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        request.read()
        sent.append(request)
        return httpx2.Response(200, json=BODY)

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        client = openai.OpenAI(api_key="sk-a", http_client=http)
        client.audio.transcriptions.create(model="whisper-1", file=("talk.mp3", SOUND), **options)
    request = TranscriptionRequest(model="m", file=SOUND, filename="talk.mp3", **options)
    fields, target = transcription_fields(frozenset()), Target(provider="openai", model="whisper-1")
    built = build_transcription(request, target, fields=fields, translation=fields)
    ours = parts_of(built.request.headers["content-type"], built.request.body)
    assert sorted(ours) == sorted(parts_of(sent[0].headers["content-type"], sent[0].content))
    assert (f"/v1{built.request.path}", built.warnings) == (sent[0].url.path, [])


def test_names_and_contents_cannot_end_a_part() -> None:
    file = FormFile(filename='a"\r\nX-Evil: 1\r\n\r\n.mp3', data=b"--bifrost-\r\n", media_type="audio/x\r\nX-Evil: 2")
    content_type, body = encode_form([('n"\n', "--bifrost--"), ("file", file)])
    assert (content_type, body) == encode_form([('n"\n', "--bifrost--"), ("file", file)])
    assert b"\r\nX-Evil" not in body
    (field, upload) = parts_of(content_type, body)
    assert field == ("n%22%0A", None, b"--bifrost--")
    assert upload == ("file", "a%22%0D%0AX-Evil: 1%0D%0A%0D%0A.mp3", b"--bifrost-\r\n")
    assert b"Content-Type: application/octet-stream" in body
