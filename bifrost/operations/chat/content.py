"""The parts of messages. They are a closed, tagged union, because they are bifrost's own types and not a provider's."""

from __future__ import annotations

from hashlib import sha256
from secrets import token_bytes
from string import ascii_letters, digits
from typing import Any, Literal, TypeAlias

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value


class CacheMark(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Marks that everything up to here may be stored in the provider's prompt cache."""

    ttl: Literal["5m", "1h"] | None = None
    """How long it is stored. `None`: the provider's default."""


class Citation(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The source of a piece of a response. All fields are `None` if the provider does not report them."""

    url: str | None = None
    """The address of the source."""

    title: str | None = None
    """The title of the source."""

    text: str | None = None
    """The cited passage."""
    start: int | None = None
    """The start of the cited text, as a character offset in the response's text."""

    end: int | None = None
    """The end of the cited text, as a character offset in the response's text."""

    document_index: int | None = None
    """The number of the cited document among those of the request, from 0."""

    file_id: str | None = None
    """The provider's id of the cited file."""

    provider: str | None = None
    """The provider that made the citation."""

    native: Any = None
    """The provider's own citation object, which is sent back to it unchanged with the history."""


class _Part(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class Issuer(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The origin of a part of a response, which can read its signature, opaque reasoning and tool call ids."""

    provider: str
    """The provider's name, as in `provider/model`."""
    address: str | None = None
    """Its base URL."""
    key: str | None = None
    """The name of the key that was used."""
    region: str | None = None
    """The region, if the key's settings name one."""
    model: str | None = None
    """The provider's own name of the model."""


class _Issued(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A part with a known origin. The origin does not matter for equality."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__ if name != "issuer")

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__struct_fields__ if name != "issuer"))


class TextPart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Text, with the sources that a response cites for it."""

    text: str
    """The text."""

    citations: list[Citation] | None = None
    """The citations for this text; `None` if there are none."""

    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""

    signature: str | None = None
    """The provider's opaque state for this part, which is sent back to it unchanged."""

    provider: str | None = None
    """The provider that the signature comes from."""

    issuer: Issuer | None = None
    """The origin of the signature."""


class ImagePart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """An image: by `url`, as base64 `data` with its `media_type`, or by the provider's `file_id`."""

    url: str | None = None
    """The address of the image."""

    data: str | None = None
    """The image in base64."""

    media_type: str | None = None
    """The media type of `data`, `image/png` for example."""

    file_id: str | None = None
    """The id of an image that was uploaded to the provider."""

    detail: Literal["auto", "low", "high"] | str | None = None  # noqa: PYI051 - the known words, for editors
    """The resolution at which the model sees the image. `None`: the provider's default."""

    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""

    signature: str | None = None
    """The provider's opaque state for this part, which is sent back to it unchanged."""

    provider: str | None = None
    """The provider that the signature comes from."""

    issuer: Issuer | None = None
    """The origin of the signature."""


class AudioPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="audio"):
    """Audio: base64 `data` with its `format`; in responses also an `id` and a transcript."""

    data: str | None = None
    """The audio in base64."""

    format: str | None = None
    """The format of the audio: `wav`, `mp3`, ..."""

    id: str | None = None
    """The provider's id of an audio response, which later messages can refer to."""

    transcript: str | None = None
    """The spoken text."""

    expires_at: int | None = None
    """When the provider deletes the audio with this `id`, in seconds since 1970."""

    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""


class VideoPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="video"):
    """A video: by `url`, as base64 `data` with its `media_type`, or by the provider's `file_id`."""

    url: str | None = None
    """The address of the video. Some providers also accept the address of a YouTube video, or of their own storage."""

    data: str | None = None
    """The video in base64."""

    media_type: str | None = None
    """The media type of the video, `video/mp4` for example."""

    file_id: str | None = None
    """The id of a video that was uploaded to the provider."""

    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""


class FilePart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="file"):
    """A document: by `url`, as base64 `data` with `media_type`, as plain `text`, or by the provider's `file_id`."""

    url: str | None = None
    """The address of the document."""

    data: str | None = None
    """The document in base64."""

    text: str | None = None
    """The document as plain text."""

    file_id: str | None = None
    """The id of a document that was uploaded to the provider."""

    media_type: str | None = None
    """The media type of `data`, `application/pdf` for example."""

    filename: str | None = None
    """The name of the file."""

    context: str | None = None
    """What the model should know about the document, for providers that support it."""
    citations: bool | None = None
    """Whether the model should cite this document. `None`: the provider's default."""
    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""


class ReasoningPart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """The model's reasoning, with the provider's opaque state, which is sent back to that provider unchanged.

    Signature and redacted reasoning belong to `issuer` or, if that is not known, to `provider`. For other providers the
    part is omitted with a warning.
    """

    text: str = ""
    """The text of the reasoning, if the provider shows it."""

    signature: str | None = None
    """The provider's signature of `text`."""

    redacted: str | None = None
    """Reasoning that only the provider can read."""

    provider: str | None = None
    """The provider that the part comes from."""

    issuer: Issuer | None = None
    """The origin of the part."""


class RefusalPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """The model's refusal."""

    refusal: str
    """The text of the refusal."""


class Function(Value, msgspec.Struct, frozen=True, kw_only=True):
    """The inner object of a tool call in OpenAI's form."""

    name: str
    """The name of the tool."""

    arguments: str
    """The arguments as the model wrote them."""


class ToolCall(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """A call of one of the caller's tools. bifrost does not execute it."""

    id: str
    """The id of the call, which the tool's result refers to."""

    name: str
    """The name of the tool."""

    arguments: str = ""
    """The arguments exactly as the model wrote them, usually JSON."""

    kind: Literal["function", "custom"] = "function"
    """`function` for JSON arguments, `custom` for free text."""

    signature: str | None = None
    """The provider's opaque state for the call, which is sent back unchanged."""
    provider: str | None = None
    """The provider that the call comes from."""

    issuer: Issuer | None = None
    """The origin of the call and its id. The id is sent back there unchanged and adapted for other providers."""
    cache: CacheMark | None = None
    """Marks the end of this part for the prompt cache."""

    @property
    def type(self) -> str:
        """OpenAI's `type` of the call."""
        return self.kind

    @property
    def function(self) -> Function:
        """The name and arguments under OpenAI's path."""
        return Function(name=self.name, arguments=self.arguments)

    def parse_arguments(self) -> Any:
        """Return the arguments, decoded as JSON (empty text counts as `{}`).

        Raises `InvalidRequestError` if the model wrote something else; the text is in `arguments`.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError) as error:
            reason = str(error)
        raise InvalidRequestError(
            f"the model's arguments for tool {self.name!r} are not JSON ({reason}); "
            "report this to the model in the tool's result, or use the text in .arguments"
        )


def new_call_id() -> str:
    """Return a unique id for a tool call without one, in a form that every provider accepts."""
    return _call_id(token_bytes(_ID_LENGTH))


def hashed_call_id(text: str) -> str:
    """Return an id in the same form that is always the same for the same text."""
    return _call_id(sha256(text.encode("utf-8", "surrogatepass")).digest())


def _call_id(data: bytes) -> str:
    number = int.from_bytes(data)
    letters: list[str] = []
    for _ in range(_ID_LENGTH):
        number, place = divmod(number, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[place])
    return "".join(letters)


_ID_LETTERS = ascii_letters + digits
_ID_LENGTH = 9
"""Mistral accepts no other length."""


class OpaquePart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A provider's own block (a call or result of a server tool, for example), which is sent back to it unchanged."""

    provider: str
    """The provider that the block belongs to."""

    kind: str
    """The provider's type of the block."""
    data: dict[str, Any]
    """The block."""

    issuer: Issuer | None = None
    """The origin of the block."""


Part: TypeAlias = (
    TextPart | ImagePart | AudioPart | VideoPart | FilePart | ReasoningPart | RefusalPart | ToolCall | OpaquePart
)
