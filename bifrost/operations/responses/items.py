"""The items of a conversation in the Responses API: messages, reasoning, tool calls and their results.

They are a closed, tagged union of bifrost's own types. Every other kind (calls of server tools, for example) is an
`OpaqueItem`, which keeps the provider's item whole. An item of a response can be appended to the next input.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import CacheMark, Issuer, ToolCall
from bifrost.operations.responses.content import Content, OutputRefusal, text_in


class _Item(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag_field="type"):
    """An item. Its origin does not matter for equality."""

    issuer: Issuer | None = None
    """The origin of the item. Its id and opaque state are sent back there only. `None`: the caller wrote it."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, type(self)):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__struct_fields__ if name != "issuer")

    def __hash__(self) -> int:
        return hash((type(self), *(str(getattr(self, name)) for name in self.__struct_fields__ if name != "issuer")))


class MessageItem(_Item, frozen=True, kw_only=True, omit_defaults=True, tag="message"):
    """A message.

    MessageItem(role="user", content="What is the capital of France?")
    """

    role: str
    """Who wrote it: `user`, `system`, `developer`, `assistant`."""
    content: str | list[Content]
    """Text, or a list of parts."""
    id: str | None = None
    """The provider's id of the item."""
    status: str | None = None
    """`in_progress`, `completed` or `incomplete`, in a response."""
    phase: str | None = None
    """Whether a model's message is a `commentary` or the `final_answer`, if the model distinguishes them."""
    is_short: bool = False
    """Whether it is written without its `type`, as the provider allows."""
    unknown: dict[str, Any] | None = None
    """Other members of the item, which are sent back unchanged."""
    author: str | None = None
    """The name of the author, for a chat that supports it. It is never sent to the Responses API."""

    @property
    def text(self) -> str:
        """The text of the message, with its parts joined."""
        return text_in(self.content)

    @property
    def refusal(self) -> str | None:
        """The text of the model's refusal; `None` if it did not refuse."""
        if isinstance(self.content, str):
            return None
        return "".join([part.refusal for part in self.content if isinstance(part, OutputRefusal)]) or None


class ReasoningItem(_Item, frozen=True, kw_only=True, omit_defaults=True, tag="reasoning"):
    """The model's reasoning: summaries or text, if the provider shows them, and its opaque state."""

    id: str | None = None
    """The provider's id of the item."""
    summary: list[str] = []
    """The summaries."""
    content: list[str] | None = None
    """The text of the reasoning; `None` if the provider does not show it."""
    encrypted_content: str | None = None
    """Reasoning that only its issuer can read. Request it with `include=["reasoning.encrypted_content"]`."""
    status: str | None = None
    """`in_progress`, `completed` or `incomplete`, if the provider reports it."""
    signature: str | None = None
    """The signature of the text, from a provider that is reached by chat. It is never sent to the Responses API."""
    unknown: dict[str, Any] | None = None
    """Other members of the item, which are sent back unchanged."""

    @property
    def text(self) -> str:
        """The text of the reasoning, or else its summaries."""
        return "".join(self.content) if self.content else "\n\n".join(self.summary)


class FunctionCallItem(_Item, frozen=True, kw_only=True, omit_defaults=True, tag="function_call"):
    """A call of one of the caller's functions. bifrost does not execute it."""

    call_id: str
    """The id of the call, which its result refers to."""
    name: str
    """The name of the function."""
    arguments: str = ""
    """The arguments exactly as the model wrote them, usually JSON."""
    id: str | None = None
    """The provider's id of the item."""
    status: str | None = None
    """`in_progress`, `completed` or `incomplete`, in a response."""
    signature: str | None = None
    """The opaque state of the call, from a provider that is reached by chat. It is never sent to the Responses API."""
    unknown: dict[str, Any] | None = None
    """Other members of the item, which are sent back unchanged."""
    author: str | None = None
    """The name of the author, for a chat that supports it. It is never sent to the Responses API."""
    cache: CacheMark | None = None
    """Marks the end of the call for a chat's prompt cache. It is never sent to the Responses API."""

    def to_tool_call(self) -> ToolCall:
        """Return it as a chat has it."""
        return ToolCall(id=self.call_id, name=self.name, arguments=self.arguments, issuer=self.issuer, cache=self.cache)


class CustomToolCallItem(_Item, frozen=True, kw_only=True, omit_defaults=True, tag="custom_tool_call"):
    """A call of one of the caller's tools that take free text."""

    call_id: str
    """The id of the call, which its result refers to."""
    name: str
    """The name of the tool."""
    input: str = ""
    """The text for the tool."""
    id: str | None = None
    """The provider's id of the item."""
    status: str | None = None
    """`in_progress`, `completed` or `incomplete`, if the provider reports it."""
    signature: str | None = None
    """The opaque state of the call, from a provider that is reached by chat. It is never sent to the Responses API."""
    unknown: dict[str, Any] | None = None
    """Other members of the item, which are sent back unchanged."""
    author: str | None = None
    """The name of the author, for a chat that supports it. It is never sent to the Responses API."""
    cache: CacheMark | None = None
    """Marks the end of the call for a chat's prompt cache. It is never sent to the Responses API."""

    def to_tool_call(self) -> ToolCall:
        """Return it as a chat has it."""
        return ToolCall(
            id=self.call_id, name=self.name, arguments=self.input, kind="custom", issuer=self.issuer, cache=self.cache
        )


class _Result(_Item, frozen=True, kw_only=True, omit_defaults=True):
    call_id: str
    """The id of the call."""
    output: str | list[Content]
    """The result: text, or a list of parts."""
    id: str | None = None
    """The provider's id of the item."""
    status: str | None = None
    """`in_progress`, `completed` or `incomplete`. `None`: it is not sent."""
    unknown: dict[str, Any] | None = None
    """Other members of the item, which are sent back unchanged."""
    author: str | None = None
    """The name of the author, for a chat that supports it. It is never sent to the Responses API."""
    is_error: bool = False
    """Whether the tool failed, for a chat that supports it. It is never sent to the Responses API."""


class FunctionCallOutputItem(_Result, frozen=True, kw_only=True, omit_defaults=True, tag="function_call_output"):
    """The result of a function.

    FunctionCallOutputItem(call_id=call.id, output="22 degrees")
    """


class CustomToolCallOutputItem(_Result, frozen=True, kw_only=True, omit_defaults=True, tag="custom_tool_call_output"):
    """The result of a tool that takes free text."""


class OpaqueItem(_Item, frozen=True, kw_only=True, omit_defaults=True, tag="opaque"):
    """An item of another kind, as the provider or the caller wrote it."""

    kind: str
    """The provider's type of the item: `web_search_call`, `mcp_call`, ..."""
    data: dict[str, Any]
    """The item."""


Item: TypeAlias = (
    MessageItem
    | ReasoningItem
    | FunctionCallItem
    | CustomToolCallItem
    | FunctionCallOutputItem
    | CustomToolCallOutputItem
    | OpaqueItem
)
"""An item of a conversation."""
