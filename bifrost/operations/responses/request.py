"""The request of the Responses API."""

from __future__ import annotations

from typing import Any

import msgspec

from bifrost.frozen import Value
from bifrost.operations.responses.items import Item


class ResponsesRequest(Value, msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A request of the Responses API, the same for all providers.

    Dicts are in OpenAI's form. `None` means that the option is not sent and the provider's default applies.
    """

    model: str
    """`provider/model`, or the name of a model group."""
    input: str | list[Item]
    """The user's text, or the items of the conversation."""
    instructions: str | None = None
    """A system message, which precedes the input. With `previous_response_id`, that of the earlier one does not apply.
    """
    tools: list[dict[str, Any]] | None = None
    """The tools: functions, tools that take free text, and the provider's own (web search, MCP servers, ...)."""
    tool_choice: str | dict[str, Any] | None = None
    """Whether and which tools the model must call: `auto`, `none`, `required`, or an object that names tools."""
    parallel_tool_calls: bool | None = None
    """Whether the model may call several tools at once."""
    max_tool_calls: int | None = None
    """The most calls of the provider's own tools."""
    reasoning: dict[str, Any] | None = None
    """How the model reasons: `effort`, `summary`, `mode`, `context`."""
    text: dict[str, Any] | None = None
    """The form of the text: `format` (plain text, JSON, a JSON schema) and `verbosity`."""
    temperature: float | None = None
    """The sampling temperature; higher values give more varied output."""
    top_p: float | None = None
    """Nucleus sampling: only the most probable tokens with this total probability are considered."""
    max_output_tokens: int | None = None
    """The most tokens of output, including reasoning."""
    top_logprobs: int | None = None
    """For each token of the response, this many of the most probable tokens are returned with their log probabilities.
    """
    include: list[str] | None = None
    """What the response contains in addition: `reasoning.encrypted_content`, `file_search_call.results`, ..."""
    previous_response_id: str | None = None
    """The id of the response that this request continues, which the provider has stored."""
    conversation: str | dict[str, Any] | None = None
    """The conversation of the provider that the input and the response are added to: its id, or `{"id": ...}`."""
    prompt: dict[str, Any] | None = None
    """A prompt that is stored at the provider: its `id`, `version` and `variables`."""
    store: bool | None = None
    """Whether the provider stores the response. Default of OpenAI: it does."""
    background: bool | None = None
    """Whether the provider works on the response after the request has ended."""
    truncation: str | None = None
    """What happens if the input is too long: `auto` drops items from its beginning, `disabled` refuses the request."""
    context_management: list[dict[str, Any]] | None = None
    """How the provider compacts a long conversation: `[{"type": "compaction", "compact_threshold": 200000}]`."""
    moderation: dict[str, Any] | None = None
    """The moderation of input and output: `{"model": "omni-moderation-latest"}`."""
    metadata: dict[str, str] | None = None
    """Labels that the provider stores with the response."""
    service_tier: str | None = None
    """The provider's processing tier: `auto`, `default`, `flex`, `priority`, ..."""
    prompt_cache_key: str | None = None
    """A key that helps the provider to route similar requests to the same prompt cache."""
    prompt_cache_retention: str | None = None
    """How long the provider keeps the prompt cache: `in_memory` or `24h`."""
    prompt_cache_options: dict[str, Any] | None = None
    """The settings of the prompt cache: `mode` and `ttl`."""
    safety_identifier: str | None = None
    """An identifier of the end user, for the provider's abuse detection. It should be hashed."""
    user: str | None = None
    """The older name of `safety_identifier`."""
    stream_options: dict[str, Any] | None = None
    """What a stream contains: `{"include_obfuscation": False}`."""
    extra: dict[str, dict[str, Any]] | None = None
    """Options of a single provider, by the provider's name. They are merged into the body of its requests."""
