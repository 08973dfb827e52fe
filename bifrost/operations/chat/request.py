"""The request of a chat."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from bifrost.frozen import Value
from bifrost.operations.chat.content import TextPart
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice


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
