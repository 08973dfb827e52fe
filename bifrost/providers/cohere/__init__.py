"""Cohere's API, and the provider."""

from __future__ import annotations

from bifrost.operations.chat.operation import CHAT as CHAT_OPERATION
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.base import Codec, Provider
from bifrost.providers.cohere import embeddings, fields, models, rerank
from bifrost.providers.cohere.answer import parse_chat
from bifrost.providers.cohere.errors import parse_error
from bifrost.providers.cohere.messages import build_chat
from bifrost.providers.cohere.stream import ChatDecoder, StreamFramer

__all__ = ["CHAT", "COHERE"]

CHAT = Codec[ChatRequest, ChatResponse](
    operation=CHAT_OPERATION,
    build=build_chat,
    parse=parse_chat,
    decoder=ChatDecoder,
    framer=StreamFramer,
    fields=fields.CHAT,
)

COHERE = Provider(
    name="cohere",
    base_url="https://api.cohere.com",
    codecs={"chat": CHAT, "embeddings": embeddings.CODEC, "rerank": rerank.CODEC, "models": models.CODEC},
    parse_error=parse_error,
    key_variables=("COHERE_API_KEY",),
    # The names of Cohere's own SDK.
    other_key_variables=("CO_API_KEY",),
    base_url_variable="COHERE_BASE_URL",
    other_base_url_variables=("CO_API_URL",),
    # A schema not beside documents, and without tools: https://docs.cohere.com/docs/structured-outputs
    structured=("native", "tool", "json_object", "prompt"),
    docs="https://docs.cohere.com/reference/about",
)
