"""The pieces of a streamed chat."""

from __future__ import annotations

from typing import Literal

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import (
    AudioPart,
    Citation,
    Function,
    Issuer,
    Part,
)
from bifrost.operations.chat.response import ChatResponse, FinishReason, Logprobs
from bifrost.operations.usage import Usage


class ToolCallDelta(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A piece of a tool call. The first piece of a call has its id and name."""

    index: int
    """Identifies the call within one choice."""

    id: str | None = None
    """The id of the call. `None` after its first piece."""

    name: str | None = None
    """The name of the tool, or a piece of it. `None` after its first piece."""

    arguments: str = ""
    """The text that this piece adds to the arguments."""

    kind: Literal["function", "custom"] | None = None
    """The kind of tool. `None` after the first piece."""

    signature: str | None = None
    """The provider's opaque state for the call, which is sent back unchanged."""

    @property
    def type(self) -> str:
        """OpenAI's `type` of the call."""
        return self.kind or "function"

    @property
    def function(self) -> Function:
        """The name and arguments under OpenAI's path."""
        return Function(name=self.name or "", arguments=self.arguments)


class Delta(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a chunk adds to one choice. `None` means that nothing is added."""

    role: str | None = None
    """The role of the message, in the first chunk."""

    content: str | None = None
    """Text."""

    reasoning: str | None = None
    """Text of the model's reasoning, if the provider shows it."""

    signature: str | None = None
    """The provider's signature of the reasoning in this block; opaque."""
    text_signature: str | None = None
    """The provider's signature of the text in this block; opaque."""
    refusal: str | None = None
    """Text of a refusal."""

    tool_calls: list[ToolCallDelta] | None = None
    """Pieces of tool calls."""

    citations: list[Citation] | None = None
    """Citations for the text of this block."""

    audio: AudioPart | None = None
    """A piece of spoken output."""

    part: Part | None = None
    """A complete part of another kind."""

    block: int | None = None
    """The number of the part that this belongs to, if the provider numbers them. Pieces with the same number belong
    together.
    """

    provider: str | None = None
    """The provider that the reasoning and signatures belong to."""
    issuer: Issuer | None = None
    """The issuer of reasoning, signatures and ids of tool calls, if it is known."""

    @property
    def reasoning_content(self) -> str | None:
        """`reasoning` under the name that OpenAI-compatible providers use."""
        return self.reasoning

    @property
    def empty(self) -> bool:
        """Whether the delta adds nothing visible to a user (a role alone is not visible)."""
        return not (
            self.content
            or self.reasoning
            or self.signature
            or self.text_signature
            or self.refusal
            or self.tool_calls
            or self.citations
            or self.audio is not None
            or self.part is not None
        )


class ChunkChoice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """What a chunk adds to one of the `n` choices."""

    delta: Delta = Delta()
    """The addition."""

    index: int = 0
    """The number of the choice, from 0."""

    finish_reason: FinishReason | None = None
    """Why the choice ended; `None` until its last chunk."""

    native_finish_reason: str | None = None
    """The provider's own word for `finish_reason`."""

    stop_sequence: str | None = None
    """The stop sequence that ended the choice, if the provider reports it."""

    logprobs: Logprobs | None = None
    """Log probabilities of the tokens in this chunk, if they were requested."""


class Chunk(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A chunk of a stream, with OpenAI's paths (`choices[0].delta.content`), and `text` as a shortcut."""

    choices: list[ChunkChoice] = []
    """The additions to each choice. It is empty in a chunk with usage only."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports."""

    created: int = 0
    """When the provider made the response, in seconds since 1970; 0 if it does not say."""

    usage: Usage | None = None
    """The tokens of the whole response so far; the last one applies. `None` if this chunk has none."""
    service_tier: str | None = None
    """The service tier, if the provider reports it."""

    system_fingerprint: str | None = None
    """OpenAI's identifier of the backend's configuration, if the provider reports it."""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "chat.completion.chunk"

    @property
    def text(self) -> str:
        """The text that this chunk adds to the first choice."""
        for choice in self.choices:
            if choice.index == 0:
                return choice.delta.content or ""
        return ""

    @property
    def has_content(self) -> bool:
        """Whether the chunk has content, a tool call, usage or a finish reason.

        The first such chunk commits the stream.
        """
        if self.usage is not None:
            return True
        return any(choice.finish_reason is not None or not choice.delta.empty for choice in self.choices)


class StreamReset(Chunk, frozen=True, kw_only=True, omit_defaults=True, gc=True):
    """Discards everything that a stream has yielded so far: it broke, and the response starts again.

    Only streams with `on_interrupt="restart"` yield such chunks. They add nothing themselves:

        async for chunk in stream:
            if isinstance(chunk, StreamReset):
                page.clear()
            page.write(chunk.text)
    """

    reason: str = ""
    """What broke the stream."""
    attempt: int = 0
    """The number of the attempt that responds from now on, counted from 1: its place in the response's `attempts`."""
    provider: str = ""
    """The provider that responds from now on. Its model is `model`."""
    partial: ChatResponse
    """The response that was discarded, as far as it was received."""
