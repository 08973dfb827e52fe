"""Anthropic's Messages format, and the provider."""

from __future__ import annotations

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.strict_schema import ANTHROPIC_RULES
from bifrost.operations.models import MODELS as MODELS_OPERATION
from bifrost.operations.models import ModelsRequest, ModelsResponse
from bifrost.operations.token_count import COUNT_TOKENS as COUNT_TOKENS_OPERATION
from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse
from bifrost.providers.anthropic import fields
from bifrost.providers.anthropic.answer import is_whole, parse_message
from bifrost.providers.anthropic.errors import parse_error
from bifrost.providers.anthropic.messages import DEFAULT_MAX_TOKENS, build_messages
from bifrost.providers.anthropic.models import build_models, parse_models
from bifrost.providers.anthropic.stream import MessagesDecoder
from bifrost.providers.anthropic.token_count import build_count, parse_count
from bifrost.providers.base import Codec, Provider
from bifrost.wire.auth import HeaderAuth

__all__ = ["ANTHROPIC", "CHAT", "COUNT_TOKENS", "DEFAULT_MAX_TOKENS", "MODELS"]

CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_messages,
    parse=parse_message,
    decoder=MessagesDecoder,
    is_whole=is_whole,
    fields=fields.CHAT,
)

MODELS = Codec[ModelsRequest, ModelsResponse](
    operation=MODELS_OPERATION, build=build_models, parse=parse_models, fields=fields.MODELS
)

COUNT_TOKENS = Codec[TokenCountRequest, TokenCountResponse](
    operation=COUNT_TOKENS_OPERATION, build=build_count, parse=parse_count, fields=fields.COUNT_TOKENS
)

ANTHROPIC = Provider(
    name="anthropic",
    base_url="https://api.anthropic.com",
    codecs={"chat": CHAT, "models": MODELS, "count_tokens": COUNT_TOKENS},
    parse_error=parse_error,
    auth=HeaderAuth(header="x-api-key"),
    key_variables=("ANTHROPIC_API_KEY",),
    base_url_variable="ANTHROPIC_BASE_URL",
    other_base_url_variables=("ANTHROPIC_API_BASE",),
    # 2026-10-21 refuses temperature, top_p and top_k, which the older models still take:
    # https://platform.claude.com/docs/en/api/versioning
    headers={"anthropic-version": "2023-06-01"},
    request_id_headers=("request-id",),
    # https://platform.claude.com/docs/en/build-with-claude/structured-outputs#json-schema-limitations
    structured=("native_closed", "tool", "prompt"),
    schema_rules=ANTHROPIC_RULES,
    docs="https://platform.claude.com/docs/en/api/messages",
)
