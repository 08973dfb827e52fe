"""Messages of a conversation: what a caller writes, and what a model answers."""

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


class Message(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One message. `content` is text or a list of parts, in the order in which the model should see them.

    A tool's result has `role="tool"`, the `tool_call_id` it answers, and `is_error` when the tool failed.
    """

    role: Role
    content: str | list[Part] | None = None
    name: str | None = None
    tool_call_id: str | None = None
    is_error: bool = False
    cache: CacheMark | None = None
    """Mark the end of this message for the provider's prompt cache."""

    @property
    def parts(self) -> list[Part]:
        """The content as a list of parts."""
        if self.content is None:
            return []
        return [TextPart(text=self.content)] if isinstance(self.content, str) else self.content

    @property
    def text(self) -> str:
        """The text of the message, parts joined."""
        return self.content if isinstance(self.content, str) else text_of(self.parts)

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls among the parts."""
        return [part for part in self.parts if isinstance(part, ToolCall)]


class AssistantMessage(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a model answered: its `parts` in order, with OpenAI's paths beside them. It can be appended to a prompt."""

    parts: list[Part] = []
    role: Literal["assistant"] = "assistant"

    @property
    def content(self) -> str | None:
        """The text of the answer, `None` if it has none (tool calls only, say)."""
        texts = [part.text for part in self.parts if isinstance(part, TextPart)]
        return "".join(texts) if texts else None

    @property
    def text(self) -> str:
        """The text of the answer, empty if it has none."""
        return text_of(self.parts)

    @property
    def tool_calls(self) -> list[ToolCall] | None:
        """The tools that the model wants run, `None` if it wants none."""
        return [part for part in self.parts if isinstance(part, ToolCall)] or None

    @property
    def refusal(self) -> str | None:
        """The model's words for declining, if it declined."""
        return "".join(part.refusal for part in self.parts if isinstance(part, RefusalPart)) or None

    @property
    def reasoning(self) -> str | None:
        """What the model thought, as far as the provider shows it."""
        return "".join(part.text for part in self.parts if isinstance(part, ReasoningPart)) or None

    @property
    def reasoning_content(self) -> str | None:
        """`reasoning` under the name that OpenAI-compatible providers give it."""
        return self.reasoning

    @property
    def citations(self) -> list[Citation]:
        """Every citation of the answer's text."""
        return [cited for part in self.parts if isinstance(part, TextPart) for cited in part.citations or ()]

    @property
    def audio(self) -> AudioPart | None:
        """The spoken answer, if one was asked for."""
        return next((part for part in self.parts if isinstance(part, AudioPart)), None)

    @property
    def opaque(self) -> list[OpaquePart]:
        """The provider's own blocks (server tools' calls and results)."""
        return [part for part in self.parts if isinstance(part, OpaquePart)]

    def to_message(self) -> Message:
        """Give the answer as a message of a prompt, every part kept."""
        return Message(role="assistant", content=self.parts)

    def to_dict(self) -> dict[str, Any]:
        """Give the message in OpenAI's form."""
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
    """Join the text among the parts."""
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
