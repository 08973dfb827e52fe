"""Vertex AI's token counting, for models of Google and of Anthropic.

https://cloud.google.com/vertex-ai/generative-ai/docs/model-reference/count-tokens
https://platform.claude.com/docs/en/build-with-claude/claude-on-vertex-ai
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from bifrost.providers.anthropic.fields import COUNT_TOKENS as CLAUDE_COUNT
from bifrost.providers.anthropic.messages import add_extra, messages_body
from bifrost.providers.anthropic.token_count import parse_count as parse_claude
from bifrost.providers.extra import merge_extra
from bifrost.providers.gemini.chat import built, chat_body
from bifrost.providers.gemini.token_count import parse_count as parse_gemini
from bifrost.providers.vertex.chat import ANTHROPIC_VERSION, is_claude
from bifrost.providers.vertex.fields import CHAT, COUNT_TOKENS
from bifrost.providers.vertex.settings import model_path, publisher_and_model

if TYPE_CHECKING:
    from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse
    from bifrost.providers.base import Built, Target
    from bifrost.wire.http import HttpResponse

__all__ = ["build_count", "parse_count"]


def build_count(request: TokenCountRequest, target: Target) -> Built:
    """Return the HTTP request for the number of tokens of a chat. Raises the errors of `build_chat`."""
    return _claude(request, target) if is_claude(target.model) else _gemini(request, target)


def parse_count(response: HttpResponse, target: Target) -> TokenCountResponse:
    """Return the number that a body contains. Raises the errors of the dialect of the model."""
    return (parse_claude if is_claude(target.model) else parse_gemini)(response, target)


def _gemini(request: TokenCountRequest, target: Target) -> Built:
    warnings = COUNT_TOKENS.check(request, target)
    body, notes = chat_body(request.chat.replace(tool_choice=None), target, CHAT)
    body.pop("toolConfig", None)  # not a field of this request
    merge_extra(body, request.extra, target)
    return built(model_path(target, "countTokens"), body, [*warnings, *notes], request)


def _claude(request: TokenCountRequest, target: Target) -> Built:
    warnings = CLAUDE_COUNT.check(request, target)
    body = messages_body(request.chat, target, warnings)
    headers = add_extra(body, request.extra, target)
    body = {"anthropic_version": ANTHROPIC_VERSION, **body, "model": publisher_and_model(target.model)[1]}
    counter = target.replace(model="publishers/anthropic/models/count-tokens")
    made = built(model_path(counter, "rawPredict", version="v1"), body, warnings, request)
    made.request.headers = headers
    return made
