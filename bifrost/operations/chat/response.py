"""The complete response of a chat."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeAlias

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit, attempts_html
from bifrost.frozen import Value
from bifrost.html import block, folded, note, table, text
from bifrost.operations.chat.content import ReasoningPart, TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage
from bifrost.operations.document import SMALL, Document, has_document, without_texts
from bifrost.operations.other_libraries import OF_AN_ANSWER, no_attribute
from bifrost.operations.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "pause", "error", "unknown"]
"""Why a response ended, in OpenAI's words. `pause`: the provider wants the conversation to be sent again to
continue.
"""

_Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]


class TopLogprob(Value, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of the most probable tokens at a position."""

    token: str
    """The token."""

    logprob: _Finite
    """The natural logarithm of its probability."""

    bytes: list[int] | None = None
    """The bytes of the token in UTF-8; `None` if the provider does not report them."""


class TokenLogprob(Value, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A token of the response with its log probability."""

    token: str
    """The token."""

    logprob: _Finite
    """The natural logarithm of its probability."""

    bytes: list[int] | None = None
    """The bytes of the token in UTF-8; `None` if the provider does not report them."""

    top_logprobs: list[TopLogprob] = []
    """The most probable tokens at this position; empty unless `top_logprobs` was requested."""


class Logprobs(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The log probabilities of the response's tokens."""

    content: list[TokenLogprob] | None = None
    """Those of the text; `None` if there are none."""

    refusal: list[TokenLogprob] | None = None
    """Those of the refusal; `None` if there are none."""


class Choice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the `n` choices of a response."""

    message: AssistantMessage
    """The model's message."""

    index: int = 0
    """The number of the choice, from 0."""

    finish_reason: FinishReason | None = None
    """Why the choice ended; `None` if it is incomplete."""

    native_finish_reason: str | None = None
    """The provider's own word for `finish_reason`."""
    stop_sequence: str | None = None
    """The stop sequence that ended the choice, if the provider reports it."""
    logprobs: Logprobs | None = None
    """Log probabilities, if they were requested."""


@has_document
class ChatResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A complete response: shortcuts to the first choice, and OpenAI's paths (`choices[0].message.content`)."""

    id: str = ""
    """The provider's id of the response."""

    model: str = ""
    """The model that the provider reports."""

    choices: list[Choice]
    """The choices; usually one."""

    created: int = 0
    """When the provider made the response, in seconds since 1970; 0 if it does not say."""
    usage: Usage = NO_USAGE
    """The tokens. It is never `None`: if the provider reports nothing, it is falsy and all counts are 0."""
    service_tier: str | None = None
    """The service tier that was used, if the provider reports it."""

    system_fingerprint: str | None = None
    """OpenAI's identifier of the backend's configuration, if the provider reports it."""

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

    @classmethod
    def of(cls, text: str, *, finish_reason: FinishReason = "stop") -> ChatResponse:
        """Return a response with this text, for a plugin that responds instead of the provider, or for a test."""
        message = AssistantMessage(parts=[TextPart(text=text)])
        return ChatResponse(choices=[Choice(message=message, finish_reason=finish_reason)])

    @property
    def object(self) -> str:
        """OpenAI's name of this type of object."""
        return "chat.completion"

    @property
    def message(self) -> AssistantMessage:
        """The message of the first choice. It can be appended to the prompt."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """The text of the first choice; empty if it has none."""
        return self.choices[0].message.text

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls of the first choice; empty if there are none."""
        return self.choices[0].message.tool_calls or []

    @property
    def reasoning(self) -> str | None:
        """The reasoning of the first choice, if the provider shows it; else `None`."""
        return self.choices[0].message.reasoning

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first choice ended."""
        return self.choices[0].finish_reason

    @property
    def elapsed(self) -> float:
        """How long the call took, in seconds: all attempts and the waits between them; for a stream, until its end."""
        return sum((attempt.wait + (attempt.total or 0.0) for attempt in self.attempts), 0.0)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_AN_ANSWER)

    def to_dict(self) -> dict[str, Any]:
        """Return the response in the form of OpenAI's `chat.completion` object."""
        form: dict[str, Any] = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [
                {
                    "index": choice.index,
                    "message": choice.message.to_dict(),
                    "finish_reason": choice.finish_reason,
                    "logprobs": msgspec.to_builtins(choice.logprobs),
                }
                for choice in self.choices
            ],
        }
        if self.usage:
            form["usage"] = self.usage.to_dict()
        if self.service_tier is not None:
            form["service_tier"] = self.service_tier
        if self.system_fingerprint is not None:
            form["system_fingerprint"] = self.system_fingerprint
        return form

    def __repr__(self) -> str:
        excerpt = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        calls = f", tool_calls={[call.name for call in self.tool_calls]}" if self.tool_calls else ""
        spent = f", {self.usage.input_tokens}+{self.usage.output_tokens} tokens" if self.usage else ""
        return f"ChatResponse({self.provider}/{self.model}: {excerpt!r}{calls}, {self.finish_reason}{spent})"

    def _repr_html_(self) -> str:
        facts = note(
            f"{self.provider}/{self.model}",
            bool(self.usage) and f"{self.usage.input_tokens} + {self.usage.output_tokens} tokens",
            self.cost and f"cost {self.cost}",
            self.elapsed and f"{self.elapsed * 1000:.0f} ms",
        )
        tried = f"{len(self.attempts)} attempt{'s' if len(self.attempts) > 1 else ''}"
        trail = folded(tried, attempts_html(self.attempts)) if self.attempts else ""
        return block(*map(_choice_html, self.choices), facts, trail, *map(note, self.warnings))


def raw_of(body: bytes, choices: Sequence[Choice]) -> bytes:
    """Return the body as it is stored in `raw` of a response with these choices."""
    return without_texts(body, _texts(choices)) if len(body) >= SMALL else body


def _texts(choices: Sequence[Choice]) -> Iterator[str]:
    for choice in choices:
        for part in choice.message.parts:
            for name in _LONGEST.get(type(part), part.__struct_fields__):
                value = getattr(part, name)
                if isinstance(value, str):
                    yield value


_LONGEST: Final[Mapping[type[object], tuple[str, ...]]] = {
    TextPart: ("text", "signature"),
    ReasoningPart: ("text", "signature", "redacted"),
    ToolCall: ("arguments", "signature"),
}
"""The members of frequent parts that may be long texts. Of other parts, all members are considered."""


def _choice_html(choice: Choice) -> str:
    message = choice.message
    reasoning = folded("reasoning", text(message.reasoning)) if message.reasoning else ""
    calls = [(call.name, call.arguments) for call in message.tool_calls or ()]
    called = table(("tool", "arguments"), calls) if calls else ""
    return block(reasoning, text(message.text), called, note(choice.finish_reason))
