"""How each field of a request is sent to Gemini: https://ai.google.dev/api/generate-content."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.operations.models import ModelsRequest
from bifrost.operations.token_count import TokenCountRequest
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

_ORIGIN = "says who made a part of an answer, and so where it may go"
_NO_FREE_TEXT = "has no tools that take free text; give them JSON parameters"
_OF_A_SCHEMA = "{field} was left out: only the type json_schema has it"
_CACHES = "takes no marks; it caches by itself, and extra names a cache: cachedContent"
_NO_MARK = left_out_saying("cache marks were left out: {provider} " + _CACHES)
_SPARE_CHOICE = "{field} was left out: {value}"

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
    "messages.name": in_some_places(left_out("has no names of participants")),
    "messages.tool_call_id": mapped("{field} was left out: only the result of a tool has one"),
    "messages.is_error": mapped("{field} was left out: only the result of a tool has it"),
    **dict.fromkeys(_MARKED, _NO_MARK),
    "messages.content.text.text": sent(),
    "messages.content.text.citations": local("the sources of an answer; nothing is asked by them"),
    "messages.content.text.signature": mapped("{place}: the signature of another provider's text was left out"),
    "messages.content.text.provider": local(_ORIGIN),
    "messages.content.text.issuer": local(_ORIGIN),
    "messages.content.image.url": mapped(),
    "messages.content.image.data": sent(),
    "messages.content.image.media_type": sent(),
    "messages.content.image.file_id": mapped(),
    "messages.content.image.detail": mapped(
        "{place}: an image's detail was left out: this model has no resolution of a single image", neutral=("auto",)
    ),
    "messages.content.image.signature": mapped("{place}: the signature of another provider's image was left out"),
    "messages.content.image.provider": local(_ORIGIN),
    "messages.content.image.issuer": local(_ORIGIN),
    "messages.content.audio.data": sent(),
    "messages.content.audio.format": mapped(),
    "messages.content.audio.id": in_some_places(refused("takes no sound by id; give its data, or its transcript")),
    "messages.content.audio.transcript": emulated("{place}: sound was left out, its transcript sent"),
    "messages.content.audio.expires_at": local("an answer tells until when its id is known"),
    "messages.content.video.url": mapped(),
    "messages.content.video.data": sent(),
    "messages.content.video.media_type": sent(),
    "messages.content.video.file_id": mapped(),
    "messages.content.file.url": mapped(),
    "messages.content.file.data": sent(),
    "messages.content.file.text": emulated("{place}: a document given as text was sent as a text part"),
    "messages.content.file.file_id": mapped(),
    "messages.content.file.media_type": sent(),
    "messages.content.file.filename": left_out("takes no name of a file"),
    "messages.content.file.context": emulated("{place}: a file's context was sent as a text before it"),
    "messages.content.file.citations": left_out_saying(
        "{place}: citations of a file were not asked for: {provider} has none", neutral=(False,)
    ),
    "messages.content.reasoning.text": mapped("{place}: reasoning of another provider was left out"),
    "messages.content.reasoning.signature": sent(),
    "messages.content.reasoning.redacted": in_some_places(left_out("takes no redacted reasoning back")),
    "messages.content.reasoning.provider": local(_ORIGIN),
    "messages.content.reasoning.issuer": local(_ORIGIN),
    "messages.content.refusal.refusal": mapped(),
    "messages.content.tool_call.id": sent(),
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
    "tools.tool.strict": mapped("{field} was left out: {value}", neutral=(False,)),
    "tools.tool.kind": sent(),
    "tools.tool.kind=custom": refused(_NO_FREE_TEXT),
    "tools.tool.format": left_out("has no tools that take free text"),
    "tools.provider.definition": sent(),
    "tools.provider.provider": local("says whose words the definition is in"),
    "tool_choice": sent(),
    "tool_choice.mode": mapped("{field} was left out: there are no tools to choose among"),
    "tool_choice.name": mapped("{field} was left out: only the mode tool has one"),
    "tool_choice.allowed": mapped(_SPARE_CHOICE),
    "parallel_tool_calls": left_out("decides itself how many tools it calls at once", neutral=(True,)),
    "web_search": mapped(),
    "web_search.context_size": left_out(),
    "web_search.user_location": left_out("takes coordinates; give extra: toolConfig.retrievalConfig.latLng"),
    "web_search.allowed_domains": refused("cannot keep a web search to some domains; leave out allowed_domains"),
    "web_search.blocked_domains": refused(
        "cannot keep a web search from some domains; leave out blocked_domains, or use vertex"
    ),
    "web_search.max_uses": left_out(),
}

_OPTIONS: Mapping[str, Field] = {
    "temperature": mapped(name="temperature"),
    "top_p": mapped(name="topP"),
    "top_k": mapped(name="topK"),
    "max_tokens": mapped(name="maxOutputTokens"),
    "stop": mapped(name="stopSequences"),
    "n": mapped(name="candidateCount"),
    "logprobs": mapped(name="responseLogprobs"),
    "top_logprobs": mapped("{field} was left out: logprobs is false", name="logprobs"),
    "seed": mapped(name="seed"),
    "presence_penalty": mapped(name="presencePenalty"),
    "frequency_penalty": mapped(name="frequencyPenalty"),
    "modalities": mapped(),
    "audio": mapped(),
    "audio.voice": mapped(),
    "audio.format": left_out("chooses the format of its sound itself"),
    "logit_bias": left_out(),
    "user": left_out(),
    "safety_identifier": left_out(),
    "metadata": left_out("has no labels; vertex has them"),
    "store": left_out(),
    "service_tier": mapped(
        "{field} {value} was left out: {provider} knows standard, flex, priority", neutral=("auto",)
    ),
    "verbosity": left_out(),
    "prompt_cache_key": left_out("has no such option; it caches by itself"),
    "prompt_cache_retention": left_out("has no such option; give extra the name of a cache: cachedContent"),
    "prediction": left_out(),
    "response_format": sent(),
    "response_format.type": sent(),
    "response_format.name": local("a label; its formats have none"),
    "response_format.schema": mapped(_OF_A_SCHEMA),
    "response_format.description": in_some_places(left_out_saying("{field} was left out: write it into the schema")),
    "response_format.strict": left_out_saying(
        "{field} was left out: {provider}'s formats are always strict", neutral=(True,)
    ),
    "reasoning": sent(),
    "reasoning.effort": mapped("{field} {value}"),
    "reasoning.max_tokens": mapped("{field} was left out: {value}"),
    "reasoning.enabled": mapped("{field} was left out: {value}"),
    "reasoning.display": mapped("{field} was left out: {value}"),
    "stream_options": OF_STREAMS,
    "stream_options.include_usage": left_out("tells the usage of every stream"),
    "stream_options.include_obfuscation": left_out(),
}

CHAT = FieldTable(ChatRequest, {"model": REQUIRED, "extra": sent(), **_MESSAGES, **_TOOLS, **_OPTIONS})
"""How the fields of a chat are sent to the Gemini API."""

COUNT_TOKENS = CHAT.narrowed(TokenCountRequest)
"""How the fields of a request for a number of tokens are sent: as those of the chat."""

VERTEX_CHAT = FieldTable(
    ChatRequest,
    {
        **CHAT.fields,
        "metadata": mapped(),
        "web_search.blocked_domains": mapped(),
    },
)
"""How the fields of a chat are sent to Vertex AI."""

EMBEDDINGS = FieldTable(
    EmbeddingRequest,
    {
        "model": REQUIRED,
        "input": REQUIRED,
        "images": mapped(),
        "dimensions": mapped(),
        "output_dtype": refused("makes vectors of floating-point numbers only", neutral=("float",)),
        "input_type": mapped(),
        "truncate": left_out("cuts inputs that are too long at their end", neutral=("end",)),
        "encoding_format": left_out("gives vectors as numbers only", neutral=("float",)),
        "user": left_out(),
        "extra": sent(),
    },
)
"""How the fields of a request for embeddings are sent."""

MODELS = FieldTable(
    ModelsRequest, {"model": local("the question is put to the provider"), "limit": mapped(), "after": mapped()}
)
"""How the fields of a request for models are sent."""
