"""OpenAI's speech, compared with what the vendor's SDK sends and reads, and with the vendor's specification."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import openai
import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.speech import SpeechRequest
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai.speech import SpeechDecoder, build_speech, parse_speech, speech_fields
from bifrost.wire.framing.raw import RawPiece
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.spec import problems

TARGET = Target(provider="openai", model="gpt-4o-mini-tts")
OPTIONS: dict[str, Any] = {"voice": "coral", "instructions": "Slowly.", "response_format": "wav", "speed": 1.5}


def answer(body: bytes, content_type: str = "") -> HttpResponse:
    headers = Headers.of(("content-type", content_type)) if content_type else Headers.of()
    return HttpResponse(status=200, headers=headers, body=body)


def test_the_sdk_sends_and_reads_the_same() -> None:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, content=b"sound", headers={"content-type": "audio/wav"})

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        client = openai.OpenAI(api_key="sk-a", http_client=http)
        theirs = client.audio.speech.create(model="gpt-4o-mini-tts", input="Hello", **OPTIONS).content
    request = SpeechRequest(model="m", input="Hello", **OPTIONS)
    built = build_speech(request, TARGET, fields=speech_fields(frozenset()))
    body = json.loads(bytes(built.request.body))
    assert body == json.loads(sent[0].content)
    assert (f"/v1{built.request.path}", built.warnings) == (sent[0].url.path, [])
    assert problems("openai-images-audio", "/audio/speech", body) == []
    assert parse_speech(answer(b"sound", "audio/wav"), TARGET).audio == theirs


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"", "audio/mpeg"), (b"oops", "text/plain; charset=utf-8"), (b"<a/>", "application/xml"), (b"{}", "")],
)
def test_what_is_no_sound_is_refused(body: bytes, content_type: str) -> None:
    if content_type:
        with pytest.raises(MalformedResponseError, match="no sound"):
            parse_speech(answer(body, content_type), TARGET)
    else:
        assert parse_speech(answer(body), TARGET).media_type == ""


def test_only_the_first_piece_can_be_an_error() -> None:
    error = RawPiece(b'{"error": {"message": "too many"}}')
    with pytest.raises(ReportedError, match="too many"):
        SpeechDecoder(TARGET).feed(error)
    decoder = SpeechDecoder(TARGET)
    assert decoder.finish() == "cut"
    assert decoder.feed(RawPiece(b"sound")) == [b"sound"]
    assert decoder.feed(error) == [error.data]
    assert decoder.finish() == "complete"
