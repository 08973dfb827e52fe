"""How each field of a request is sent to Bedrock.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.rerank import RerankRequest
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
    narrowed,
    refused,
    sent,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

SPEAKER = "Bedrock"
"""The name of the provider in warnings and errors."""

_ORIGIN = "says who made a part of an answer, and so where it may go"
_ONE_ANSWER = refused("gives one answer per request, so n must be 1; send the request several times", neutral=(1,))
_NO_LOGPROBS = refused("gives no log probabilities; leave out logprobs and top_logprobs", neutral=(False,))
_TEXT_ONLY = refused("answers in text only; leave out audio and modalities", neutral=(["text"],))
_NO_FREE_TEXT = "has no tools that take free text; give them JSON parameters"
_NO_FILES = in_some_places(refused("has no uploaded files; give the data, or a url that begins with s3://"))
_NO_SEARCH = refused(
    "has no common option for a web search; give a model of Nova its tool, "
    'ProviderTool(definition={"systemTool": {"name": "nova_grounding"}})'
)
_OF_A_SCHEMA = "{field} was left out: only the type json_schema has it"
_BY_OPTIONS = "has no such option; mark what to cache with `cache=CacheMark()`"
_BY_LIFETIMES = "has no such option; mark what to cache with `cache=CacheMark(ttl=...)`"
_BY_FAMILY = "{field} was left out: {value}"

_MARKED = (
    "messages.cache",
    *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "video", "file", "tool_call")),
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
    **{path: mapped() for path in _MARKED},
    **{f"{path}.ttl": sent() for path in _MARKED},
    "messages.content.text.text": sent(),
    "messages.content.text.citations": mapped("{place}: citations that are not Bedrock's were left out"),
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
    "messages.content.image.media_type": mapped(),
    "messages.content.image.file_id": _NO_FILES,
    "messages.content.image.detail": left_out_saying(
        "{place}: an image's detail was left out: {provider} has no such option", neutral=("auto",)
    ),
    "messages.content.audio.data": sent(),
    "messages.content.audio.format": sent(),
    "messages.content.audio.id": in_some_places(refused("keeps no sound of its answers; give its data or transcript")),
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("an answer tells until when its id is known"),
    "messages.content.video.url": mapped(),
    "messages.content.video.data": sent(),
    "messages.content.video.media_type": mapped(),
    "messages.content.video.file_id": _NO_FILES,
    "messages.content.file.url": mapped(),
    "messages.content.file.data": sent(),
    "messages.content.file.text": sent(),
    "messages.content.file.file_id": _NO_FILES,
    "messages.content.file.media_type": mapped(),
    "messages.content.file.filename": mapped(),
    "messages.content.file.context": sent(),
    "messages.content.file.citations": sent(),
    "messages.content.reasoning.text": mapped("{place}: reasoning of another provider or model was left out"),
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
    "messages.content.tool_call.signature": left_out_saying("{place}: the signature of a tool call was left out"),
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
    "tool_choice.mode=none": emulated(
        "tool_choice.mode 'none': the tools were left out of the request, {provider} cannot forbid them"
    ),
    "tool_choice.name": mapped("{field} was left out: only the mode tool has one"),
    "tool_choice.allowed": emulated(
        "tool_choice.allowed: the other tools were left out of the request, {provider} cannot mask them"
    ),
    "parallel_tool_calls": left_out(neutral=(True,)),
    "web_search": _NO_SEARCH,
}

_OPTIONS: Mapping[str, Field] = {
    "temperature": mapped("{field} {value} was sent as 1: {provider}'s range ends there"),
    "top_p": mapped(_BY_FAMILY),
    "top_k": mapped(_BY_FAMILY),
    "max_tokens": mapped(),
    "stop": mapped(),
    "n": _ONE_ANSWER,
    "logprobs": _NO_LOGPROBS,
    "top_logprobs": _NO_LOGPROBS,
    "modalities": _TEXT_ONLY,
    "audio": _TEXT_ONLY,
    "presence_penalty": left_out(),
    "frequency_penalty": left_out(),
    "seed": left_out(),
    "logit_bias": left_out(),
    "user": left_out("has no such option; `metadata` is sent as requestMetadata"),
    "safety_identifier": left_out("has no such option; `metadata` is sent as requestMetadata"),
    "metadata": mapped(),
    "store": left_out(),
    "service_tier": mapped("{field} {value} was left out: {provider} knows default, flex, priority, reserved"),
    "verbosity": left_out(),
    "prompt_cache_key": left_out(_BY_OPTIONS),
    "prompt_cache_retention": left_out(_BY_LIFETIMES),
    "prediction": left_out(),
    "response_format": sent(),
    "response_format.type": sent(),
    "response_format.type=json_object": refused(
        'has no "any JSON object" mode; give a schema with response_format type "json_schema"'
    ),
    "response_format.name": mapped(_OF_A_SCHEMA),
    "response_format.schema": mapped(_OF_A_SCHEMA),
    "response_format.description": mapped(_OF_A_SCHEMA),
    "response_format.strict": left_out_saying(
        "{field} was left out: {provider}'s formats are always strict", neutral=(True,)
    ),
    "reasoning": sent(),
    "reasoning.effort": mapped(_BY_FAMILY),
    "reasoning.max_tokens": mapped(_BY_FAMILY),
    "reasoning.enabled": mapped(_BY_FAMILY),
    "reasoning.display": mapped(_BY_FAMILY),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": left_out("tells the usage of every stream"),
    "stream_options.include_obfuscation": left_out(),
}

CHAT = FieldTable(
    ChatRequest,
    {"model": REQUIRED, "extra": sent(), **_MESSAGES, **_TOOLS, **_OPTIONS},
    speaker=SPEAKER,
)
"""How the fields of a chat are sent to Bedrock."""

_COUNTED = narrowed(CHAT.fields, TokenCountRequest)

COUNT_TOKENS = FieldTable(
    TokenCountRequest,
    {
        **{path: field for path, field in _COUNTED.items() if not path.startswith("response_format")},
        "response_format": left_out("does not count the tokens of a format"),
    },
    speaker=SPEAKER,
)
"""How the fields of a request for a number of tokens are sent: as those of the chat, without the format."""

EMBEDDINGS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": in_some_places(refused("takes texts to embed, not token numbers; give the texts")),
        "images": in_some_places(refused("embeds no images with this model; choose a multimodal one")),
        "dimensions": sent(),
        "encoding_format": left_out("sends numbers", neutral=("float",)),
        "output_dtype": in_some_places(refused("has no vectors of this type with this model; leave out output_dtype")),
        "input_type": mapped("{field} was left out: this model makes the same vectors for all purposes"),
        "truncate": mapped("{field} was left out: this model has no such option"),
        "user": left_out(),
        "extra": sent(),
    },
    speaker=SPEAKER,
)
"""How the fields of a request for embeddings are sent."""

RERANK = FieldTable(
    RerankRequest,
    {
        "model": REQUIRED,
        "query": REQUIRED,
        "documents": REQUIRED,
        "top_n": sent(),
        "max_tokens_per_doc": left_out(),
        "return_documents": local("the documents are taken from the request"),
        "extra": sent(),
    },
    speaker=SPEAKER,
)
"""How the fields of a request to rerank documents are sent."""


def warning_of(path: str, *, place: str = "", value: object = "") -> str:
    """Return the warning for a field of a chat that is omitted here, or sent in another form."""
    return CHAT[path].warning(label_of(path, place), SPEAKER, place=place, value=value)
