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
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.structured.strict_schema import COMMON_RULES, SchemaRules
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.call_ids import CallIdRule
from bifrost.providers.fields import (
    REQUIRED,
    Field,
    FieldTable,
    in_some_places,
    left_out,
    left_out_saying,
    local,
    mapped,
    refused,
    sent,
)
from bifrost.providers.openai.completion_fields import COMPLETIONS_LACK, completion_fields
from bifrost.providers.openai.fields import CHAT, LACKS, MARKED, NO_MARKS, PLAIN, SEARCHES, SELF_CACHING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

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


def _chat_fields(quirks: Quirks) -> FieldTable:
    """Return how a server receives the fields of a chat."""
    fields = {
        **CHAT,
        "max_tokens": mapped(name=quirks.max_tokens_field),
        "top_k": sent("top_k") if quirks.top_k else left_out(),
        **_renamed(quirks, PLAIN),
        **_parts(quirks),
        **_marks(quirks),
        **_thinking(quirks),
        **_search(quirks),
    }
    if quirks.logprobs_are_counted:
        fields["logprobs"] = mapped(neutral=(False,))
        fields["top_logprobs"] = mapped("{field} was left out: logprobs is false")
    if quirks.usage_comes_unasked:
        fields["stream_options.include_usage"] = left_out("tells the usage of every stream")
    for name in quirks.lacks:
        fields |= LACKS.get(name, {})
    return FieldTable(ChatRequest, fields)


def _embeddings_fields(quirks: Quirks) -> FieldTable:
    """Return how a server receives the fields of embeddings."""
    fields: dict[str, Field] = {
        "model": REQUIRED,
        "input": REQUIRED,
        "dimensions": sent("dimensions"),
        "encoding_format": mapped(neutral=("base64",)),
        "images": refused("makes vectors of texts only; leave out images", neutral=([],)),
        "output_dtype": refused("makes vectors of floating-point numbers only", neutral=("float",)),
        "input_type": left_out("makes the same vectors for all purposes"),
        "truncate": left_out("has no such option; inputs that are too long are refused", neutral=("none",)),
        "user": sent("user"),
        "extra": sent(),
        **_renamed(quirks, ("dimensions",)),
    }
    if quirks.output_dtype:
        fields["output_dtype"] = sent("output_dtype")
    if quirks.vectors_are_numbers:
        fields["encoding_format"] = left_out("gives vectors as numbers only", neutral=("float",))
    if "user" in quirks.lacks:
        fields |= LACKS["user"]
    return FieldTable(EmbeddingRequest, fields)


def _completion_fields(quirks: Quirks) -> FieldTable:
    """Return how a server receives the fields of a completion."""
    return completion_fields(quirks.completions_lack, top_k=quirks.top_k)


def _renamed(quirks: Quirks, names: Iterable[str]) -> dict[str, Field]:
    return {name: mapped(name=quirks.renames[name]) for name in names if name in quirks.renames}


def _parts(quirks: Quirks) -> dict[str, Field]:
    fields: dict[str, Field] = {}
    if quirks.developer_role != "developer":
        fields["messages.role=developer"] = mapped()
    if quirks.sound_is_bare:
        fields["messages.content.audio.format"] = local("the server reads it off the sound")
    if quirks.videos:
        fields |= _VIDEOS
    if quirks.files != "file" or quirks.files_by_url:
        fields["messages.content.file.url"] = sent()
    if quirks.files == "document_url":
        fields["messages.content.file.filename"] = mapped("{field} was left out: the file is known by its id")
    if quirks.files == "file_url":
        fields["messages.content.file.media_type"] = local("the server reads it off the document")
        fields["messages.content.file.file_id"] = in_some_places(
            refused("takes no file by file_id in a chat; give its url or data")
        )
    if quirks.reasoning_field is not None:
        fields["messages.content.reasoning.text"] = mapped("{field} was left out: reasoning of another provider")
    if quirks.reasoning_field == "reasoning_details":
        fields["messages.content.reasoning.signature"] = mapped()
    return fields


_VIDEOS: Mapping[str, Field] = {
    "messages.content.video": sent(),
    "messages.content.video.url": sent(),
    "messages.content.video.data": mapped(),
    "messages.content.video.media_type": mapped("{field} was left out: the server reads it off the video"),
    "messages.content.video.file_id": in_some_places(
        refused("takes no video by file_id in a chat; give its url or data")
    ),
}


def _marks(quirks: Quirks) -> dict[str, Field]:
    videos = ("messages.content.video.cache",) if quirks.videos else ()
    places = (*MARKED, *videos, "tools.tool.cache")
    match quirks.cache_marks:
        case None:
            return dict.fromkeys((*places, "messages.content.tool_call.cache"), NO_MARKS)
        case "breakpoint":
            marks, ttl = (
                SELF_CACHING,
                in_some_places(
                    left_out_saying("the ttl of cache marks was left out: {provider} has no lifetimes of them")
                ),
            )
        case "cache_control":
            marks, ttl = (
                mapped("{field} was left out: {provider} takes a mark on a whole response, not on a part of it"),
                sent(),
            )
    return {
        **dict.fromkeys(places, marks),
        **dict.fromkeys((f"{place}.ttl" for place in places), ttl),
        "messages.cache": mapped("{field} was left out: the message has nothing that can be marked"),
        "messages.content.tool_call.cache": left_out("takes no cache mark on a tool call"),
    }


def _thinking(quirks: Quirks) -> dict[str, Field]:
    if quirks.reasoning == "object":
        return {
            "reasoning.effort": sent(),
            "reasoning.max_tokens": sent(),
            "reasoning.enabled": sent(),
            "reasoning.display": left_out(),
            "reasoning.display=omitted": mapped(),
        }
    return {
        "reasoning.effort": mapped("{field} was left out: reasoning.enabled is false"),
        "reasoning.max_tokens": left_out("takes an effort, not a budget"),
        "reasoning.enabled": mapped("{field} was left out: {provider} takes an effort (reasoning.effort) in its place"),
        "reasoning.display": left_out(),
    }


def _search(quirks: Quirks) -> dict[str, Field]:
    known = SEARCHES[quirks.web_search]
    lacking = {
        **dict.fromkeys(("context_size", "user_location", "max_uses"), left_out()),
        **dict.fromkeys(
            ("allowed_domains", "blocked_domains"),
            refused("cannot keep a web search to some domains; leave out web_search's domains"),
        ),
    }
    return {
        "web_search": sent(),
        **{f"web_search.{name}": sent() if name in known else field for name, field in lacking.items()},
        **{f"web_search.user_location.{name}": sent() for name in ("city", "region", "country", "timezone")},
    }


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
    prefix: bool = False
    """Whether a last message of the assistant needs a mark that says that the response continues it."""
    images_in_results: bool = False
    """Whether the result of a tool may contain images."""
    answers_have_images: bool = False
    """Whether images of a model are sent back in the `images` of its message."""
    calls_need_reasoning: bool = False
    """Whether a message with tool calls must have `reasoning_field`, empty if there was no reasoning."""
    videos: bool = False
    """Whether a message may contain videos, as `video_url`."""
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

    # --- completions of texts

    completions_lack: frozenset[str] = frozenset()
    """The options of a completion that the server does not support: names in
    `bifrost.providers.openai.completion_fields.COMPLETIONS_LACK`.
    """
    completions_path: str = "/completions"
    """The path of completions, after the server's address."""

    speech_lack: frozenset[str] = frozenset()
    """The options of a request for speech that the server does not support."""

    transcriptions_lack: frozenset[str] = frozenset()
    """The options of a request for a transcription that the server does not support."""

    images_lack: frozenset[str] = frozenset()
    """The options of a request for images that the server does not support."""

    output_dtype: bool = False
    """Whether vectors may have numbers of other types than floating-point."""

    # --- responses

    reasoning_tokens_apart: bool = False
    """Whether `completion_tokens` does not include reasoning, which only the total includes."""

    responses_lack: frozenset[str] = frozenset()
    """The fields of a `ResponsesRequest` that the server's Responses API does not support, if it has one."""

    # --- derived once

    chat: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_chat_fields, takes_self=True)
    )
    """How the server receives the fields of a chat."""
    embeddings: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_embeddings_fields, takes_self=True)
    )
    """How it receives the fields of embeddings."""

    completions: FieldTable = attrs.field(
        init=False, repr=False, eq=False, default=attrs.Factory(_completion_fields, takes_self=True)
    )
    """How it receives the fields of a completion."""

    def __attrs_post_init__(self) -> None:
        for name, known in (("lacks", LACKS), ("completions_lack", COMPLETIONS_LACK)):
            unknown = getattr(self, name) - known.keys()
            if unknown:
                raise ConfigError(f"Quirks.{name}: nothing is called {', '.join(sorted(unknown))}")
