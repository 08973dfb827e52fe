"""The response of the Responses API."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit, attempts_html
from bifrost.frozen import Value
from bifrost.html import block, folded, note, table, text
from bifrost.operations.chat.content import ToolCall
from bifrost.operations.chat.response import FinishReason
from bifrost.operations.document import SMALL, Document, has_document, without_texts
from bifrost.operations.other_libraries import OF_AN_ANSWER, no_attribute
from bifrost.operations.responses.content import InputFile, InputImage, InputText, OutputRefusal, OutputText
from bifrost.operations.responses.item_forms import item_form
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    CustomToolCallOutputItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    ReasoningItem,
)
from bifrost.operations.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


class ResponsesError(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Why a response failed, as the provider reports it in a response that was retrieved later."""

    code: str = ""
    """The provider's code."""
    message: str = ""
    """The provider's message."""


@has_document
class ResponsesResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A response of the Responses API: its items in `output`, and shortcuts to what most callers need."""

    id: str = ""
    """The provider's id of the response, for `previous_response_id` and `client.responses`."""
    model: str = ""
    """The model that the provider reports, or else the requested one."""
    status: str = ""
    """`completed`, `incomplete`, `failed`, `cancelled`, or, of a response that is not ready, `queued` or `in_progress`.
    Empty if the provider does not say.
    """
    output: list[Item] = []
    """The items in the order in which the model wrote them."""
    created: int = 0
    """When the provider began the response, in seconds since 1970; 0 if it does not say."""
    incomplete_reason: str | None = None
    """Why an incomplete response ended: `max_output_tokens`, `content_filter`, ..."""
    error: ResponsesError | None = None
    """Why a response failed that was retrieved later; `None` if it did not."""
    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""
    service_tier: str | None = None
    """The service tier that was used, if the provider reports it."""
    details: dict[str, Any] = {}
    """The other members of the provider's response, mostly the settings that it applied (`temperature`, `tools`, ...).
    """
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
    parsed: Any = None
    """With `output=Type`, the response as an object of that type; otherwise `None`."""

    if TYPE_CHECKING:
        raw: bytes = b""
        """The provider's response as bytes; empty for a stream.

        A large response shares its long texts with `raw`, so the bytes are put together each time that `raw` is read.
        """
    else:
        raw: bytes | Document = b""

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "response"

    @property
    def messages(self) -> list[MessageItem]:
        """The messages among the items."""
        return [item for item in self.output if isinstance(item, MessageItem)]

    @property
    def text(self) -> str:
        """The text of all messages, joined; empty if there is none."""
        return "".join([item.text for item in self.output if isinstance(item, MessageItem)])

    @property
    def output_text(self) -> str:
        """`text` under the name that OpenAI's library uses."""
        return self.text

    @property
    def refusal(self) -> str | None:
        """The text of the model's refusal; `None` if it did not refuse."""
        return "".join([message.refusal or "" for message in self.messages]) or None

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The calls of the caller's tools, as a chat has them; empty if there are none."""
        return [item.to_tool_call() for item in self.output if isinstance(item, FunctionCallItem | CustomToolCallItem)]

    @property
    def reasoning(self) -> str | None:
        """The model's reasoning or its summaries, if the provider shows them; else `None`."""
        thoughts = [item.text for item in self.output if isinstance(item, ReasoningItem)]
        return "\n\n".join([thought for thought in thoughts if thought]) or None

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the response ended, in the words of a chat; `None` if it has not ended."""
        if self.status == "incomplete":
            return _INCOMPLETE.get(self.incomplete_reason or "", "unknown")
        reason = _ENDINGS.get(self.status, "unknown" if self.status else None)
        return "tool_calls" if reason == "stop" and self.tool_calls else reason

    @property
    def is_ended(self) -> bool:
        """Whether the provider has finished working on it."""
        return self.status not in ("queued", "in_progress")

    @property
    def elapsed(self) -> float:
        """How long the call took, in seconds: all attempts and the waits between them; for a stream, until its end."""
        return sum((attempt.wait + (attempt.total or 0.0) for attempt in self.attempts), 0.0)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_AN_ANSWER)

    def to_dict(self) -> dict[str, Any]:
        """Return the response in the form of OpenAI's `response` object."""
        reason = self.incomplete_reason
        return {
            **self.details,
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": self.status,
            "model": self.model,
            "output": [item_form(item) for item in self.output],
            "error": None if self.error is None else {"code": self.error.code, "message": self.error.message},
            "incomplete_details": None if reason is None else {"reason": reason},
            "usage": usage_form(self.usage) if self.usage else None,
            **({} if self.service_tier is None else {"service_tier": self.service_tier}),
        }

    def __repr__(self) -> str:
        excerpt = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        calls = f", tool_calls={[call.name for call in self.tool_calls]}" if self.tool_calls else ""
        spent = f", {self.usage.input_tokens}+{self.usage.output_tokens} tokens" if self.usage else ""
        ending = self.finish_reason or self.status or None
        return f"ResponsesResponse({self.provider}/{self.model}: {excerpt!r}{calls}, {ending}{spent})"

    def _repr_html_(self) -> str:
        facts = note(
            f"{self.provider}/{self.model}",
            bool(self.usage) and f"{self.usage.input_tokens} + {self.usage.output_tokens} tokens",
            self.cost and f"cost {self.cost}",
            self.elapsed and f"{self.elapsed * 1000:.0f} ms",
        )
        reasoning = folded("reasoning", text(self.reasoning)) if self.reasoning else ""
        calls = [(call.name, call.arguments) for call in self.tool_calls]
        called = table(("tool", "arguments"), calls) if calls else ""
        tried = f"{len(self.attempts)} attempt{'s' if len(self.attempts) > 1 else ''}"
        trail = folded(tried, attempts_html(self.attempts)) if self.attempts else ""
        ending = note(self.finish_reason or self.status)
        return block(reasoning, text(self.text), called, ending, facts, trail, *map(note, self.warnings))


def raw_of(body: bytes, output: Sequence[Item]) -> bytes:
    """Return the body as it is stored in `raw` of a response with these items."""
    return without_texts(body, _texts(output)) if len(body) >= SMALL else body


def _texts(output: Sequence[Item]) -> Iterator[str]:
    for item in output:
        content = item.content if isinstance(item, MessageItem) else None
        for value in content if isinstance(content, list) else (item,):
            text = getattr(value, _LONGEST.get(type(value), ""), None)
            if isinstance(text, str):
                yield text


_LONGEST: Final[Mapping[type[object], str]] = {
    MessageItem: "content",
    ReasoningItem: "encrypted_content",
    FunctionCallItem: "arguments",
    CustomToolCallItem: "input",
    FunctionCallOutputItem: "output",
    CustomToolCallOutputItem: "output",
    OutputText: "text",
    OutputRefusal: "refusal",
    InputText: "text",
    InputImage: "image_url",
    InputFile: "file_data",
}
"""The member of each item and part that may be a long text."""


def usage_form(usage: Usage) -> dict[str, Any]:
    """Return a usage in the form of the Responses API."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.total_tokens,
    }


_ENDINGS: Final[Mapping[str, FinishReason | None]] = {
    "completed": "stop",
    "failed": "error",
    "cancelled": "error",
    "queued": None,
    "in_progress": None,
}

_INCOMPLETE: Final[Mapping[str, FinishReason]] = {
    "max_output_tokens": "length",
    "max_tokens": "length",
    "length": "length",
    "content_filter": "content_filter",
    "pause": "pause",
    "error": "error",
}
