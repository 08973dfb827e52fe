"""How each field of a request is sent in OpenAI's dialect, and what becomes of those that a server lacks.

Chat: https://platform.openai.com/docs/api-reference/chat/create. Embeddings:
https://platform.openai.com/docs/api-reference/embeddings/create.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.models import ModelsRequest
from bifrost.providers.fields import (
    OF_STREAMS,
    REQUIRED,
    Field,
    FieldTable,
    emulated,
    in_some_places,
    left_out,
    left_out_saying,
    local,
    mapped,
    refused,
    sent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping


PLAIN = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "stop",
    "seed",
    "n",
    "logprobs",
    "top_logprobs",
    "user",
    "safety_identifier",
    "metadata",
    "store",
    "service_tier",
    "verbosity",
    "parallel_tool_calls",
    "prompt_cache_key",
    "prompt_cache_retention",
    "modalities",
)
"""Options with the same name and type in both."""

_ORIGIN = "says who made a part of a response, and so where it may go"

_VIDEO_FIELDS = ("", ".url", ".data", ".media_type", ".file_id", ".cache", ".cache.ttl")
"""A video, and its fields."""

_NO_VIDEO = in_some_places(refused("takes no videos; choose another provider, or describe the video"))

CHAT: Mapping[str, Field] = {
    "model": REQUIRED,
    "extra": sent(),
    # --- messages
    "messages": REQUIRED,
    "messages.role": REQUIRED,
    "messages.content": sent(),
    "messages.name": sent(),
    "messages.tool_call_id": mapped("{field} was left out: only the result of a tool has one"),
    "messages.is_error": left_out("learns of it by the result's text only"),
    "messages.content.text.text": sent(),
    "messages.content.text.citations": local("the sources of a response; nothing is asked by them"),
    "messages.content.text.signature": left_out("takes no signature of a text back"),
    "messages.content.text.provider": local(_ORIGIN),
    "messages.content.text.issuer": local(_ORIGIN),
    "messages.content.image.signature": left_out("takes no signature of an image back"),
    "messages.content.image.provider": local(_ORIGIN),
    "messages.content.image.issuer": local(_ORIGIN),
    "messages.content.image.url": sent(),
    "messages.content.image.data": mapped(),
    "messages.content.image.media_type": mapped(),
    "messages.content.image.file_id": in_some_places(
        refused("takes no image by file_id in a chat; give its url or data")
    ),
    "messages.content.image.detail": sent(),
    "messages.content.audio.data": mapped("{place}: sound without an id was left out, its transcript sent"),
    "messages.content.audio.format": sent(),
    "messages.content.audio.id": sent(),
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("a response tells until when its id is known"),
    **{f"messages.content.video{field}": _NO_VIDEO for field in _VIDEO_FIELDS},
    "messages.content.file.url": in_some_places(
        refused("takes no file by url in a chat; give its data, or upload it and give file_id")
    ),
    "messages.content.file.data": mapped(),
    "messages.content.file.text": emulated("{place}: a document given as text was sent as a text part"),
    "messages.content.file.file_id": sent(),
    "messages.content.file.media_type": mapped(),
    "messages.content.file.filename": sent(),
    "messages.content.file.context": emulated("{place}: a file's context was sent as a text before it"),
    "messages.content.file.citations": left_out_saying(
        "{place}: citations of a file were not asked for: {provider} has none", neutral=(False,)
    ),
    "messages.content.reasoning.text": local(
        "of the provider's own there is no need, and another's is left out with a warning"
    ),
    "messages.content.reasoning.signature": in_some_places(left_out("takes no signature of reasoning back")),
    "messages.content.reasoning.redacted": in_some_places(left_out("takes no redacted reasoning back")),
    "messages.content.reasoning.provider": local(_ORIGIN),
    "messages.content.reasoning.issuer": local(_ORIGIN),
    "messages.content.refusal.refusal": sent(),
    "messages.content.tool_call.id": mapped(),
    "messages.content.tool_call.name": sent(),
    "messages.content.tool_call.arguments": sent(),
    "messages.content.tool_call.kind": sent(),
    "messages.content.tool_call.signature": left_out("takes no signature of a tool call back"),
    "messages.content.tool_call.provider": local(_ORIGIN),
    "messages.content.tool_call.issuer": local(_ORIGIN),
    "messages.content.opaque.provider": local(_ORIGIN),
    "messages.content.opaque.kind": local("the block itself says its kind"),
    "messages.content.opaque.data": in_some_places(left_out_saying("{field} was left out")),
    "messages.content.opaque.issuer": local(_ORIGIN),
    # --- tools
    "tools": sent(),
    "tools.tool.name": sent(),
    "tools.tool.description": sent(),
    "tools.tool.parameters": mapped("{field} was left out: a tool that takes free text has none"),
    "tools.tool.strict": mapped("{field} was left out: a tool that takes free text has none"),
    "tools.tool.kind": sent(),
    "tools.tool.format": mapped("{field} was left out: only a tool that takes free text has one"),
    "tools.provider.definition": sent(),
    "tools.provider.provider": local("says whose words the definition is in"),
    "tool_choice": mapped("tool_choice.{value} was left out: the mode takes none"),
    "tool_choice.mode": sent(),
    "tool_choice.name": sent(),
    "tool_choice.allowed": sent(),
    # --- the response
    "response_format": sent(),
    "response_format.type": sent(),
    **{
        f"response_format.{name}": mapped("{field} was left out: only the type json_schema has it")
        for name in ("name", "schema", "description", "strict")
    },
    "reasoning": sent(),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": sent(),
    "stream_options.include_obfuscation": sent(),
    "prediction": sent(),
    "prediction.content": sent(),
    "prediction.content.text.text": sent(),
    "prediction.content.text.citations": left_out("takes none in a prediction"),
    "prediction.content.text.signature": left_out("takes none in a prediction"),
    "prediction.content.text.provider": local(_ORIGIN),
    "prediction.content.text.issuer": local(_ORIGIN),
    "prediction.content.text.cache": left_out("takes no cache mark in a prediction"),
    "audio": sent(),
    "audio.voice": sent(),
    "audio.format": sent(),
    "logit_bias": sent(),
    **{name: sent(name) for name in PLAIN},
}
"""How fields are sent to OpenAI itself, without what depends on `Quirks`."""

_NO_AUDIO = refused("answers in text only; leave out audio and modalities", neutral=(["text"],))
_NO_LOGPROBS = refused("gives no log probabilities; leave out logprobs and top_logprobs", neutral=(False, 0))
_RULED_OUT = emulated(
    "the tools that tool_choice rules out were left out of the request: {provider} cannot choose among them by name"
)

LACKS: Mapping[str, Mapping[str, Field]] = {
    # --- options that only tune the output are omitted, or expressed differently
    **{
        name: {name: left_out()}
        for name in (
            "temperature",
            "top_p",
            "presence_penalty",
            "frequency_penalty",
            "seed",
            "logit_bias",
            "user",
            "safety_identifier",
            "metadata",
            "store",
            "service_tier",
            "verbosity",
            "parallel_tool_calls",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prediction",
            "reasoning",
        )
    },
    "include_obfuscation": {"stream_options.include_obfuscation": left_out()},
    "names": {"messages.name": left_out("has no names of participants")},
    "refusals": {"messages.content.refusal.refusal": emulated("{place}: a refusal was sent as text")},
    # --- options that change the meaning are refused
    "tools": {"tools": refused("has no tools; leave out tools", neutral=([],))},
    "custom_tools": {
        "tools.tool.kind=custom": refused("has no tools that take free text; give them JSON parameters"),
        "messages.content.tool_call.kind=custom": in_some_places(
            refused("has no tools that take free text; give them JSON parameters")
        ),
    },
    "tool_choice": {
        f"tool_choice.mode={mode}": refused("cannot be made to call a tool; leave out tool_choice, or set it to auto")
        for mode in ("required", "tool")
    }
    | {"tool_choice.mode=none": emulated("the tools were left out: {provider} cannot be told to call none")},
    "json_object": {
        "response_format.type=json_object": refused(
            'has no "any JSON object" mode; give a schema with response_format type "json_schema"'
        )
    },
    "json_schema": {
        "response_format.type=json_schema": refused(
            'takes no JSON schema; use response_format type "json_object" and describe the form in a message'
        )
    },
    "stop": {"stop": refused("has no stop sequences; leave out stop, and cut the response", neutral=([],))},
    "n": {"n": refused("gives one response per request, so n must be 1; send the request several times", neutral=(1,))},
    "logprobs": {"logprobs": _NO_LOGPROBS},
    "top_logprobs": {"top_logprobs": _NO_LOGPROBS},
    "modalities": {"modalities": _NO_AUDIO, "audio": _NO_AUDIO},
    "web_search": {"web_search": refused("cannot search the web in a chat; leave out web_search")},
    "images": {
        "messages.content.image": in_some_places(
            refused("takes no images; choose another provider, or describe the picture")
        )
    },
    "sounds": {"messages.content.audio": in_some_places(refused("takes no sound; send its text"))},
    "files": {"messages.content.file": in_some_places(refused("takes no files; send their text"))},
    # --- options that are expressed differently: the tools that must not be called are not sent
    "named_tool": {"tool_choice.name": _RULED_OUT},
    "allowed_tools": {"tool_choice.allowed": _RULED_OUT},
}
"""What a server may lack (`Quirks.lacks`), and how the fields concerned are sent then."""

MARKED = ("messages.cache", *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "file")))
"""What can have a cache mark, in addition to tools."""

SELF_CACHING = mapped(
    "cache marks were left out: {provider} caches by itself; those of its models that take marks get them if extra has "
    "prompt_cache_options"
)
NO_MARKS = left_out_saying("cache marks were left out: {provider} takes none")

SEARCHES: Mapping[str, frozenset[str]] = {
    "options": frozenset(["context_size", "user_location"]),
    "settings": frozenset(["allowed_domains", "blocked_domains"]),
    "filters": frozenset(["context_size", "user_location", "allowed_domains", "blocked_domains"]),
    "tool": frozenset(["context_size", "user_location", "max_uses", "allowed_domains", "blocked_domains"]),
}
"""The fields of a web search that each style supports."""


_ALL_AT_ONCE = left_out("gives all its models at once")

MODELS = FieldTable(
    ModelsRequest, {"model": local("the question is put to the provider"), "limit": _ALL_AT_ONCE, "after": _ALL_AT_ONCE}
)
"""How the fields of a request for models are sent."""
