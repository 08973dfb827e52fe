"""The chat operation: its request and its complete response."""

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
"""Why a response ended, in OpenAI's words. `pause`: the provider wants the conversation to be sent again to
continue.
"""


class Reasoning(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How much a model may reason, by `effort` or by `max_tokens`. `None` means the provider's default."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | str | None = None  # noqa: PYI051
    """The level of effort. Providers support different levels."""

    max_tokens: int | None = None
    """The most tokens of reasoning."""

    enabled: bool | None = None
    """Whether the model reasons at all."""

    display: Literal["summarized", "omitted"] | str | None = None  # noqa: PYI051 - the known words, for editors
    """Whether the provider returns a summary of the reasoning."""


class ResponseFormat(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The required form of the response: text, any JSON object, or JSON that matches `schema`."""

    type: Literal["text", "json_object", "json_schema"] = "text"
    """`text`, `json_object` for any JSON object, or `json_schema`."""

    name: str | None = None
    """The name of the schema, which some providers require."""

    schema: dict[str, Any] | None = None
    """The JSON schema. The order of its keys is preserved."""

    description: str | None = None
    """A description of the schema for the model."""

    strict: bool | None = None
    """Whether the provider enforces the schema. `None`: the provider's default."""


class StreamOptions(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a stream contains."""

    include_usage: bool = True
    """Whether the usage is requested. Default: `True`."""

    include_obfuscation: bool | None = None
    """OpenAI's padding against side channels. `None`: the provider's default."""


class Prediction(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Text that most of the response is expected to repeat, which makes the response faster."""

    content: str | list[TextPart]
    """The text."""


class AudioOutput(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The voice and format of a spoken response."""

    voice: str
    """The name of the voice."""

    format: str
    """The audio format: `wav`, `mp3`, ..."""


class UserLocation(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The approximate location of the user, for a web search. `None`: unknown."""

    city: str | None = None
    """The city."""

    region: str | None = None
    """The region."""

    country: str | None = None
    """The country, as an ISO 3166-1 code of two letters."""

    timezone: str | None = None
    """The time zone, as an IANA name."""


class WebSearch(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Allows the provider to search the web. `None` means the provider's default."""

    context_size: Literal["low", "medium", "high"] | None = None
    """How much of the search results the model sees."""

    user_location: UserLocation | None = None
    """The approximate location of the user."""

    allowed_domains: list[str] | None = None
    """The only domains that may be searched."""

    blocked_domains: list[str] | None = None
    """Domains that must not be searched."""

    max_uses: int | None = None
    """The most searches."""


class ChatRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A chat request, the same for all providers.

    `None` means that the option is not sent and the provider's default applies.
    """

    model: str
    """`provider/model`, or the name of a model group."""

    messages: list[Message]
    """The conversation so far."""

    tools: list[Tool | ProviderTool] | None = None
    """The tools that the model may call."""

    tool_choice: ToolChoice | None = None
    """Whether and which tools the model must call."""

    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once."""

    response_format: ResponseFormat | None = None
    """The required form of the response."""

    temperature: float | None = None
    """The sampling temperature; higher values give more varied output."""

    top_p: float | None = None
    """Nucleus sampling: only the most probable tokens with this total probability are considered."""

    top_k: int | None = None
    """Only this many of the most probable tokens are considered."""

    max_tokens: int | None = None
    """The most tokens of output, including reasoning."""
    presence_penalty: float | None = None
    """Reduces the probability of tokens that have occurred already, between -2 and 2."""

    frequency_penalty: float | None = None
    """Reduces the probability of tokens in proportion to how often they have occurred, between -2 and 2."""

    stop: list[str] | None = None
    """Texts that end the response when the model writes them."""

    seed: int | None = None
    """A seed for sampling that is as deterministic as the provider supports."""

    logprobs: bool | None = None
    """Whether the log probabilities of the tokens are returned."""

    top_logprobs: int | None = None
    """For each token of the response, this many of the most probable tokens are returned with their log
    probabilities.
    """

    n: int | None = None
    """The number of choices to generate."""

    logit_bias: dict[str, float] | None = None
    """A bias between -100 and 100 that is added to the logits, by the number of the token as text."""

    user: str | None = None
    """An identifier of the end user, for the provider's abuse detection."""

    safety_identifier: str | None = None
    """OpenAI's newer identifier of the end user, which should be hashed."""

    metadata: dict[str, str] | None = None
    """Labels that the provider stores with the request."""

    store: bool | None = None
    """Whether the provider stores the response."""

    service_tier: str | None = None
    """The provider's processing tier: `auto`, `default`, `flex`, `priority`, ..."""

    verbosity: Literal["low", "medium", "high"] | None = None
    """How long the response should be."""

    reasoning: Reasoning | None = None
    """How much the model may reason."""

    prompt_cache_key: str | None = None
    """A key that helps OpenAI to route similar requests to the same prompt cache."""

    prompt_cache_retention: str | None = None
    """How long OpenAI keeps the prompt cache: `in_memory` or `24h`."""

    stream_options: StreamOptions | None = None
    """What a stream contains."""

    prediction: Prediction | None = None
    """Text that most of the response is expected to repeat."""

    modalities: list[str] | None = None
    """The kinds of output: `text`, `audio`."""

    audio: AudioOutput | None = None
    """The voice and format of a spoken response."""

    web_search: WebSearch | None = None
    """Allows the provider to search the web."""

    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""


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
