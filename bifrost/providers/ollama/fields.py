"""How each field of a request is sent to Ollama: https://docs.ollama.com/api."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.completions import CompletionRequest
from bifrost.operations.embeddings import EmbeddingRequest
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

OPTIONS: Mapping[str, str] = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "max_tokens": "num_predict",
    "presence_penalty": "presence_penalty",
    "frequency_penalty": "frequency_penalty",
    "stop": "stop",
    "seed": "seed",
}
"""The fields that are sent in `options`, with their names there."""

_ORIGIN = "says who made a part of an answer, and so where it may go"
_ONE_ANSWER = refused("gives one answer per request, so n must be 1; send the request several times", neutral=(1,))
_TEXT_ONLY = refused("answers in text only; leave out audio and modalities", neutral=(["text"],))
_NO_FREE_TEXT = "has no tools that take free text; give them JSON parameters"
_NO_MARKS = left_out_saying("cache marks were left out: {provider} takes none")
_NO_SOUND = in_some_places(refused("takes no sound; send its text"))
_NO_FILES = in_some_places(refused("takes no files; send their text"))
_NO_CHOICE = refused("cannot be made to call a tool; leave out tool_choice, or set it to auto")
_MARKED = (
    "messages.cache",
    *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "video", "file", "tool_call")),
    "tools.tool.cache",
)

_MESSAGES: Mapping[str, Field] = {
    "messages": REQUIRED,
    "messages.role": REQUIRED,
    "messages.role=developer": mapped(),
    "messages.content": sent(),
    "messages.name": left_out("has no names of participants"),
    "messages.tool_call_id": local("a result names its tool, since there are no ids"),
    "messages.is_error": left_out("learns of it by the result's text only"),
    **dict.fromkeys(_MARKED, _NO_MARKS),
    "messages.content.text.text": sent(),
    "messages.content.text.citations": local("the sources of an answer; nothing is asked by them"),
    "messages.content.text.signature": left_out("takes no signature of a text back"),
    "messages.content.image.signature": left_out("takes no signature of an image back"),
    "messages.content.image.provider": local(_ORIGIN),
    "messages.content.image.issuer": local(_ORIGIN),
    "messages.content.text.provider": local(_ORIGIN),
    "messages.content.text.issuer": local(_ORIGIN),
    "messages.content.image.url": in_some_places(refused("takes no images by url; give data with media_type")),
    "messages.content.image.data": sent(),
    "messages.content.image.media_type": local("the server reads it off the image"),
    "messages.content.image.file_id": in_some_places(refused("takes no images by file_id; give data with media_type")),
    "messages.content.image.detail": left_out_saying(
        "{place}: an image's detail was left out: {provider} has no such option", neutral=("auto",)
    ),
    "messages.content.audio.data": _NO_SOUND,
    "messages.content.audio.format": _NO_SOUND,
    "messages.content.audio.id": _NO_SOUND,
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("an answer tells until when its id is known"),
    **{
        f"messages.content.video.{name}": in_some_places(refused("takes no videos; send pictures of it"))
        for name in ("url", "data", "media_type", "file_id")
    },
    "messages.content.file.url": _NO_FILES,
    "messages.content.file.data": _NO_FILES,
    "messages.content.file.text": emulated("{place}: a document given as text was sent as text"),
    "messages.content.file.file_id": _NO_FILES,
    "messages.content.file.media_type": local("says how data is to be read, which is refused"),
    "messages.content.file.filename": in_some_places(left_out()),
    "messages.content.file.context": emulated("{place}: a file's context was sent as a text before it"),
    "messages.content.file.citations": left_out_saying(
        "{place}: citations of a file were not asked for: {provider} has none", neutral=(False,)
    ),
    "messages.content.reasoning.text": mapped("{place}: reasoning of another provider was left out"),
    "messages.content.reasoning.signature": in_some_places(left_out("takes no signature of reasoning back")),
    "messages.content.reasoning.redacted": in_some_places(left_out("takes no redacted reasoning back")),
    "messages.content.reasoning.provider": local(_ORIGIN),
    "messages.content.reasoning.issuer": local(_ORIGIN),
    "messages.content.refusal.refusal": emulated("{place}: a refusal was sent as text"),
    "messages.content.tool_call.id": local("a result names its tool, since there are no ids"),
    "messages.content.tool_call.name": sent(),
    "messages.content.tool_call.arguments": mapped(),
    "messages.content.tool_call.kind": sent(),
    "messages.content.tool_call.kind=custom": in_some_places(refused(_NO_FREE_TEXT)),
    "messages.content.tool_call.signature": left_out("takes no signature of a tool call back"),
    "messages.content.tool_call.provider": local(_ORIGIN),
    "messages.content.tool_call.issuer": local(_ORIGIN),
    "messages.content.opaque.provider": local(_ORIGIN),
    "messages.content.opaque.kind": local("the block itself says its kind"),
    "messages.content.opaque.data": in_some_places(left_out_saying("{field} was left out")),
    "messages.content.opaque.issuer": local(_ORIGIN),
}

_TOOLS: Mapping[str, Field] = {
    "tools": sent(),
    "tools.tool.name": sent(),
    "tools.tool.description": sent(),
    "tools.tool.parameters": sent(),
    "tools.tool.strict": left_out("does not enforce a tool's parameters", neutral=(False,)),
    "tools.tool.kind": sent(),
    "tools.tool.kind=custom": refused(_NO_FREE_TEXT),
    "tools.tool.format": left_out("has no tools that take free text"),
    "tools.provider.definition": sent(),
    "tools.provider.provider": local("says whose words the definition is in"),
    "tool_choice": sent(),
    "tool_choice.mode": sent(),
    "tool_choice.mode=none": emulated("the tools were left out: {provider} cannot be told to call none"),
    "tool_choice.mode=required": _NO_CHOICE,
    "tool_choice.mode=tool": _NO_CHOICE,
    "tool_choice.name": mapped("{field} was left out: only the mode tool has one"),
    "tool_choice.allowed": emulated(
        "the tools that tool_choice rules out were left out of the request: {provider} cannot choose among them by name"
    ),
    "parallel_tool_calls": left_out(neutral=(True,)),
    "web_search": refused("cannot search the web in a chat; leave out web_search"),
}

_OUTPUT: Mapping[str, Field] = {
    **{name: mapped() for name in OPTIONS},
    "n": _ONE_ANSWER,
    "logprobs": sent("logprobs"),
    "top_logprobs": mapped("{field} was left out: logprobs is false", name="top_logprobs"),
    "modalities": _TEXT_ONLY,
    "audio": _TEXT_ONLY,
    **dict.fromkeys(
        ("logit_bias", "user", "safety_identifier", "metadata", "store", "service_tier", "verbosity", "prediction"),
        left_out(),
    ),
    "prompt_cache_key": left_out(),
    "prompt_cache_retention": left_out("has no such option; its own is keep_alive, in extra"),
    "response_format": sent(),
    "response_format.type": sent(),
    "response_format.name": local("a label; its formats have none"),
    "response_format.schema": mapped("{field} was left out: only the type json_schema has it"),
    "response_format.description": left_out_saying("{field} was left out: write it into the schema"),
    "response_format.strict": left_out_saying(
        "{field} was left out: {provider}'s formats are always strict", neutral=(True,)
    ),
    "reasoning": sent(),
    "reasoning.effort": mapped("{field} was left out: reasoning.enabled is false"),
    "reasoning.effort=minimal": mapped("reasoning.effort 'minimal' was sent as 'low': {provider}'s scale begins there"),
    "reasoning.effort=xhigh": mapped("reasoning.effort 'xhigh' was sent as 'high', the next of {provider}'s levels"),
    "reasoning.max_tokens": left_out("takes an effort, not a budget"),
    "reasoning.enabled": mapped("{field} was left out: the effort is none"),
    "reasoning.display": left_out(),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": left_out("tells the usage of every stream"),
    "stream_options.include_obfuscation": left_out(),
}

CHAT = FieldTable(ChatRequest, {"model": REQUIRED, "extra": sent(), **_MESSAGES, **_TOOLS, **_OUTPUT})
"""How the fields of a chat are sent."""

COMPLETIONS = FieldTable(
    CompletionRequest,
    {
        "model": REQUIRED,
        "prompt": in_some_places(
            refused("continues one text per request, given as text; send the others by themselves")
        ),
        "extra": sent(),
        "suffix": sent("suffix"),
        **{name: mapped() for name in OPTIONS},
        "n": _ONE_ANSWER,
        "best_of": left_out(neutral=(1,)),
        "echo": refused("does not repeat the prompt; leave out echo", neutral=(False,)),
        "logprobs": mapped(),
        "logit_bias": left_out(),
        "user": left_out(),
    },
)
"""How the fields of a completion are sent."""

EMBEDDINGS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": in_some_places(refused("embeds texts only, and no lists of token numbers; give the texts")),
        "dimensions": sent("dimensions"),
        "images": refused("makes vectors of texts only; leave out images", neutral=([],)),
        "encoding_format": left_out("gives vectors as numbers only", neutral=("float",)),
        "output_dtype": refused("makes vectors of floating-point numbers only", neutral=("float",)),
        "input_type": left_out("makes the same vectors for all purposes"),
        "truncate": mapped(),
        "truncate=start": left_out_saying("truncate 'start' was left out: {provider} cuts inputs at their end"),
        "user": left_out(),
        "extra": sent(),
    },
)
"""How the fields of a request for embeddings are sent."""

_ALL_AT_ONCE = left_out("gives all its models at once")

MODELS = FieldTable(
    ModelsRequest, {"model": local("the question is put to the provider"), "limit": _ALL_AT_ONCE, "after": _ALL_AT_ONCE}
)
"""How the fields of a request for models are sent."""


def options_of(request: ChatRequest | CompletionRequest) -> dict[str, Any]:
    """Return the `options` of a body."""
    named = ((wire, getattr(request, name)) for name, wire in OPTIONS.items())
    return {wire: value for wire, value in named if value is not None}
