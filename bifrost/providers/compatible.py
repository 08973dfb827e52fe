"""Providers that speak OpenAI's dialect, a row each."""

from __future__ import annotations

from functools import partial

from bifrost.providers.base import Codec, Provider
from bifrost.providers.openai import (
    ChatDecoder,
    Quirks,
    build_chat,
    build_embeddings,
    build_models,
    parse_chat,
    parse_embeddings,
    parse_error,
    parse_models,
)
from bifrost.schema.chat import ChatRequest, ChatResponse
from bifrost.schema.chunks import chunks_of
from bifrost.schema.embeddings import EmbeddingRequest, EmbeddingResponse
from bifrost.schema.models import ModelsRequest, ModelsResponse

__all__ = ["OPENAI", "Quirks", "speaks_openai"]


def speaks_openai(
    name: str, base_url: str, key_variable: str, quirks: Quirks | None = None, *, docs: str = ""
) -> Provider:
    """Make the row of a provider that speaks OpenAI's dialect.

        speaks_openai("somehost", "https://api.somehost.example/v1", "SOMEHOST_API_KEY", Quirks(...))

    `key_variable` is the environment variable of the key; the address may be changed by `<NAME>_BASE_URL`. `docs` is
    the vendor's reference of the format.
    """
    build = partial(build_chat, quirks=quirks or Quirks())
    return Provider(
        name=name,
        base_url=base_url,
        codecs={
            "chat": Codec[ChatRequest, ChatResponse](
                build=build, parse=parse_chat, decoder=ChatDecoder, as_chunks=chunks_of
            ),
            "embeddings": Codec[EmbeddingRequest, EmbeddingResponse](build=build_embeddings, parse=parse_embeddings),
            "models": Codec[ModelsRequest, ModelsResponse](build=build_models, parse=parse_models),
        },
        parse_error=parse_error,
        key_variables=(key_variable,),
        base_url_variable=f"{name.upper().replace('-', '_')}_BASE_URL",
        docs=docs,
    )


OPENAI = speaks_openai(
    "openai",
    "https://api.openai.com/v1",
    "OPENAI_API_KEY",
    docs="https://platform.openai.com/docs/api-reference/chat",
)
