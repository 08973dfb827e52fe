"""InvokeModel, whose body is in the model's own format; its usage is in the header.

https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_InvokeModel.html
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bifrost.operations.usage import NO_USAGE, Usage
from bifrost.providers.bedrock.settings import model_path
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import Headers

_COUNT_LIMIT = 12
"""The most digits of a count."""


def invoke_request(body: dict[str, Any], target: Target, *, source: object) -> HttpRequest:
    """Return the HTTP request that invokes a model with a body in its own format."""
    return HttpRequest(
        method="POST",
        path=model_path(target, "invoke"),
        headers={"content-type": "application/json"},
        body=json.encode(body),
        source=source,
    )


def invoked_usage(headers: Headers) -> Usage:
    """Return the usage that the header fields of a response report."""
    count = _count(headers, "x-amzn-bedrock-input-token-count")
    output = _count(headers, "x-amzn-bedrock-output-token-count")
    return Usage(input_tokens=count, output_tokens=output) if count or output else NO_USAGE


def _count(headers: Headers, name: str) -> int:
    text = (headers.get(name) or "").strip()
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= _COUNT_LIMIT else 0
