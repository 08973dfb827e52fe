"""The parts of messages and tool results of the Responses API, with OpenAI's names.

A part encodes to its form on the wire. A member without a field here is kept in `unknown` and sent back.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import AudioPart, FilePart, ImagePart, OpaquePart, TextPart, VideoPart


class _Content(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    pass


class OutputText(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="output_text"):
    """Text of a model."""

    text: str
    """The text."""
    annotations: list[dict[str, Any]] | None = None
    """The citations in OpenAI's form; `None` if the provider reports none."""
    logprobs: list[dict[str, Any]] | None = None
    """The log probabilities of the tokens in OpenAI's form; `None` if the provider reports none."""
    part: TextPart | None = None
    """The part of a chat that it was made from, with its citations, signature and cache mark. Only a chat sends it."""
    unknown: dict[str, Any] | None = None
    """Other members of the part, which are sent back unchanged."""


class OutputRefusal(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="refusal"):
    """A refusal of a model."""

    refusal: str
    """The text of the refusal."""


class InputText(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="input_text"):
    """Text of a user, of the system or of a tool."""

    text: str
    """The text."""
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Marks the end of this part for the prompt cache: `{"mode": "explicit"}`."""
    part: TextPart | FilePart | None = None
    """The part of a chat that it was made from, if that says more. A chat sends it as it was."""


class InputImage(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="input_image"):
    """An image, by `image_url` or `file_id`."""

    image_url: str | None = None
    """The address of the image, or a data URL."""
    file_id: str | None = None
    """The id of a file that was uploaded to the provider."""
    detail: str | None = None
    """The resolution at which the model sees the image: `low`, `high`, `auto`, ... `None`: the provider's default."""
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Marks the end of this part for the prompt cache: `{"mode": "explicit"}`."""
    part: ImagePart | None = None
    """The part of a chat that it was made from, if that says more. A chat sends it as it was."""


class InputFile(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="input_file"):
    """A document, by `file_url`, `file_data` or `file_id`."""

    file_url: str | None = None
    """The address of the document."""
    file_data: str | None = None
    """The document as a data URL."""
    file_id: str | None = None
    """The id of a file that was uploaded to the provider."""
    filename: str | None = None
    """The name of the file."""
    detail: str | None = None
    """The resolution at which the model sees the pages: `low`, `high`. `None`: the provider's default."""
    prompt_cache_breakpoint: dict[str, Any] | None = None
    """Marks the end of this part for the prompt cache: `{"mode": "explicit"}`."""
    part: FilePart | None = None
    """The part of a chat that it was made from, if that says more. A chat sends it as it was."""


class OpaqueContent(_Content, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """A part of another kind, as the provider or the caller wrote it."""

    data: dict[str, Any]
    """The part."""
    part: AudioPart | VideoPart | OpaquePart | None = None
    """The part of a chat that it was made from, if that says more. A chat sends it as it was."""


Content: TypeAlias = OutputText | OutputRefusal | InputText | InputImage | InputFile | OpaqueContent
"""A part of a message or of a tool's result."""


def text_in(content: str | list[Content]) -> str:
    """Return the text of a message's content, with its parts joined. A refusal is not text."""
    if isinstance(content, str):
        return content
    return "".join([part.text for part in content if isinstance(part, OutputText | InputText)])
