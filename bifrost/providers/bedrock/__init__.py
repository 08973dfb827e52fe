"""Amazon Bedrock: Converse and InvokeModel, and the provider."""

from __future__ import annotations

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.chat.structured.strict_schema import ANTHROPIC_RULES
from bifrost.operations.embeddings import EMBEDDINGS as EMBEDDINGS_OPERATION
from bifrost.operations.embeddings import EmbeddingRequest, EmbeddingResponse
from bifrost.operations.rerank import RERANK as RERANK_OPERATION
from bifrost.operations.rerank import RerankRequest, RerankResponse, check_rerank
from bifrost.operations.token_count import COUNT_TOKENS as COUNT_TOKENS_OPERATION
from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.bedrock import fields
from bifrost.providers.bedrock.answer import parse_converse
from bifrost.providers.bedrock.auth import BedrockAuth
from bifrost.providers.bedrock.converse import build_converse
from bifrost.providers.bedrock.embeddings import build_embeddings, parse_embeddings
from bifrost.providers.bedrock.errors import parse_error
from bifrost.providers.bedrock.families import has_native_output
from bifrost.providers.bedrock.rerank import build_rerank, parse_rerank
from bifrost.providers.bedrock.settings import BedrockSettings, address_of
from bifrost.providers.bedrock.stream import ConverseDecoder
from bifrost.providers.bedrock.token_count import build_count, parse_count
from bifrost.providers.openai.embeddings import check_embeddings
from bifrost.wire.framing.aws_event_stream import EventStreamParser

__all__ = ["BEDROCK", "CHAT", "COUNT_TOKENS", "EMBEDDINGS", "RERANK", "BedrockSettings"]

CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_converse,
    parse=parse_converse,
    decoder=ConverseDecoder,
    framer=EventStreamParser,
    fields=fields.CHAT,
)

EMBEDDINGS = Codec[EmbeddingRequest, EmbeddingResponse](
    operation=EMBEDDINGS_OPERATION,
    build=build_embeddings,
    parse=parse_embeddings,
    check=check_embeddings,
    fields=fields.EMBEDDINGS,
)

RERANK = Codec[RerankRequest, RerankResponse](
    operation=RERANK_OPERATION, build=build_rerank, parse=parse_rerank, check=check_rerank, fields=fields.RERANK
)

COUNT_TOKENS = Codec[TokenCountRequest, TokenCountResponse](
    operation=COUNT_TOKENS_OPERATION, build=build_count, parse=parse_count, fields=fields.COUNT_TOKENS
)

BEDROCK = Provider(
    name="bedrock",
    base_url="",
    codecs={"chat": CHAT, "embeddings": EMBEDDINGS, "rerank": RERANK, "count_tokens": COUNT_TOKENS},
    parse_error=parse_error,
    auth=BedrockAuth(),
    key_variables=("AWS_BEARER_TOKEN_BEDROCK",),
    joined_key_variables=("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    base_url_variable="AWS_ENDPOINT_URL_BEDROCK_RUNTIME",
    key_settings=BedrockSettings,
    settings_variables={"region": ("AWS_REGION", "AWS_DEFAULT_REGION")},
    address_of=address_of,
    request_id_headers=("x-amzn-requestid",),
    # Signatures are valid in all regions, but not for another model.
    issuer_members=("provider", "model"),
    structured=("native_closed", "tool", "prompt"),
    native_output_of=has_native_output,
    # https://docs.aws.amazon.com/bedrock/latest/userguide/structured-output.html
    schema_rules=ANTHROPIC_RULES,
    docs="https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html",
)
"""It has no address of its own: the region in the settings of each key names it."""
