"""The events of a streamed response of the Responses API."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from bifrost.frozen import Value
from bifrost.operations.responses.item_forms import item_form
from bifrost.operations.responses.items import Item
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.usage import Usage

TEXT_DELTA: Final = "response.output_text.delta"
REFUSAL_DELTA: Final = "response.refusal.delta"
REASONING_DELTA: Final = "response.reasoning_text.delta"
SUMMARY_DELTA: Final = "response.reasoning_summary_text.delta"
ARGUMENTS_DELTA: Final = "response.function_call_arguments.delta"
INPUT_DELTA: Final = "response.custom_tool_call_input.delta"
ITEM_ADDED: Final = "response.output_item.added"
ITEM_DONE: Final = "response.output_item.done"
CREATED: Final = "response.created"
COMPLETED: Final = "response.completed"
INCOMPLETE: Final = "response.incomplete"

ENDINGS: Final = frozenset([COMPLETED, INCOMPLETE, "response.failed", "response.cancelled"])
"""The events after which a response does not change."""

_PREAMBLE: Final = frozenset(
    [
        CREATED,
        ITEM_ADDED,
        "response.in_progress",
        "response.queued",
        "response.content_part.added",
        "response.reasoning_summary_part.added",
    ]
)
"""The events that say nothing yet."""


class ResponsesChunk(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """An event of a stream, with OpenAI's names.

        async for event in stream:
            match event.type:
                case "response.output_text.delta":
                    print(event.delta, end="")
                case "response.output_item.done":
                    print(event.item)

    An event of an unknown type has its members in `data`.
    """

    type: str
    """The type of the event: `response.output_text.delta`, `response.completed`, ..."""
    delta: str = ""
    """What the event adds: text, reasoning or arguments, as its type says."""
    sequence_number: int | None = None
    """The number of the event, from which a stream can be resumed. `None`: the provider does not number them."""
    output_index: int = 0
    """The number of the item that the event belongs to, in the response's `output`."""
    content_index: int = 0
    """The number of the part of a message, or of a summary, that the event belongs to."""
    item_id: str | None = None
    """The provider's id of the item; `None` if the event has none."""
    item: Item | None = None
    """The item that was added or is complete."""
    response: ResponsesResponse | None = None
    """The response so far, in the first and last events of a stream."""
    logprobs: list[dict[str, Any]] | None = None
    """The log probabilities of the tokens in `delta`, if they were requested."""
    data: dict[str, Any] | None = None
    """The members of an event that has no fields of its own here."""

    @property
    def text(self) -> str:
        """The text that the event adds to the model's message."""
        return self.delta if self.type == TEXT_DELTA else ""

    @property
    def reasoning(self) -> str:
        """What the event adds to the model's reasoning or its summary."""
        return self.delta if self.type in (REASONING_DELTA, SUMMARY_DELTA) else ""

    @property
    def usage(self) -> Usage | None:
        """The tokens of the whole response, in its last event."""
        return (self.response.usage or None) if self.response is not None else None

    @property
    def has_content(self) -> bool:
        """Whether the event adds something. The first such event commits the stream.

        The first event of a background run does as well, because its id can be used to resume it.
        """
        if self.type in _PREAMBLE:
            return self.response is not None and bool(self.response.details.get("background"))
        return self.type.startswith("response.")

    def to_dict(self) -> dict[str, Any]:
        """Return the event in OpenAI's form."""
        form: dict[str, Any] = {"type": self.type, **(self.data or {})}
        if self.sequence_number is not None:
            form["sequence_number"] = self.sequence_number
        if self.response is not None:
            return {**form, "response": self.response.to_dict()}
        form["output_index"] = self.output_index
        if self.item is not None:
            return {**form, "item": item_form(self.item)}
        if self.item_id is not None:
            form["item_id"] = self.item_id
        if self.delta:
            form["summary_index" if self.type == SUMMARY_DELTA else "content_index"] = self.content_index
            form["delta"] = self.delta
        return form if self.logprobs is None else {**form, "logprobs": self.logprobs}


class ResponsesReset(ResponsesChunk, frozen=True, kw_only=True, omit_defaults=True, gc=True):
    """Discards everything that a stream has yielded so far: it broke, and the response starts again.

    Only streams with `on_interrupt="restart"` yield such events. They add nothing themselves.
    """

    type: str = "bifrost.reset"
    """Always `bifrost.reset`."""
    reason: str = ""
    """What broke the stream."""
    attempt: int = 0
    """The number of the attempt that responds from now on, counted from 1: its place in the response's `attempts`."""
    provider: str = ""
    """The provider that responds from now on."""
    model: str = ""
    """The model that responds from now on."""
    partial: ResponsesResponse
    """The response that was discarded, as far as it was received."""
