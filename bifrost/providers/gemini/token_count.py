"""Gemini's token counting: https://ai.google.dev/api/tokens#method:-models.counttokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.token_count import TokenCountResponse
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.chat import built, chat_body, model_path
from bifrost.providers.gemini.errors import reported_error
from bifrost.providers.gemini.fields import CHAT, COUNT_TOKENS
from bifrost.providers.gemini.usage import ModalityCount
from bifrost.wire import json

if TYPE_CHECKING:
    from bifrost.operations.token_count import TokenCountRequest
    from bifrost.providers.base import Built, Target
    from bifrost.wire.http import HttpResponse


class _Count(msgspec.Struct, rename="camel"):
    total_tokens: int | None = None
    cached_content_token_count: int | None = None
    prompt_tokens_details: list[ModalityCount] | None = None
    error: msgspec.Raw = msgspec.Raw(b"")


_COUNT = msgspec.json.Decoder(_Count, strict=False)


def build_count(request: TokenCountRequest, target: Target) -> Built:
    """Return the HTTP request for the number of tokens of a chat. Raises the errors of `build_chat`."""
    warnings = COUNT_TOKENS.check(request, target)
    chat, notes = chat_body(request.chat, target, CHAT)
    merge_extra(chat, request.extra, target)
    path = model_path(target)
    body: dict[str, Any] = chat if chat.keys() == {"contents"} else {"generateContentRequest": {"model": path, **chat}}
    return built(f"/v1beta/{path}:countTokens", body, [*warnings, *notes], request)


def parse_count(response: HttpResponse, target: Target) -> TokenCountResponse:
    """Return the number that a body contains.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = json.decode(response.body, _COUNT, what="the number of tokens")
    if bytes(wire.error) not in (b"", b"null"):
        raise reported_error(response.body)
    if wire.total_tokens is None:
        raise MalformedResponseError(f"the response has no number of tokens; {json.excerpt(response.body)}")
    kinds: dict[str, int] = {}
    for each in wire.prompt_tokens_details or ():
        kind = (each.modality or "other").lower()
        kinds[kind] = kinds.get(kind, 0) + (each.token_count or 0)
    return TokenCountResponse(
        input_tokens=wire.total_tokens,
        cached_tokens=wire.cached_content_token_count,
        tokens_by_kind=kinds,
        model=target.model,
        provider=target.provider,
        raw=response.body,
    )
