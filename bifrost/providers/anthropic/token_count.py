"""Anthropic's token counting: https://platform.claude.com/docs/en/api/messages/count_tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.token_count import TokenCountResponse
from bifrost.providers.anthropic.errors import reported_error
from bifrost.providers.anthropic.fields import COUNT_TOKENS
from bifrost.providers.anthropic.messages import add_extra, messages_body
from bifrost.providers.base import Built
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.operations.token_count import TokenCountRequest
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Count(msgspec.Struct):
    type: str | None = None
    input_tokens: int | None = None


_COUNT = msgspec.json.Decoder(_Count, strict=False)


def build_count(request: TokenCountRequest, target: Target) -> Built:
    """Return the HTTP request for the number of tokens of a chat. Raises the errors of `build_messages`."""
    warnings = COUNT_TOKENS.check(request, target)
    body = messages_body(request.chat, target, warnings)
    headers = add_extra(body, request.extra, target)
    return Built(
        request=HttpRequest(
            method="POST", path="/v1/messages/count_tokens", headers=headers, body=json.encode(body), source=request
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


def parse_count(response: HttpResponse, target: Target) -> TokenCountResponse:
    """Return the number that a body contains.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError` for other content.
    """
    wire = json.decode(response.body, _COUNT, what="the number of tokens")
    if wire.type == "error":
        raise reported_error(response.body)
    if wire.input_tokens is None:
        raise MalformedResponseError(f"the response has no number of tokens; {json.excerpt(response.body)}")
    return TokenCountResponse(
        input_tokens=wire.input_tokens, model=target.model, provider=target.provider, raw=response.body
    )
