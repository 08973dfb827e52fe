"""Ollama's own format, and the providers: a server on the user's machine, and the hosted models."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.ollama import completions, embeddings, fields, models
from bifrost.providers.ollama.answer import ChatDecoder, parse_chat
from bifrost.providers.ollama.chat import build_chat
from bifrost.providers.ollama.errors import parse_error
from bifrost.wire.auth import BEARER, NoAuth
from bifrost.wire.framing.jsonl import JsonLinesParser

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bifrost.operations.base import OperationName

__all__ = ["OLLAMA", "OLLAMA_CLOUD"]

_CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_chat,
    parse=parse_chat,
    decoder=ChatDecoder,
    framer=JsonLinesParser,
    fields=fields.CHAT,
)

_CODECS: Mapping[OperationName, Codec[Any, Any]] = {
    "chat": _CHAT,
    "completions": completions.CODEC,
    "embeddings": embeddings.CODEC,
    "models": models.CODEC,
}


def address_of(_settings: object, address: str) -> str:
    """Return the address without the path of the API, which other clients write with it (`/v1`, `/api`)."""
    for ending in ("/v1", "/api"):
        address = address.rstrip("/").removesuffix(ending)
    return address


_ollama = partial(Provider, parse_error=parse_error, address_of=address_of)

OLLAMA = _ollama(
    name="ollama",
    base_url="http://localhost:11434",
    codecs=_CODECS,
    auth=NoAuth(),
    base_url_variable="OLLAMA_BASE_URL",
    other_base_url_variables=("OLLAMA_API_BASE",),
    structured=("native", "json_object", "prompt"),
    docs="https://docs.ollama.com/api",
)

OLLAMA_CLOUD = _ollama(
    name="ollama-cloud",
    base_url="https://ollama.com",
    codecs={name: _CODECS[name] for name in ("chat", "completions", "models")},
    auth=BEARER,
    key_variables=("OLLAMA_API_KEY",),
    base_url_variable="OLLAMA_CLOUD_BASE_URL",
    # Its models accept a schema but ignore it: https://docs.ollama.com/capabilities/structured-outputs
    structured=("json_object", "prompt"),
    docs="https://docs.ollama.com/cloud",
)
