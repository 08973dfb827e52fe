"""The chat operation: request and complete answer."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import msgspec

from bifrost.attempt_record import AttemptRecord, RateLimit, attempts_html
from bifrost.frozen import Value
from bifrost.html import block, folded, note, table, text
from bifrost.operations.chat.content import TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.document import SMALL, Document, has_document, without_texts
from bifrost.operations.other_libraries import OF_AN_ANSWER, no_attribute
from bifrost.operations.usage import NO_USAGE, Usage

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FinishReason: TypeAlias = Literal["stop", "length", "tool_calls", "content_filter", "pause", "error", "unknown"]
"""Why an answer ended, OpenAI's words first. `pause`: the provider wants the conversation sent again to go on."""


class Reasoning(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much a model may think: in words (`effort`) or in tokens (`max_tokens`)."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | str | None = None  # noqa: PYI051
    max_tokens: int | None = None
    enabled: bool | None = None
    display: Literal["summarized", "omitted"] | str | None = None  # noqa: PYI051 - the known words, for editors


class ResponseFormat(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The form the answer must have: text, any JSON object, or JSON that fits `schema` (its key order is kept)."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    name: str | None = None
    schema: dict[str, Any] | None = None
    description: str | None = None
    strict: bool | None = None


class StreamOptions(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a stream should carry. Usage is asked for unless `include_usage` is false."""

    include_usage: bool = True
    include_obfuscation: bool | None = None


class Prediction(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Text that most of the answer is expected to repeat."""

    content: str | list[TextPart]


class AudioOutput(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a spoken answer should sound."""

    voice: str
    format: str


class UserLocation(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Where the user is, roughly, for a web search."""

    city: str | None = None
    region: str | None = None
    country: str | None = None
    timezone: str | None = None


class WebSearch(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Let the provider search the web."""

    context_size: Literal["low", "medium", "high"] | None = None
    user_location: UserLocation | None = None
    allowed_domains: list[str] | None = None
    blocked_domains: list[str] | None = None
    max_uses: int | None = None


class ChatRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat, said once for every provider. `None` means "not given"."""

    model: str
    messages: list[Message]
    tools: list[Tool | ProviderTool] | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    response_format: ResponseFormat | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    """The most tokens of output, reasoning included."""
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    stop: list[str] | None = None
    seed: int | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = None
    n: int | None = None
    logit_bias: dict[str, float] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    metadata: dict[str, str] | None = None
    store: bool | None = None
    service_tier: str | None = None
    verbosity: Literal["low", "medium", "high"] | None = None
    reasoning: Reasoning | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    stream_options: StreamOptions | None = None
    prediction: Prediction | None = None
    modalities: list[str] | None = None
    audio: AudioOutput | None = None
    web_search: WebSearch | None = None
    extra: dict[str, dict[str, Any]] | None = None
    """What only one provider has, by provider name; merged into the body it is sent."""


_Finite = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]


class TopLogprob(Value, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One of the likeliest tokens at a place."""

    token: str
    logprob: _Finite
    bytes: list[int] | None = None


class TokenLogprob(Value, msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A token of the answer and how likely it was (natural logarithm)."""

    token: str
    logprob: _Finite
    bytes: list[int] | None = None
    top_logprobs: list[TopLogprob] = []


class Logprobs(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Likelihoods of the answer's tokens."""

    content: list[TokenLogprob] | None = None
    refusal: list[TokenLogprob] | None = None


class Choice(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One of the `n` answers."""

    message: AssistantMessage
    index: int = 0
    finish_reason: FinishReason | None = None
    native_finish_reason: str | None = None
    """The provider's own word for `finish_reason`."""
    stop_sequence: str | None = None
    """Which of the caller's stop sequences ended the answer, where the provider says so."""
    logprobs: Logprobs | None = None


@has_document
class ChatResponse(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A complete answer: shortcuts at the top, OpenAI's paths (`choices[0].message.content`) as well."""

    id: str = ""
    model: str = ""
    choices: list[Choice]
    created: int = 0
    """When the provider made it, in seconds since the epoch; 0 where it does not say."""
    usage: Usage = NO_USAGE
    """The tokens. Where the provider tells nothing it is false, and 0 everywhere; it is never `None`."""
    service_tier: str | None = None
    system_fingerprint: str | None = None
    provider: str = ""
    request_id: str | None = None
    attempts: list[AttemptRecord] = []
    """Everything that was tried for this answer, in order."""
    warnings: list[str] = []
    """What was mapped, left out or noticed on the way."""
    cost: Decimal | None = None
    rate_limit: RateLimit | None = None
    """What the provider told of its allowances with this answer."""
    parsed: Any = None
    if TYPE_CHECKING:
        raw: bytes = b""
        """The provider's bytes, as far as they are one document (a stream has none).

        Those of a large answer share their long texts with it; they are put together each time when `raw` is read.
        """
    else:
        raw: bytes | Document = b""

    @classmethod
    def of(cls, text: str, *, finish_reason: FinishReason = "stop") -> ChatResponse:
        """Make an answer that says this: for a plugin that answers in the provider's place, or for a test."""
        message = AssistantMessage(parts=[TextPart(text=text)])
        return ChatResponse(choices=[Choice(message=message, finish_reason=finish_reason)])

    @property
    def object(self) -> str:
        """OpenAI's name of the kind of object."""
        return "chat.completion"

    @property
    def message(self) -> AssistantMessage:
        """The first answer; it can be appended to the prompt."""
        return self.choices[0].message

    @property
    def text(self) -> str:
        """The text of the first answer, empty if it has none."""
        return self.choices[0].message.text

    @property
    def tool_calls(self) -> list[ToolCall]:
        """The tool calls of the first answer."""
        return self.choices[0].message.tool_calls or []

    @property
    def reasoning(self) -> str | None:
        """What the model thought, as far as it is shown."""
        return self.choices[0].message.reasoning

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the first answer ended."""
        return self.choices[0].finish_reason

    @property
    def elapsed(self) -> float:
        """How long the call took, in seconds: all attempts and the waits between them; a stream's to its end."""
        return sum((attempt.wait + (attempt.total or 0.0) for attempt in self.attempts), 0.0)

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> Any:
            raise no_attribute(self, name, OF_AN_ANSWER)

    def to_dict(self) -> dict[str, Any]:
        """Give the answer in the form of OpenAI's `chat.completion` object."""
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
        shown = self.text if len(self.text) <= 200 else self.text[:200] + "..."
        calls = f", tool_calls={[call.name for call in self.tool_calls]}" if self.tool_calls else ""
        spent = f", {self.usage.input_tokens}+{self.usage.output_tokens} tokens" if self.usage else ""
        return f"ChatResponse({self.provider}/{self.model}: {shown!r}{calls}, {self.finish_reason}{spent})"

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
    """Return the body as an answer of these choices stores it in `raw`."""
    return without_texts(body, _texts(choices)) if len(body) >= SMALL else body


def _texts(choices: Sequence[Choice]) -> Iterator[str]:
    for choice in choices:
        for part in choice.message.parts:
            for name in part.__struct_fields__:
                value = getattr(part, name)
                if isinstance(value, str):
                    yield value


def _choice_html(choice: Choice) -> str:
    message = choice.message
    reasoning = folded("reasoning", text(message.reasoning)) if message.reasoning else ""
    calls = [(call.name, call.arguments) for call in message.tool_calls or ()]
    called = table(("tool", "arguments"), calls) if calls else ""
    return block(reasoning, text(message.text), called, note(choice.finish_reason))
