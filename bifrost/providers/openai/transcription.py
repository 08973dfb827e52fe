"""OpenAI's transcriptions: https://platform.openai.com/docs/api-reference/audio/createTranscription."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.media import media_type_of
from bifrost.operations.transcription import (
    TRANSCRIPTIONS,
    TranscriptionRequest,
    TranscriptionResponse,
    TranscriptionSegment,
    TranscriptionWord,
)
from bifrost.operations.usage import NO_USAGE
from bifrost.providers.base import Built, Codec
from bifrost.providers.bodies import shown_body
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import REQUIRED, Field, FieldTable, left_out, mapped, sent
from bifrost.providers.openai.answer import decode_answer, text_of, usage_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.sizes import VECTORS_LIMIT, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest
from bifrost.wire.multipart import FormFile, encode_form

if TYPE_CHECKING:
    from collections.abc import Iterator

    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Segment(msgspec.Struct):
    text: str | None = None
    start: float | None = None
    end: float | None = None
    speaker: Any = None
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


class _Word(msgspec.Struct):
    word: str | None = None
    start: float | None = None
    end: float | None = None


class _Transcription(msgspec.Struct):
    text: str | None = None
    language: Any = None
    duration: float | None = None
    segments: list[_Segment | None] | None = None
    words: list[_Word | None] | None = None
    usage: msgspec.Raw = msgspec.Raw(b"")
    error: Any = None


_TRANSCRIPTION = msgspec.json.Decoder(_Transcription, strict=False)

_PLAIN = (
    "language",
    "prompt",
    "response_format",
    "temperature",
    "timestamp_granularities",
    "chunking_strategy",
    "known_speaker_names",
    "known_speaker_references",
)
"""Options with the same name in both."""
_TRANSLATED = frozenset(["prompt", "response_format", "temperature"])
"""The options of a translation."""
_NOT_TRANSLATED = left_out("has no such option for translations")


def transcription_fields(lacks: frozenset[str]) -> FieldTable:
    """Return how a server receives the fields of a request for a transcription."""
    fields: dict[str, Field] = {"model": REQUIRED, "file": REQUIRED, "extra": sent()}
    fields |= {"filename": mapped(), "translate": mapped()}
    fields |= {name: left_out() if name in lacks else sent(name) for name in _PLAIN}
    return FieldTable(TranscriptionRequest, fields)


def translation_fields(fields: FieldTable) -> FieldTable:
    """Return how a server receives the fields of a request for a translation."""
    others = {name: _NOT_TRANSLATED for name in _PLAIN if name not in _TRANSLATED}
    return FieldTable(TranscriptionRequest, {**fields.fields, **others})


def build_transcription(
    request: TranscriptionRequest, target: Target, *, fields: FieldTable, translation: FieldTable
) -> Built:
    """Return the HTTP request, a form with the sound. `translation` has the fields of a translation."""
    used = translation if request.translate else fields
    warnings = used.check(request, target)
    form: dict[str, Any] = {"model": target.model}
    for name, wire in used.plain:
        value = getattr(request, name)
        if value is not None:
            form[wire] = value
    merge_extra(form, request.extra, target)
    media_type = media_type_of(request.file) or "application/octet-stream"
    file = FormFile(filename=request.filename, data=request.file, media_type=media_type)
    content_type, body = encode_form([*_texts(form), ("file", file)])
    return Built(
        request=HttpRequest(
            method="POST",
            path="/audio/translations" if request.translate else "/audio/transcriptions",
            headers={"content-type": content_type},
            body=body,
            source=request,
        ),
        warnings=warnings,
    )


def _texts(form: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the fields of a form as texts: lists as `name[]`, other values than texts as JSON."""
    for name, value in form.items():
        many = isinstance(value, list)
        for each in cast("list[Any]", value) if many else [value]:
            yield (f"{name}[]" if many else name), (each if isinstance(each, str) else json.encode(each).decode())


def parse_transcription(response: HttpResponse, target: Target) -> TranscriptionResponse:
    """Return the text, from JSON, subtitles or plain text.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    content_type = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
    body = response.body
    if content_type == "text/html" or not body.strip():
        raise MalformedResponseError(f"the response is no text of a sound: {shown_body(body)}")
    if content_type.startswith("text/") and not body.startswith(b"{"):
        written = body.decode("utf-8", "replace")
        return TranscriptionResponse(text=written, model=target.model, provider=target.provider, raw=body)
    wire = decode_answer(body, _TRANSCRIPTION, _Transcription)
    if wire.error or (wire.text is None and not wire.segments):
        problem = f"the response cannot be read: it has no text; {json.excerpt(body)}"
        raise reported_error(body) or MalformedResponseError(problem)
    segments = [_segment(each) for each in wire.segments or () if each is not None]
    words = [each for each in wire.words or () if each is not None and each.word]
    check_count(len(segments) + len(words), VECTORS_LIMIT, what="segments and words")
    return TranscriptionResponse(
        text="".join(each.text for each in segments) if wire.text is None else wire.text,
        segments=segments,
        words=[TranscriptionWord(word=each.word or "", start=each.start or 0.0, end=each.end or 0.0) for each in words],
        language=text_of(wire.language) or None,
        duration=wire.duration,
        usage=usage_of(wire.usage) or NO_USAGE,
        model=target.model,
        provider=target.provider,
        raw=body,
    )


def _segment(wire: _Segment) -> TranscriptionSegment:
    return TranscriptionSegment(
        text=wire.text or "",
        start=wire.start or 0.0,
        end=wire.end or 0.0,
        speaker=text_of(wire.speaker) or None,
        avg_logprob=wire.avg_logprob,
        no_speech_prob=wire.no_speech_prob,
    )


def codec_of(lacks: frozenset[str]) -> Codec[TranscriptionRequest, TranscriptionResponse]:
    """Return the codec for a server that lacks some options."""
    fields = transcription_fields(lacks)
    return Codec[TranscriptionRequest, TranscriptionResponse](
        operation=TRANSCRIPTIONS,
        build=partial(build_transcription, fields=fields, translation=translation_fields(fields)),
        parse=parse_transcription,
        fields=fields,
    )
