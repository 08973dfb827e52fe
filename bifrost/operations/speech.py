"""The operation that speaks a text: sound as bytes, whole or streamed."""

from __future__ import annotations

import base64
from decimal import Decimal
from typing import Any, Final

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, escape, note
from bifrost.operations.base import Operation, Streaming
from bifrost.operations.media import media_type_of
from bifrost.operations.typed import read_as

__all__ = ["SPEECH", "SpeechAccumulator", "SpeechRequest", "SpeechResponse", "speech_request"]

_SHOWN: Final = 8 * 1024 * 1024
"""The most bytes of sound that a notebook plays."""


class SpeechRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A text to speak. `None` means that the provider's default applies."""

    model: str
    """`provider/model`, or the name of a model group."""

    input: str
    """The text."""

    voice: str
    """The provider's name of the voice."""
    instructions: str | None = None
    """How the voice should sound, for models that follow instructions."""
    response_format: str | None = None
    """The format of the sound: `mp3`, `opus`, `aac`, `flac`, `wav` or `pcm`."""
    speed: float | None = None
    """The speed; 1.0 is normal."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


class SpeechResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A spoken text. A notebook plays it."""

    audio: bytes
    """The sound."""

    media_type: str = ""
    """The format of the sound, as `audio/mpeg`. Empty if it is unknown."""
    model: str = ""
    """The requested model."""
    provider: str = ""
    """The provider that responded."""
    request_id: str | None = None
    """The provider's identifier of the request, or `None`."""
    attempts: list[AttemptRecord] = []
    """All attempts of the call, in order."""
    warnings: list[str] = []
    """What was converted, omitted or noticed in the call."""
    cost: Decimal | None = None
    """The cost of the call, in US dollars; `None` if it is unknown."""
    rate_limit: RateLimit | None = None
    """The rate limits that the provider reported with the response; `None` if it reported none."""
    raw: bytes = b""
    """The provider's response as bytes, which is the sound itself. Empty for a stream."""

    def __repr__(self) -> str:
        sound = f"{self.media_type or 'unknown format'}, {len(self.audio):,} bytes"
        return f"SpeechResponse({self.provider}/{self.model}: {sound})"

    def _repr_html_(self) -> str:
        facts = note(f"{self.provider}/{self.model}", self.media_type, f"{len(self.audio):,} bytes")
        if not self.media_type.startswith("audio/") or len(self.audio) > _SHOWN:
            return block(facts)
        source = f"data:{escape(self.media_type)};base64,{base64.b64encode(self.audio).decode()}"
        return block(f'<audio controls src="{source}"></audio>', facts)


class SpeechAccumulator:
    """Joins the pieces of a stream."""

    def __init__(self, *, provider: str = "", model: str = "") -> None:
        self._provider = provider
        self._model = model
        self._pieces: list[bytes] = []

    def add(self, chunk: bytes, /) -> None:
        """Add the next piece."""
        self._pieces.append(chunk)

    def response(self, *, warnings: list[str] | None = None) -> SpeechResponse:
        """Return the sound so far."""
        audio = b"".join(self._pieces)
        return SpeechResponse(
            audio=audio,
            media_type=media_type_of(audio) or "",
            provider=self._provider,
            model=self._model,
            warnings=warnings or [],
        )


def _pieces_of(response: SpeechResponse) -> list[bytes]:
    return [response.audio]


SPEECH: Final = Operation[SpeechRequest, SpeechResponse, bytes](
    name="speech",
    request=SpeechRequest,
    response=SpeechResponse,
    streaming=Streaming[bytes, SpeechResponse](
        chunk=bytes, accumulator=SpeechAccumulator, chunks_of=_pieces_of, has_content=bool
    ),
)


def speech_request(model: str, value: str, **options: Any) -> SpeechRequest:
    """Return a request for speech. Raises `InvalidRequestError` for an empty text or a value of another type."""
    request = read_as({"model": model, "input": value, **options}, SpeechRequest, "")
    if not request.input.strip():
        raise InvalidRequestError("input: the text is empty; there is nothing to speak")
    return request
