"""Vertex AI: Gemini and Claude on Google Cloud, and the provider."""

from __future__ import annotations

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.strict_schema import GEMINI_RULES
from bifrost.operations.embeddings import EMBEDDINGS as EMBEDDINGS_OPERATION
from bifrost.operations.embeddings import EmbeddingRequest, EmbeddingResponse
from bifrost.operations.token_count import COUNT_TOKENS as COUNT_TOKENS_OPERATION
from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.gemini.embeddings import check_embeddings
from bifrost.providers.vertex import fields
from bifrost.providers.vertex.chat import build_chat, decoder_of, is_claude, is_whole, parse_chat
from bifrost.providers.vertex.embeddings import build_embeddings, parse_embeddings
from bifrost.providers.vertex.errors import parse_error
from bifrost.providers.vertex.settings import GLOBAL_ADDRESS, VertexSettings, address_of
from bifrost.providers.vertex.token_count import build_count, parse_count
from bifrost.wire.auth import BEARER, HeaderAuth

__all__ = ["CHAT", "COUNT_TOKENS", "EMBEDDINGS", "VERTEX", "VertexSettings"]

CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_chat,
    parse=parse_chat,
    decoder=decoder_of,
    is_whole=is_whole,
    fields=fields.CHAT,
)

EMBEDDINGS = Codec[EmbeddingRequest, EmbeddingResponse](
    operation=EMBEDDINGS_OPERATION,
    build=build_embeddings,
    parse=parse_embeddings,
    check=check_embeddings,
    fields=fields.EMBEDDINGS,
)

COUNT_TOKENS = Codec[TokenCountRequest, TokenCountResponse](
    operation=COUNT_TOKENS_OPERATION, build=build_count, parse=parse_count, fields=fields.COUNT_TOKENS
)


def _has_native_output(model: str) -> bool:
    return not is_claude(model)


VERTEX = Provider(
    name="vertex",
    base_url=GLOBAL_ADDRESS,
    codecs={"chat": CHAT, "embeddings": EMBEDDINGS, "count_tokens": COUNT_TOKENS},
    parse_error=parse_error,
    auth=HeaderAuth(header="x-goog-api-key"),
    token_auth=BEARER,
    key_variables=("VERTEX_API_KEY",),
    base_url_variable="GOOGLE_VERTEX_BASE_URL",
    key_settings=VertexSettings,
    settings_variables={
        "project": ("GOOGLE_CLOUD_PROJECT",),
        "region": ("GOOGLE_CLOUD_LOCATION", "GOOGLE_CLOUD_REGION"),
    },
    address_of=address_of,
    # Signatures are valid in all regions, but Gemini and Claude do not read each other's.
    issuer_members=("provider", "model"),
    structured=("native", "tool", "prompt"),
    native_output_of=_has_native_output,
    schema_rules=GEMINI_RULES,
    docs="https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference",
)
"""A key without a project is an API key of the express mode."""
