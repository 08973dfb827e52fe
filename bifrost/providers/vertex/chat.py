"""Chats with models of Google and of Anthropic, each in its own dialect.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/inference
https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from bifrost.providers.anthropic.answer import is_whole, parse_message
from bifrost.providers.anthropic.messages import chat_body as claude_body
from bifrost.providers.anthropic.stream import MessagesDecoder
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.answer import parse_response
from bifrost.providers.gemini.chat import built, chat_body, method_of
from bifrost.providers.gemini.stream import GeminiDecoder
from bifrost.providers.vertex.fields import CHAT
from bifrost.providers.vertex.settings import model_path, publisher_and_model

if TYPE_CHECKING:
    from bifrost.operations.chat.request import ChatRequest
    from bifrost.operations.chat.response import ChatResponse
    from bifrost.providers.base import Built, StreamDecoder, Target
    from bifrost.wire.http import HttpResponse

__all__ = ["build_chat", "decoder_of", "is_claude", "is_whole", "parse_chat"]

ANTHROPIC_VERSION: Final = "vertex-2023-10-16"

_TIER_HEADER = "x-vertex-ai-llm-shared-request-type"
_TIERS = ("flex", "priority")


def is_claude(model: str) -> bool:
    """Return whether a model is Anthropic's."""
    return publisher_and_model(model)[0] == "anthropic"


def build_chat(request: ChatRequest, target: Target) -> Built:
    """Return the HTTP request for a chat. Raises the errors of the dialect of the model."""
    return _claude(request, target) if is_claude(target.model) else _gemini(request, target)


def parse_chat(response: HttpResponse, target: Target) -> ChatResponse:
    """Return the response that a body contains. Raises the errors of the dialect of the model."""
    return (parse_message if is_claude(target.model) else parse_response)(response, target)


def decoder_of(target: Target) -> StreamDecoder[Any]:
    """Return the decoder of a new stream."""
    return MessagesDecoder(target) if is_claude(target.model) else GeminiDecoder(target)


def _gemini(request: ChatRequest, target: Target) -> Built:
    body, warnings = chat_body(request, target, CHAT)
    if request.metadata is not None:
        body["labels"] = dict(request.metadata)
    merge_extra(body, request.extra, target)
    tier = request.service_tier
    if tier not in {None, "auto", "default", "standard", *_TIERS}:
        warnings.append(CHAT.warning("service_tier", target, value=repr(tier)))
    made = built(model_path(target, method_of(target)), body, warnings, request)
    if tier in _TIERS:
        made.request.headers = {**made.request.headers, _TIER_HEADER: tier}
    return made


def _claude(request: ChatRequest, target: Target) -> Built:
    body, headers, warnings = claude_body(request, target)
    del body["model"]  # the path names it
    method = "streamRawPredict" if target.stream else "rawPredict"
    made = built(
        model_path(target, method, version="v1"), {"anthropic_version": ANTHROPIC_VERSION, **body}, warnings, request
    )
    made.request.headers = headers
    return made
