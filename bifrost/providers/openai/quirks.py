"""How a server departs from OpenAI's dialect, as a value.

A quirk prevents that something is sent or read wrongly. What servers only add (another name of the reasoning, for
example) is read from all of them and needs no quirk.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

import attrs

from bifrost.errors import ConfigError
from bifrost.frozen import Frozen
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES, SchemaRules
from bifrost.providers.call_ids import CallIdRule
from bifrost.providers.openai.fields import LACKS, chat_fields, embeddings_fields

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from bifrost.providers.fields import FieldTable
    from bifrost.providers.openai.families import ModelFamily

OPENAI_ALONE = frozenset(
    [
        "safety_identifier",
        "metadata",
        "store",
        "service_tier",
        "verbosity",
        "prompt_cache_key",
        "prompt_cache_retention",
        "prediction",
        "include_obfuscation",
        "refusals",
        "modalities",
        "custom_tools",
        "allowed_tools",
    ]
)
"""What hardly any other server than OpenAI supports: a starting point for `lacks`."""

OPENAI_CALL_IDS = CallIdRule(pattern=re.compile(".{1,40}", re.DOTALL), prefix="call_", length=24)
"""OpenAI's ids of tool calls: "Expected a string with maximum length 40"."""

ReasoningStyle = Literal["effort", "thinking", "switch", "object"]
"""How an effort is requested: in `reasoning_effort` only (OpenAI); with DeepSeek's `thinking` or Together's
`reasoning.enabled` in addition; or in OpenRouter's `reasoning` object, which has a budget as well.
"""

ReasoningField = Literal["reasoning_content", "reasoning", "reasoning_details", "thinking"]
"""Where the history has reasoning: in a field of the message, or (`thinking`) in a part of its content."""

SearchStyle = Literal["options", "settings", "filters", "tool"]
"""How a web search is requested: OpenAI's `web_search_options`, Groq's `search_settings`, Perplexity's filters, or
OpenRouter's server tool.
"""

FileStyle = Literal["file", "document_url", "file_url"]
"""OpenAI's `file` part, Mistral's `document_url`, or Perplexity's `file_url`."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Quirks(Frozen):
    """The departures of a server from OpenAI's dialect. Each default is what OpenAI does."""

    # --- options

    lacks: frozenset[str] = frozenset()
    """What the server does not support: names in `bifrost.providers.openai.fields.LACKS`."""
    max_tokens_field: str = "max_completion_tokens"
    """The name of the limit of output tokens. Many servers support only the older `max_tokens`."""
    renames: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The server's names of options, by bifrost's names."""
    top_k: bool = False
    """Whether `top_k` is supported."""
    families: Sequence[ModelFamily] = ()
    """Options that some of its models never accept."""
    logprobs_are_counted: bool = False
    """Whether `logprobs` is a number: how many of the most probable tokens to return."""
    prediction_is_text: bool = False
    """Whether a prediction's content must be text and not parts."""
    usage_comes_unasked: bool = False
    """Whether a stream reports its usage by default; `stream_options` is not supported."""
    reasoning: ReasoningStyle = "effort"
    """How reasoning is requested."""

    web_search: SearchStyle = "options"
    """How a web search is requested."""

    parameters_are_needed: bool = False
    """Whether a tool without parameters needs a schema."""
    schema_rules: SchemaRules = COMMON_RULES
    """The JSON schema features of the server's strict mode."""

    # --- messages

    developer_role: Literal["developer", "system"] = "developer"
    """The role of a developer's message."""
    reasoning_field: ReasoningField | None = None
    """The field in which reasoning is sent back; `None`: it is not sent back."""
    raw_arguments: bool = False
    """Whether arguments in the history that are not a JSON object are sent unchanged. Other servers parse them and
    receive an object with the text.
    """
    call_ids: CallIdRule | None = None
    """The ids of tool calls that are accepted. `None`: any."""
    calls_need_content: bool = False
    """Whether a message with tool calls must have `content`, empty if the model wrote no text."""
    images_in_results: bool = False
    """Whether the result of a tool may contain images."""
    answers_have_images: bool = False
    """Whether images of a model are sent back in the `images` of its message."""
    calls_need_reasoning: bool = False
    """Whether a message with tool calls must have `reasoning_field`, empty if there was no reasoning."""
    cache_marks: Literal["breakpoint", "cache_control"] | None = "breakpoint"
    """How the end of a cacheable prefix is marked; `None`: marks are not supported. OpenAI's breakpoints must be
    enabled in `extra`.
    """
    files: FileStyle = "file"
    """The form of a file part."""

    files_by_url: bool = False
    """Whether the file part may have a URL."""
    sound_is_bare: bool = False
    """Whether `input_audio` is the base64 text itself."""

    # --- embeddings

    vectors_are_numbers: bool = False
    """Whether vectors are sent as numbers; base64 is not supported."""

    # --- responses

    reasoning_tokens_apart: bool = False
    """Whether `completion_tokens` does not include reasoning, which only the total includes."""

    # --- derived once

    chat: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(chat_fields, takes_self=True)
    )
    """How the server receives the fields of a chat."""
    embeddings: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(embeddings_fields, takes_self=True)
    )
    """How it receives the fields of embeddings."""

    def __attrs_post_init__(self) -> None:
        unknown = self.lacks - LACKS.keys()
        if unknown:
            raise ConfigError(f"Quirks.lacks: nothing is called {', '.join(sorted(unknown))}")
