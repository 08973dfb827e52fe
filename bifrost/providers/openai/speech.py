"""OpenAI's speech: https://platform.openai.com/docs/api-reference/audio/createSpeech. The response is the sound."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final, Literal

from bifrost.errors import MalformedResponseError
from bifrost.operations.media import media_type_of
from bifrost.operations.speech import SPEECH, SpeechRequest, SpeechResponse
from bifrost.providers.base import Built, Codec
from bifrost.providers.bodies import one_line, shown_body
from bifrost.providers.extra import merge_extra
from bifrost.providers.fields import REQUIRED, Field, FieldTable, left_out, sent
from bifrost.providers.openai.errors import reported_error
from bifrost.wire import json
from bifrost.wire.framing.raw import RawBytes, RawPiece
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_PLAIN = ("instructions", "response_format", "speed")
"""Options with the same name and type in both."""

_LONGEST_ERROR: Final = 64 * 1024
"""A longer first piece of a stream, in bytes, is sound and no error."""


def speech_fields(lacks: frozenset[str]) -> FieldTable:
    """Return how a server receives the fields of a request for speech."""
    fields: dict[str, Field] = {"model": REQUIRED, "input": REQUIRED, "voice": REQUIRED, "extra": sent()}
    fields |= {name: left_out() if name in lacks else sent(name) for name in _PLAIN}
    return FieldTable(SpeechRequest, fields)


def build_speech(request: SpeechRequest, target: Target, *, fields: FieldTable) -> Built:
    """Return the HTTP request for speech. Whole or streamed, it is the same."""
    warnings = fields.check(request, target)
    body: dict[str, Any] = {"model": target.model, "input": json.long_text(request.input), "voice": request.voice}
    for name, wire in fields.plain:
        value = getattr(request, name)
        if value is not None:
            body[wire] = value
    merge_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path="/audio/speech",
            headers={"content-type": "application/json"},
            body=json.encode(body),
            source=request,
        ),
        warnings=warnings,
    )


def parse_speech(response: HttpResponse, target: Target) -> SpeechResponse:
    """Return the sound.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for anything but sound.
    """
    content_type = (response.headers.get("content-type") or "").partition(";")[0].strip().lower()
    if content_type.startswith("text/") or content_type.endswith(("json", "xml")) or not response.body:
        raise reported_error(response.body) or _no_sound(content_type, response.body)
    media_type = content_type if content_type.startswith("audio/") else media_type_of(response.body) or ""
    return SpeechResponse(
        audio=response.body, media_type=media_type, model=target.model, provider=target.provider, raw=response.body
    )


def _no_sound(content_type: str, body: bytes) -> MalformedResponseError:
    kind = one_line(content_type, 80) or "no content type"
    return MalformedResponseError(f"the response is no sound ({kind}): {shown_body(body)}")


class SpeechDecoder:
    """Passes the pieces of sound on."""

    def __init__(self, _: Target) -> None:
        self.done = False
        self._has_sound = False

    def feed(self, event: RawPiece, /) -> list[bytes]:
        """Return the piece. Raises `ReportedError` if the first one is an error."""
        data = event.data
        if not self._has_sound and data.startswith(b"{") and len(data) <= _LONGEST_ERROR:
            reported = reported_error(data)
            if reported is not None:
                raise reported
        self._has_sound = True
        return [data]

    def finish(self) -> Literal["complete", "cut"]:
        """Return how the stream ended: the connection shows whether it is complete."""
        return "complete" if self._has_sound else "cut"


def codec_of(lacks: frozenset[str]) -> Codec[SpeechRequest, SpeechResponse]:
    """Return the codec for a server that lacks some options."""
    fields = speech_fields(lacks)
    return Codec[SpeechRequest, SpeechResponse](
        operation=SPEECH,
        build=partial(build_speech, fields=fields),
        parse=parse_speech,
        decoder=SpeechDecoder,
        framer=RawBytes,
        fields=fields,
    )
