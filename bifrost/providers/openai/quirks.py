"""How a server departs from OpenAI's dialect, as a value.

A quirk is what would be said or read wrongly without it. What servers merely add (another name of the reasoning, say)
is read from all of them, and needs no quirk.
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
"""What OpenAI has and hardly any other server: a beginning for `lacks`."""

OPENAI_CALL_IDS = CallIdRule(pattern=re.compile(".{1,40}", re.DOTALL), prefix="call_", length=24)
"""OpenAI's ids of tool calls: "Expected a string with maximum length 40"."""

ReasoningStyle = Literal["effort", "thinking", "switch", "object"]
"""How an effort is asked for: in `reasoning_effort` alone (OpenAI); beside DeepSeek's `thinking`, Together's
`reasoning.enabled`; or in OpenRouter's `reasoning` object, which takes a budget too."""

ReasoningField = Literal["reasoning_content", "reasoning", "reasoning_details", "thinking"]
"""Where reasoning stands in the history: in a field of the message, or (`thinking`) in a part of its content."""

SearchStyle = Literal["options", "settings", "filters", "tool"]
"""How a web search is asked for: OpenAI's `web_search_options`, Groq's `search_settings`, Perplexity's filters, or
OpenRouter's server tool."""

FileStyle = Literal["file", "document_url", "file_url"]
"""OpenAI's `file` part, Mistral's `document_url`, or Perplexity's `file_url`."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Quirks(Frozen):
    """Departures from OpenAI's dialect. Each is named for the departure and defaults to what OpenAI does."""

    # --- options

    lacks: frozenset[str] = frozenset()
    """What the server does not have: names in `bifrost.providers.openai.fields.LACKS`."""
    max_tokens_field: str = "max_completion_tokens"
    """What the limit of output tokens is called; many servers know the older `max_tokens` only."""
    renames: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The server's name of an option, by ours."""
    top_k: bool = False
    """`top_k` is known."""
    families: Sequence[ModelFamily] = ()
    """Options that some of its models never accept."""
    logprobs_are_counted: bool = False
    """`logprobs` is a number: that of the likeliest tokens to tell."""
    prediction_is_text: bool = False
    """A prediction's content is text, never parts."""
    usage_comes_unasked: bool = False
    """A stream tells its usage by itself; `stream_options` is not known."""
    reasoning: ReasoningStyle = "effort"
    web_search: SearchStyle = "options"
    parameters_are_needed: bool = False
    """A tool without parameters must say so in a schema."""
    schema_rules: SchemaRules = COMMON_RULES
    """What the server's strict mode takes of JSON schema."""

    # --- messages

    developer_role: Literal["developer", "system"] = "developer"
    """What a developer's message is marked as."""
    reasoning_field: ReasoningField | None = None
    """Where the model's reasoning is sent back to it; `None`: nowhere."""
    raw_arguments: bool = False
    """Arguments in the history that are no JSON object go back as they came. Other servers parse them, and get an
    object that holds the text."""
    call_ids: CallIdRule | None = None
    """Which ids of tool calls are taken. `None`: any."""
    calls_need_content: bool = False
    """A message with tool calls must have `content`, empty if the model wrote no text."""
    images_in_results: bool = False
    """The result of a tool may hold pictures."""
    answers_have_images: bool = False
    """Pictures that a model made go back in the `images` of its message."""
    calls_need_reasoning: bool = False
    """A message with tool calls must have `reasoning_field`, empty if there was no reasoning."""
    cache_marks: Literal["breakpoint", "cache_control"] | None = "breakpoint"
    """How the end of what may be cached is marked; OpenAI's breakpoints are for those who ask for them in `extra`."""
    files: FileStyle = "file"
    files_by_url: bool = False
    """The file part takes an address too."""
    sound_is_bare: bool = False
    """`input_audio` is the base64 text itself."""

    # --- embeddings

    vectors_are_numbers: bool = False
    """Vectors come as numbers; base64 is not known."""

    # --- answers

    reasoning_tokens_apart: bool = False
    """`completion_tokens` leaves the reasoning out, which only the total counts."""

    # --- worked out once

    chat: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(chat_fields, takes_self=True)
    )
    """What the server says of the fields of a chat."""
    embeddings: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(embeddings_fields, takes_self=True)
    )
    """What it says of those of embeddings."""

    def __attrs_post_init__(self) -> None:
        unknown = self.lacks - LACKS.keys()
        if unknown:
            raise ConfigError(f"Quirks.lacks: nothing is called {', '.join(sorted(unknown))}")
