"""Bedrock's token counting: https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_CountTokens.html."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.token_count import TokenCountResponse
from bifrost.providers.base import Built
from bifrost.providers.bedrock.converse import converse_input
from bifrost.providers.bedrock.errors import reported_error
from bifrost.providers.bedrock.fields import COUNT_TOKENS
from bifrost.providers.bedrock.settings import action_path
from bifrost.providers.extra import merge_extra
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.operations.token_count import TokenCountRequest
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse

_PLACE = re.compile(r"(?:us|us-gov|eu|apac|jp|au|ca|global)\.(?=[a-z0-9-]{1,63}\.)")
"""The part of an inference profile's id that says where it routes. Only models have token counts, and not profiles."""

_NOT_READ = frozenset(
    {
        *("inferenceConfig", "outputConfig", "guardrailConfig", "performanceConfig", "serviceTier"),
        *("requestMetadata", "promptVariables", "additionalModelResponseFieldPaths"),
    }
)
"""Fields of Converse that CountTokens does not have."""


class _Count(msgspec.Struct):
    inputTokens: int | None = None  # noqa: N815 - the name on the wire


_COUNT = msgspec.json.Decoder(_Count, strict=False)


def build_count(request: TokenCountRequest, target: Target) -> Built:
    """Return the HTTP request for the number of tokens of a chat. Raises the errors of `build_converse`."""
    warnings = COUNT_TOKENS.check(request, target)
    chat: dict[str, Any] = converse_input(request.chat, target, warnings)
    own = (request.extra or {}).get(target.provider) or {}
    merge_extra(chat, {target.provider: {name: own[name] for name in own if name not in _NOT_READ}}, target)
    return Built(
        request=HttpRequest(
            method="POST",
            path=action_path(_model_of(target.model), "count-tokens", target),
            headers={"content-type": "application/json"},
            body=json.encode({"input": {"converse": chat}}),
            source=request,
        ),
        warnings=list(dict.fromkeys(warnings)),
    )


def _model_of(model: str) -> str:
    """Return the id of a model without the region of an inference profile."""
    found = _PLACE.match(model)
    return model if found is None else model[found.end() :]


def parse_count(response: HttpResponse, target: Target) -> TokenCountResponse:
    """Return the number that a body contains.

    Raises `ReportedError` for an exception with a success status, and `MalformedResponseError` for other content.
    """
    count = json.decode(response.body, _COUNT, what="the number of tokens").inputTokens
    if count is None:
        raise reported_error(response.body) or MalformedResponseError(
            f"the response has no number of tokens; {json.excerpt(response.body)}"
        )
    return TokenCountResponse(input_tokens=count, model=target.model, provider=target.provider, raw=response.body)
