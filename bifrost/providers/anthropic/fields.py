"""How each field of a request is sent to Anthropic: https://platform.claude.com/docs/en/api/messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.models import ModelsRequest
from bifrost.operations.token_count import TokenCountRequest
from bifrost.providers.fields import (
    OF_STREAMS,
    REQUIRED,
    Field,
    FieldTable,
    emulated,
    in_some_places,
    label_of,
    left_out,
    left_out_saying,
    local,
    mapped,
    refused,
    sent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEAKER = "Anthropic"
"""The name of the provider in warnings and errors."""

_ORIGIN = "says who made a part of a response, and so where it may go"
_ONE_ANSWER = refused("gives one response per request, so n must be 1; send the request several times", neutral=(1,))
_NO_LOGPROBS = refused("gives no log probabilities; leave out logprobs and top_logprobs", neutral=(False,))
_TEXT_ONLY = refused("answers in text only; leave out audio and modalities", neutral=(["text"],))
_NO_FREE_TEXT = "has no tools that take free text; give them JSON parameters"
_NO_VIDEO = in_some_places(refused("takes no videos; describe the video, or send pictures of it"))
_OF_A_SCHEMA = "{field} was left out: only the type json_schema has it"
_UNMARKABLE = "{field} was left out: the message has nothing that can be marked"
_BY_OPTIONS = "has no such option; mark what to cache with `cache=CacheMark()`"
_BY_LIFETIMES = "has no such option; mark what to cache with `cache=CacheMark(ttl=...)`"

_MARKED = (
    "messages.cache",
    *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "file", "tool_call")),
    "tools.tool.cache",
)

_MESSAGES: Mapping[str, Field] = {
    "messages": REQUIRED,
    "messages.role": REQUIRED,
    "messages.role=developer": mapped(),
    "messages.role=system": mapped("{place}: a system message amid the conversation was moved to the system prompt"),
    "messages.content": sent(),
    "messages.name": left_out("has no names of participants"),
    "messages.tool_call_id": mapped("{field} was left out: only the result of a tool has one"),
    "messages.is_error": mapped("{field} was left out: only the result of a tool has it"),
    **{path: mapped(_UNMARKABLE) for path in _MARKED},
    **{f"{path}.ttl": sent() for path in _MARKED},
    "messages.content.text.text": sent(),
    "messages.content.text.citations": mapped("{place}: citations that are not Anthropic's were left out"),
    **{
        f"messages.content.text.citations.{name}": local("the provider's own object is sent, which says it too")
        for name in ("url", "title", "text", "start", "end", "document_index", "file_id", "provider")
    },
    "messages.content.text.citations.native": sent(),
    "messages.content.text.signature": left_out("takes no signature of a text back"),
    "messages.content.text.provider": local(_ORIGIN),
    "messages.content.text.issuer": local(_ORIGIN),
    "messages.content.image.signature": left_out("takes no signature of an image back"),
    "messages.content.image.provider": local(_ORIGIN),
    "messages.content.image.issuer": local(_ORIGIN),
    "messages.content.image.url": mapped(),
    "messages.content.image.data": sent(),
    "messages.content.image.media_type": sent(),
    "messages.content.image.file_id": sent(),
    "messages.content.image.detail": left_out_saying(
        "{place}: an image's detail was left out: {provider} has no such option", neutral=("auto",)
    ),
    "messages.content.audio.data": in_some_places(refused("takes no sound; send its text")),
    "messages.content.audio.format": in_some_places(refused("takes no sound; send its text")),
    "messages.content.audio.id": in_some_places(refused("takes no sound; send its text")),
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("a response tells until when its id is known"),
    **{
        f"messages.content.video{field}": _NO_VIDEO
        for field in ("", ".url", ".data", ".media_type", ".file_id", ".cache", ".cache.ttl")
    },
    "messages.content.file.url": mapped(),
    "messages.content.file.data": mapped(),
    "messages.content.file.text": sent(),
    "messages.content.file.file_id": sent(),
    "messages.content.file.media_type": sent(),
    "messages.content.file.filename": sent(),
    "messages.content.file.context": sent(),
    "messages.content.file.citations": sent(),
    "messages.content.reasoning.text": mapped("{place}: reasoning of another provider was left out"),
    "messages.content.reasoning.signature": mapped("{place}: reasoning without a signature was left out"),
    "messages.content.reasoning.redacted": sent(),
    "messages.content.reasoning.provider": local(_ORIGIN),
    "messages.content.reasoning.issuer": local(_ORIGIN),
    "messages.content.refusal.refusal": mapped(),
    "messages.content.tool_call.id": mapped(),
    "messages.content.tool_call.name": sent(),
    "messages.content.tool_call.arguments": mapped(),
    "messages.content.tool_call.kind": sent(),
    "messages.content.tool_call.kind=custom": refused(_NO_FREE_TEXT),
    "messages.content.tool_call.signature": mapped(
        "{place}: the signature of another provider's tool call was left out"
    ),
    "messages.content.tool_call.provider": local(_ORIGIN),
    "messages.content.tool_call.issuer": local(_ORIGIN),
    "messages.content.opaque.provider": local(_ORIGIN),
    "messages.content.opaque.kind": local("the block itself says its kind"),
    "messages.content.opaque.data": sent(),
    "messages.content.opaque.issuer": local(_ORIGIN),
}

_TOOLS: Mapping[str, Field] = {
    "tools": sent(),
    "tools.tool.name": sent(),
    "tools.tool.description": sent(),
    "tools.tool.parameters": mapped(),
    "tools.tool.strict": mapped(),
    "tools.tool.kind": sent(),
    "tools.tool.kind=custom": refused(_NO_FREE_TEXT),
    "tools.tool.format": left_out("has no tools that take free text"),
    "tools.provider.definition": sent(),
    "tools.provider.provider": local("says whose words the definition is in"),
    "tool_choice": sent(),
    "tool_choice.mode": mapped("{field} was left out: there are no tools to choose among"),
    "tool_choice.name": mapped("{field} was left out: only the mode tool has one"),
    "tool_choice.allowed": emulated(
        "tool_choice.allowed: the other tools were left out of the request, {provider} cannot mask them"
    ),
    "parallel_tool_calls": mapped("{field} was left out: there are no tools to call", neutral=(True,)),
    "web_search": mapped(),
    "web_search.context_size": left_out(),
    "web_search.user_location": sent(),
    **{f"web_search.user_location.{name}": sent() for name in ("city", "region", "country", "timezone")},
    "web_search.allowed_domains": sent(),
    "web_search.blocked_domains": sent(),
    "web_search.max_uses": sent(),
}

_OPTIONS: Mapping[str, Field] = {
    "temperature": mapped("{field} {value} was sent as 1: {provider}'s range ends there"),
    "top_p": mapped("{field} was left out: {value}"),
    "top_k": mapped("{field} was left out: {value}"),
    "max_tokens": sent(),
    "stop": mapped(name="stop_sequences"),
    "n": _ONE_ANSWER,
    "logprobs": _NO_LOGPROBS,
    "top_logprobs": _NO_LOGPROBS,
    "modalities": _TEXT_ONLY,
    "audio": _TEXT_ONLY,
    "presence_penalty": left_out(),
    "frequency_penalty": left_out(),
    "seed": left_out(),
    "logit_bias": left_out(),
    "user": mapped(),
    "safety_identifier": left_out("has no such option; `user` is sent as metadata.user_id"),
    "metadata": mapped("{field} {value} was left out: {provider} takes user_id only"),
    "store": left_out(),
    "service_tier": mapped("{field} {value} was left out: {provider} knows auto, standard_only"),
    "verbosity": left_out(),
    "prompt_cache_key": left_out(_BY_OPTIONS),
    "prompt_cache_retention": left_out(_BY_LIFETIMES),
    "prediction": left_out(),
    "response_format": sent(),
    "response_format.type": sent(),
    "response_format.type=json_object": refused(
        'has no "any JSON object" mode; give a schema with response_format type "json_schema"'
    ),
    "response_format.name": local("a label; its formats have none"),
    "response_format.schema": mapped(_OF_A_SCHEMA),
    "response_format.description": in_some_places(left_out_saying("{field} was left out: write it into the schema")),
    "response_format.strict": left_out_saying(
        "{field} was left out: {provider}'s formats are always strict", neutral=(True,)
    ),
    "reasoning": sent(),
    "reasoning.effort": sent(),
    "reasoning.effort=minimal": mapped("reasoning.effort 'minimal' was sent as 'low': {provider}'s scale begins there"),
    "reasoning.max_tokens": mapped("{field} was left out: {value}"),
    "reasoning.enabled": mapped("{field} was left out: the effort is none"),
    "reasoning.display": mapped("{field} was left out: there is no thinking to show"),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": left_out("tells the usage of every stream"),
    "stream_options.include_obfuscation": left_out(),
}

CHAT = FieldTable(
    ChatRequest,
    {"model": REQUIRED, "extra": sent(), **_MESSAGES, **_TOOLS, **_OPTIONS},
    speaker=SPEAKER,
)
"""How the fields of a chat are sent to Anthropic."""


COUNT_TOKENS = CHAT.narrowed(TokenCountRequest)
"""How the fields of a request for a number of tokens are sent: as those of the chat."""


def warning_of(path: str, *, place: str = "", value: object = "") -> str:
    """Return the warning for a field of a chat that is omitted here, or sent in another form."""
    return CHAT[path].warning(label_of(path, place), SPEAKER, place=place, value=value)


MODELS = FieldTable(
    ModelsRequest, {"model": local("the question is put to the provider"), "limit": sent(), "after": mapped()}
)
"""How the fields of a request for models are sent."""
