"""OpenAI's model list: https://platform.openai.com/docs/api-reference/models/list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.providers.base import Built
from bifrost.providers.openai.answer import decode_answer, seconds_of, text_of
from bifrost.providers.openai.errors import reported_error
from bifrost.schema.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct):
    id: Any = None
    created: Any = None
    owned_by: Any = None


class _List(msgspec.Struct):
    data: list[_Model] | None = None
    error: Any = None


_LIST = msgspec.json.Decoder(_List)


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Make the HTTP request of a model list. OpenAI gives all models at once, so there is no page to ask for."""
    warnings = [
        f"{name} was left out: {target.provider} gives all its models at once"
        for name in ("limit", "after")
        if getattr(request, name) is not None
    ]
    return Built(request=HttpRequest(method="GET", path="/models", source=request), warnings=warnings)


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Read a model list. Raises `ReportedError` for an error under a good status, `MalformedResponseError`."""
    wire = decode_answer(response.body, _LIST)
    if wire.data is None:
        raise (
            reported_error(response.body)
            or MalformedResponseError(f"the model list cannot be read: it has no data; {json.excerpt(response.body)}")
        )
    models = [_model(model, target) for model in wire.data if text_of(model.id)]
    return ModelsResponse(data=models, provider=target.provider, raw=response.body)


def _model(model: _Model, target: Target) -> ModelInfo:
    return ModelInfo(
        id=text_of(model.id),
        provider=target.provider,
        created=seconds_of(model.created) or None,
        owned_by=text_of(model.owned_by) or None,
    )
