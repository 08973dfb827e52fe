"""Messages of a conversation: those that a caller writes, and those of a model."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import (
    AudioPart,
    CacheMark,
    Citation,
    OpaquePart,
    Part,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)

Role: TypeAlias = Literal["system", "developer", "user", "assistant", "tool"]
"""Who wrote a message."""


class Message(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message of a conversation.

    Message(role="user", content="What is the capital of France?")
    """

    role: Role
    """Who wrote the message; `tool` for the result of a tool."""

    content: str | list[Part] | None = None
    """Text, or a list of parts in the order in which the model should see them. `None`: no content."""

    name: str | None = None
    """The name of the author, for providers that support it."""

    tool_call_id: str | None = None
    """For the result of a tool: the id of the tool call."""

    is_error: bool = False
    """For the result of a tool: whether the tool failed."""

    cache: CacheMark | None = None
    """Marks the end of this message for the provider's prompt cache."""

    @property
    def parts(self) -> list[Part]:
        """The content as a list of parts."""
        if self.content is None:
            return []
        return [TextPart(text=self.content)] if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text of the message, with its parts joined."""
        return self.content if isinstance(self.content, str) else text_of(self.parts)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls among the parts."""
        return [part for part in self.parts if isinstance(part, ToolCall)]


class AssistantMessage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A model's message: its `parts` in order, and OpenAI's paths. It can be appended to a prompt."""

    parts: list[Part] = []
    """The parts, in the order in which the model wrote them."""

    role: Literal["assistant"] = "assistant"
    """Always `assistant`."""

    @property
    def content(self) -> str | None:
        """The text of the message; `None` if it has none (only tool calls, for example)."""
        texts = [part.text for part in self.parts if isinstance(part, TextPart)]
        return "".join(texts) if texts else None

    @property
    def text(self) -> str:
        """The text of the message; empty if it has none."""
        return text_of(self.parts)

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        """The tool calls of the model; `None` if there are none."""
        return [part for part in self.parts if isinstance(part, ToolCall)] or None

    @property
    def refusal(self) -> str | None:
        """The text of the model's refusal; `None` if it did not refuse."""
        return "".join(part.refusal for part in self.parts if isinstance(part, RefusalPart)) or None

    @property
    def reasoning(self) -> str | None:
        """The model's reasoning, if the provider shows it; else `None`."""
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningPart)) or None

    @property
    def reasoning_content(self) -> str | None:
        """`reasoning` under the name that OpenAI-compatible providers use."""
        return self.reasoning

    @property
    def citations(self) -> list[Citation]:
        """All citations of the message's text."""
        return [cited for part in self.parts if isinstance(part, TextPart) for cited in part.citations or ()]

    @property
    def audio(self) -> AudioPart | None:
        """The spoken response; `None` if there is none."""
        return next((part for part in self.parts if isinstance(part, AudioPart)), None)

    @property
    def opaque(self) -> list[OpaquePart]:
        """The provider's own blocks (calls and results of server tools)."""
        return [part for part in self.parts if isinstance(part, OpaquePart)]

    def to_message(self) -> Message:
        """Return it as a message of a prompt, with all parts."""
        return Message(role="assistant", content=self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the message in OpenAI's form."""
        form: dict[str, Any] = {
            "role": "assistant",
            "content": self.content,
            "refusal": self.refusal,
        }
        if self.reasoning is not None:
            form["reasoning_content"] = self.reasoning
        if self.citations:
            form["annotations"] = [_annotation(cited) for cited in self.citations]
        if self.tool_calls:
            form["tool_calls"] = [_tool_call(call) for call in self.tool_calls]
        if self.audio is not None:
            sound = self.audio
            form["audio"] = {
                "id": sound.id,
                "data": sound.data,
                "transcript": sound.transcript,
                "expires_at": sound.expires_at,
            }
        return form


def text_of(parts: list[Part]) -> str:
    """Return the text of the parts, joined."""
    return "".join([part.text for part in parts if isinstance(part, TextPart)])


def _tool_call(call: ToolCall) -> dict[str, Any]:
    if call.kind == "custom":
        return {
            "id": call.id,
            "type": "custom",
            "custom": {"name": call.name, "input": call.arguments},
        }
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def _annotation(cited: Citation) -> dict[str, Any]:
    place = {
        "start_index": cited.start,
        "end_index": cited.end,
        "title": cited.title,
        "url": cited.url,
    }
    return {
        "type": "url_citation",
        "url_citation": {k: v for k, v in place.items() if v is not None},
    }
