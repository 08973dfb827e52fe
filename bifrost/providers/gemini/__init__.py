"""Gemini's format, and the provider."""

from __future__ import annotations

import re
from typing import Any

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.strict_schema import GEMINI_RULES
from bifrost.operations.embeddings import EMBEDDINGS as EMBEDDINGS_OPERATION
from bifrost.operations.embeddings import EmbeddingRequest, EmbeddingResponse
from bifrost.operations.models import MODELS as MODELS_OPERATION
from bifrost.operations.models import ModelsRequest, ModelsResponse
from bifrost.operations.token_count import COUNT_TOKENS as COUNT_TOKENS_OPERATION
from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.gemini import fields
from bifrost.providers.gemini.answer import parse_response
from bifrost.providers.gemini.chat import build_chat
from bifrost.providers.gemini.embeddings import build_embeddings, check_embeddings, parse_embeddings
from bifrost.providers.gemini.errors import parse_error
from bifrost.providers.gemini.models import build_models, parse_models
from bifrost.providers.gemini.stream import GeminiDecoder
from bifrost.providers.gemini.token_count import build_count, parse_count
from bifrost.wire.auth import HeaderAuth

__all__ = ["CHAT", "COUNT_TOKENS", "EMBEDDINGS", "GEMINI", "MODELS"]

_VERSION = re.compile(r"/v1(?:beta|alpha)?/*$")
"""The end of an address that is copied from another client. The paths of the requests have it."""

CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_chat,
    parse=parse_response,
    decoder=GeminiDecoder,
    fields=fields.CHAT,
)

EMBEDDINGS = Codec[EmbeddingRequest, EmbeddingResponse](
    operation=EMBEDDINGS_OPERATION,
    build=build_embeddings,
    parse=parse_embeddings,
    check=check_embeddings,
    fields=fields.EMBEDDINGS,
)

MODELS = Codec[ModelsRequest, ModelsResponse](
    operation=MODELS_OPERATION, build=build_models, parse=parse_models, fields=fields.MODELS
)


COUNT_TOKENS = Codec[TokenCountRequest, TokenCountResponse](
    operation=COUNT_TOKENS_OPERATION, build=build_count, parse=parse_count, fields=fields.COUNT_TOKENS
)


def _address(_settings: Any, base_url: str) -> str:
    return _VERSION.sub("", base_url)


GEMINI = Provider(
    name="gemini",
    base_url="https://generativelanguage.googleapis.com",
    codecs={"chat": CHAT, "embeddings": EMBEDDINGS, "models": MODELS, "count_tokens": COUNT_TOKENS},
    parse_error=parse_error,
    auth=HeaderAuth(header="x-goog-api-key"),
    key_variables=("GEMINI_API_KEY",),
    other_key_variables=("GOOGLE_API_KEY",),
    base_url_variable="GOOGLE_GEMINI_BASE_URL",
    other_base_url_variables=("GEMINI_API_BASE",),
    address_of=_address,
    # https://ai.google.dev/gemini-api/docs/structured-output
    structured=("native", "tool", "prompt"),
    schema_rules=GEMINI_RULES,
    docs="https://ai.google.dev/api/generate-content",
)
