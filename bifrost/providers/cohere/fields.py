"""How each field of a request is sent to Cohere: https://docs.cohere.com/reference/chat."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelsRequest
from bifrost.operations.rerank import RerankRequest
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

SPEAKER = "Cohere"
"""The name of the provider in warnings and errors."""

_ORIGIN = "says who made a part of an answer, and so where it may go"
_NO_SOUND = in_some_places(refused("takes no sound; send its text"))
_NO_VIDEO = in_some_places(refused("takes no videos; describe the video, or send pictures of it"))
_NO_MARKS = left_out_saying("cache marks were left out: {provider} takes none")
_NO_FREE_TEXT = "has no tools that take free text; give them JSON parameters"
_TEXT_ONLY = refused("answers in text only; leave out audio and modalities", neutral=(["text"],))
_RULED_OUT = emulated(
    "the tools that tool_choice rules out were left out of the request: {provider} cannot choose among them by name"
)
_AS_TEXT = "reads documents as text only; extract the text, and give it as text"

_MARKED = (
    "messages.cache",
    *(f"messages.content.{part}.cache" for part in ("text", "image", "audio", "file", "tool_call")),
    "tools.tool.cache",
)

_MESSAGES: Mapping[str, Field] = {
    "messages": REQUIRED,
    "messages.role": REQUIRED,
    "messages.role=developer": mapped(),
    "messages.content": sent(),
    "messages.name": left_out("has no names of participants"),
    "messages.tool_call_id": mapped("{field} was left out: only the result of a tool has one"),
    "messages.is_error": left_out("learns of it by the result's text only"),
    **dict.fromkeys(_MARKED, _NO_MARKS),
    "messages.content.text.text": sent(),
    "messages.content.text.citations": mapped("{place}: citations that are not of an answer of Cohere's were left out"),
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
    **{
        f"messages.content.video{field}": _NO_VIDEO
        for field in ("", ".url", ".data", ".media_type", ".file_id", ".cache", ".cache.ttl")
    },
    "messages.content.image.url": sent(),
    "messages.content.image.data": mapped(),
    "messages.content.image.media_type": mapped(),
    "messages.content.image.file_id": in_some_places(
        refused("takes no image by file_id in a chat; give its url or data")
    ),
    "messages.content.image.detail": sent(),
    "messages.content.audio.data": _NO_SOUND,
    "messages.content.audio.format": _NO_SOUND,
    "messages.content.audio.id": _NO_SOUND,
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("an answer tells until when its id is known"),
    "messages.content.file.url": in_some_places(refused(_AS_TEXT)),
    "messages.content.file.data": in_some_places(refused(_AS_TEXT)),
    "messages.content.file.text": mapped(),
    "messages.content.file.file_id": in_some_places(refused(_AS_TEXT)),
    "messages.content.file.media_type": mapped("{field} was left out: a document that is given as text needs none"),
    "messages.content.file.filename": mapped(),
    "messages.content.file.context": mapped(),
    "messages.content.file.citations": mapped(
        "{place}: {provider} cites all documents or none, and others are to be cited", neutral=(True,)
    ),
    "messages.content.reasoning.text": mapped("{place}: reasoning of another provider was left out"),
    "messages.content.reasoning.signature": mapped("{place}: the signature of reasoning was left out"),
    "messages.content.reasoning.redacted": in_some_places(left_out("takes no redacted reasoning back")),
    "messages.content.reasoning.provider": local(_ORIGIN),
    "messages.content.reasoning.issuer": local(_ORIGIN),
    "messages.content.refusal.refusal": emulated("{place}: a refusal was sent as text"),
    "messages.content.tool_call.id": sent(),
    "messages.content.tool_call.name": sent(),
    "messages.content.tool_call.arguments": mapped(),
    "messages.content.tool_call.kind": sent(),
    "messages.content.tool_call.kind=custom": refused(_NO_FREE_TEXT),
    "messages.content.tool_call.signature": left_out("takes no signature of a tool call back"),
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
    "tools.tool.strict": mapped(
        "{field} was left out: {provider} has one setting for all tools, and another tool's differs"
    ),
    "tools.tool.kind": sent(),
    "tools.tool.kind=custom": refused(_NO_FREE_TEXT),
    "tools.tool.format": left_out("has no tools that take free text"),
    "tools.provider.definition": sent(),
    "tools.provider.provider": local("says whose words the definition is in"),
    "tool_choice": sent(),
    "tool_choice.mode": mapped("{field} was left out: there are no tools to choose among"),
    "tool_choice.name": _RULED_OUT,
    "tool_choice.allowed": _RULED_OUT,
    "parallel_tool_calls": left_out(),
    "web_search": refused("cannot search the web in a chat; leave out web_search"),
}

_OPTIONS: Mapping[str, Field] = {
    "temperature": mapped("{field} {value} was sent as 1: {provider}'s range ends there"),
    "top_p": mapped("{field} {value} was sent as {place}: {provider}'s range ends there"),
    "top_k": mapped("{field} {value} was sent as 500: {provider}'s range ends there"),
    "max_tokens": sent("max_tokens"),
    "stop": mapped(name="stop_sequences"),
    "presence_penalty": sent("presence_penalty"),
    "frequency_penalty": sent("frequency_penalty"),
    "seed": sent("seed"),
    "logprobs": sent("logprobs"),
    "top_logprobs": left_out("gives the log probabilities of the tokens of the response only", neutral=(0,)),
    "n": refused("gives one answer per request, so n must be 1; send the request several times", neutral=(1,)),
    "modalities": _TEXT_ONLY,
    "audio": _TEXT_ONLY,
    **{
        name: left_out()
        for name in (
            "logit_bias",
            "user",
            "safety_identifier",
            "metadata",
            "store",
            "service_tier",
            "verbosity",
            "prompt_cache_key",
            "prompt_cache_retention",
            "prediction",
        )
    },
    "response_format": sent(),
    "response_format.type": sent(),
    "response_format.name": local("a label; its formats have none"),
    "response_format.schema": mapped("{field} was left out: only the type json_schema has it"),
    "response_format.description": left_out_saying("{field} was left out: write it into the schema"),
    "response_format.strict": left_out_saying(
        "{field} was left out: {provider}'s formats are always strict", neutral=(True,)
    ),
    "reasoning": sent(),
    "reasoning.effort": mapped(
        "reasoning.effort {value} was left out, and thinking switched on: {provider} takes a budget in tokens"
    ),
    "reasoning.max_tokens": mapped("{field} was left out: thinking is switched off"),
    "reasoning.enabled": mapped("{field} was left out: the effort is none"),
    "reasoning.display": left_out(),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": left_out("tells the usage of every stream"),
    "stream_options.include_obfuscation": left_out(),
}

CHAT = FieldTable(ChatRequest, {"model": REQUIRED, "extra": sent(), **_MESSAGES, **_TOOLS, **_OPTIONS}, speaker=SPEAKER)
"""How Cohere receives the fields of a chat."""


def warning_of(path: str, *, place: str = "", value: object = "") -> str:
    """Return the warning for a field of a chat that is omitted here, or sent in another form."""
    return CHAT[path].warning(label_of(path, place), SPEAKER, place=place, value=value)


EMBEDDINGS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": in_some_places(refused("takes texts to embed, not token numbers; give the texts")),
        "images": mapped(),
        "dimensions": sent(),
        "encoding_format": mapped("{field} was left out: output_dtype says what is sent", neutral=("float",)),
        "output_dtype": mapped(neutral=("float",)),
        "input_type": mapped(neutral=("document",)),
        "truncate": mapped(),
        "user": left_out(),
        "extra": sent(),
    },
    speaker=SPEAKER,
)
"""How Cohere receives the fields of embeddings."""

MODELS = FieldTable(
    ModelsRequest, {"model": local("the question is put to the provider"), "limit": mapped(), "after": mapped()}
)
"""How Cohere receives the fields of a request for models."""

RERANK = FieldTable(
    RerankRequest,
    {
        "model": REQUIRED,
        "query": REQUIRED,
        "documents": mapped(),
        "top_n": sent("top_n"),
        "max_tokens_per_doc": sent("max_tokens_per_doc"),
        "return_documents": local("bifrost adds the documents of the request to the results"),
        "extra": sent(),
    },
)
"""How Cohere receives the fields of a rerank. It accepts only texts as documents."""
