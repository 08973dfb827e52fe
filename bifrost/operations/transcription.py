"""The operation that writes down what is said in a sound."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal, Never, TypeAlias

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit
from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value
from bifrost.html import block, note, text
from bifrost.operations.base import Operation
from bifrost.operations.typed import read_as
from bifrost.operations.usage import NO_USAGE, Usage

__all__ = [
    "TRANSCRIPTIONS",
    "AudioInput",
    "TranscriptionRequest",
    "TranscriptionResponse",
    "TranscriptionSegment",
    "TranscriptionWord",
    "transcription_request",
]

AudioInput: TypeAlias = bytes | str | Path | BinaryIO
"""A sound: its bytes, the path of a file, or a file opened for reading bytes."""


class TranscriptionRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A sound to write down. `None` means that the provider's default applies."""

    model: str
    """`provider/model`, or the name of a model group."""

    file: bytes
    """The sound."""

    filename: str = "audio"
    """The name of the file, whose ending names the format to some providers."""
    translate: bool = False
    """Whether the text is translated into English."""
    language: str | None = None
    """The language of the sound, as an ISO 639-1 code."""
    prompt: str | None = None
    """A text that shows the style, or precedes the sound."""
    response_format: Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] | None = None
    """The format of the response. `verbose_json` has segments, and words if `timestamp_granularities` names them;
    `diarized_json` has speakers."""
    temperature: float | None = None
    """The sampling temperature."""
    timestamp_granularities: list[Literal["word", "segment"]] | None = None
    """What has times in a `verbose_json` response."""
    chunking_strategy: str | None = None
    """How the sound is divided: `auto`, or `None` for one piece."""
    known_speaker_names: list[str] | None = None
    """The names of speakers, for `diarized_json`."""
    known_speaker_references: list[str] | None = None
    """Samples of these speakers' voices as data URLs."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They become further fields of its form."""


class TranscriptionSegment(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the text with its times."""

    text: str
    """The text."""
    start: float = 0.0
    """The beginning, in seconds."""
    end: float = 0.0
    """The end, in seconds."""
    speaker: str | None = None
    """The speaker; `None` if the provider does not tell speakers apart."""
    avg_logprob: float | None = None
    """The mean log probability of the tokens, or `None`."""
    no_speech_prob: float | None = None
    """The probability that nobody speaks, or `None`."""


class TranscriptionWord(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A word with its times."""

    word: str
    """The word."""
    start: float = 0.0
    """The beginning, in seconds."""
    end: float = 0.0
    """The end, in seconds."""


class TranscriptionResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is said in a sound."""

    text: str
    """The text; subtitles if `srt` or `vtt` was requested."""

    segments: list[TranscriptionSegment] = []
    """The parts of the text. Empty if the provider returns none."""
    words: list[TranscriptionWord] = []
    """The words. Empty if the provider returns none."""
    language: str | None = None
    """The language that the provider reports, or `None`."""
    duration: float | None = None
    """The length of the sound in seconds, or `None`."""
    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""

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
    """The provider's response as bytes."""

    def __repr__(self) -> str:
        return f"TranscriptionResponse({self.provider}/{self.model}: {len(self.text):,} characters)"

    def _repr_html_(self) -> str:
        return block(text(self.text), note(f"{self.provider}/{self.model}"))


TRANSCRIPTIONS: Final = Operation[TranscriptionRequest, TranscriptionResponse, Never](
    name="transcriptions", request=TranscriptionRequest, response=TranscriptionResponse
)


def transcription_request(model: str, file: object, **options: Any) -> TranscriptionRequest:
    """Return a request for the text of a sound. A path is read here.

    Raises `InvalidRequestError` for an empty sound, a file that cannot be read, or a value of another type.
    """
    data, filename = _content(file)
    form = {name: value for name, value in options.items() if name != "filename" or value is not None}
    request = read_as({"model": model, "file": b"", "filename": filename, **form}, TranscriptionRequest, "")
    if not data:
        raise InvalidRequestError("file: the sound is empty")
    return request.replace(file=data)


def _content(file: object) -> tuple[bytes, str]:
    """Return the bytes of a sound, and its name."""
    if isinstance(file, bytes | bytearray):
        return bytes(file), "audio"
    if isinstance(file, str | Path):
        try:
            return Path(file).read_bytes(), Path(file).name
        except (OSError, ValueError) as error:
            raise InvalidRequestError(f"file: it cannot be read ({type(error).__name__})") from None
    read = getattr(file, "read", None)
    data = read() if callable(read) else None
    if not isinstance(data, bytes):
        raise InvalidRequestError(
            f"file: expected bytes, a path or a file opened for reading bytes, got {type(file).__name__}"
        )
    name = getattr(file, "name", None)
    return data, Path(name).name if isinstance(name, str) else "audio"
