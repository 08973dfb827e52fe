"""The parts that messages are made of. A closed, tagged union: this is our own language, not a provider's."""

from __future__ import annotations

from secrets import choice
from string import ascii_letters, digits
from typing import Any, Literal, TypeAlias

import msgspec

from bifrost.errors import InvalidRequestError
from bifrost.frozen import Value


class CacheMark(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A mark that everything up to here may be kept in the provider's prompt cache."""

    ttl: Literal["5m", "1h"] | None = None


class Citation(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where a piece of an answer comes from. `start` and `end` are character offsets in the answer's text."""

    url: str | None = None
    title: str | None = None
    text: str | None = None
    """The cited passage."""
    start: int | None = None
    end: int | None = None
    document_index: int | None = None
    file_id: str | None = None
    provider: str | None = None
    native: Any = None
    """The provider's own citation object, sent back to it unchanged with the history."""


class _Part(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class TextPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="text"):
    """Text, with the sources an answer cites for it."""

    text: str
    citations: list[Citation] | None = None
    cache: CacheMark | None = None


class ImagePart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="image"):
    """A picture: by `url`, by base64 `data` with its `media_type`, or by the provider's `file_id`."""

    url: str | None = None
    data: str | None = None
    media_type: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high"] | str | None = None  # noqa: PYI051 - the known words, for editors
    cache: CacheMark | None = None


class AudioPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="audio"):
    """Sound: base64 `data` with its `format` (wav, mp3, ...); in answers also an `id` to refer to, and a transcript."""

    data: str | None = None
    format: str | None = None
    id: str | None = None
    transcript: str | None = None
    expires_at: int | None = None
    cache: CacheMark | None = None


class FilePart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="file"):
    """A document: by `url`, base64 `data` with `media_type`, plain `text`, or the provider's `file_id`."""

    url: str | None = None
    data: str | None = None
    text: str | None = None
    file_id: str | None = None
    media_type: str | None = None
    filename: str | None = None
    context: str | None = None
    """What the model should know about the document, where the provider has a place for it."""
    citations: bool | None = None
    """Ask for citations of this document."""
    cache: CacheMark | None = None


class Issuer(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Who made a part of an answer, and can read its signature, opaque reasoning and id of a tool call."""

    provider: str
    """The provider's name, which calls write before the slash."""
    address: str | None = None
    """Its base URL."""
    key: str | None = None
    """The name of the key that asked."""
    region: str | None = None
    """The region, where the key's settings name one."""
    model: str | None = None
    """The provider's own name of the model."""


class _Issued(_Part, frozen=True, kw_only=True, omit_defaults=True):
    """A part that knows who made it. Two that say the same are equal, whoever made them."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__ if name != "issuer")

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name) for name in self.__struct_fields__ if name != "issuer"))


class ReasoningPart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """What the model thought, with the provider's opaque state, which is sent back to that provider unchanged.

    `signature` vouches for `text`; `redacted` is thinking that only the provider can read. Both belong to `issuer`, or
    where that is not known to the provider named by `provider`: any other leaves the part out, with a warning.
    """

    text: str = ""
    signature: str | None = None
    redacted: str | None = None
    provider: str | None = None
    issuer: Issuer | None = None


class RefusalPart(_Part, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """The model's words for declining."""

    refusal: str


class Function(Value, msgspec.Struct, frozen=True, kw_only=True):
    """OpenAI's inner object of a tool call."""

    name: str
    arguments: str


class ToolCall(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="tool_call"):
    """A call of one of the caller's tools. `arguments` is the model's text, kept as it came and never executed."""

    id: str
    name: str
    arguments: str = ""
    kind: Literal["function", "custom"] = "function"
    signature: str | None = None
    """Opaque state of the provider for this call, sent back unchanged."""
    provider: str | None = None
    issuer: Issuer | None = None
    """Who made the call and its id. It goes back there unchanged; for other providers the id is made to fit."""
    cache: CacheMark | None = None

    @property
    def type(self) -> str:
        """OpenAI's `type` of the call."""
        return self.kind

    @property
    def function(self) -> Function:
        """OpenAI's path to name and arguments."""
        return Function(name=self.name, arguments=self.arguments)

    def parse_arguments(self) -> Any:
        """Decode the arguments as JSON (no text counts as `{}`).

        Raises `InvalidRequestError` if the model wrote something that is not JSON; the text is in `arguments`.
        """
        try:
            return msgspec.json.decode(self.arguments or "{}")
        except (msgspec.DecodeError, RecursionError) as error:
            reason = str(error)
        raise InvalidRequestError(
            f"the model's arguments for tool {self.name!r} are not JSON ({reason}); "
            "tell the model so in the tool's result, or read the text in .arguments"
        )


def new_call_id() -> str:
    """Return an id for a tool call whose server gave none: unique, and in a form that every provider takes."""
    return "".join([choice(_ID_LETTERS) for _ in range(_ID_LENGTH)])


_ID_LETTERS = ascii_letters + digits
_ID_LENGTH = 9
"""Mistral takes no other."""


class OpaquePart(_Issued, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A provider's own block (a server tool's call or result, ...), kept whole and sent back to that provider."""

    provider: str
    kind: str
    """The provider's name of the block's type."""
    data: dict[str, Any]
    issuer: Issuer | None = None


Part: TypeAlias = TextPart | ImagePart | AudioPart | FilePart | ReasoningPart | RefusalPart | ToolCall | OpaquePart
