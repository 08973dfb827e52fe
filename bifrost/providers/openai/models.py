"""OpenAI's model list: https://platform.openai.com/docs/api-reference/models/list."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from bifrost.errors import MalformedResponseError
from bifrost.operations.models import ModelInfo, ModelsRequest, ModelsResponse
from bifrost.providers.base import Built
from bifrost.providers.openai.answer import decode_answer, seconds_of, text_of, whole_of
from bifrost.providers.openai.errors import reported_error
from bifrost.providers.openai.fields import MODELS
from bifrost.providers.sizes import MODELS_LIMIT, SPARSE, check_count
from bifrost.wire import json
from bifrost.wire.http import HttpRequest

if TYPE_CHECKING:
    from bifrost.providers.base import Target
    from bifrost.wire.http import HttpResponse


class _Model(msgspec.Struct):
    """A model. OpenAI has the first three fields only; the others belong to other servers."""

    id: Any = None
    created: Any = None
    owned_by: Any = None
    name: Any = None
    display_name: Any = None
    context_window: Any = None
    context_length: Any = None
    max_context_length: Any = None
    max_model_len: Any = None
    max_completion_tokens: Any = None


class _List(msgspec.Struct):
    data: list[_Model] | msgspec.UnsetType | None = msgspec.UNSET
    """A server without models may send null."""
    error: Any = None


_LIST: msgspec.json.Decoder[_List | list[_Model]] = msgspec.json.Decoder(_List | list[_Model])


def build_models(request: ModelsRequest, target: Target) -> Built:
    """Return the HTTP request for a list of models. OpenAI returns all models at once, so there are no pages."""
    warnings = MODELS.check(request, target)
    return Built(request=HttpRequest(method="GET", path="/models", source=request), warnings=warnings)


def parse_models(response: HttpResponse, target: Target) -> ModelsResponse:
    """Return the list of models in a body.

    Raises `ReportedError` for an error with a success status, and `MalformedResponseError`.
    """
    wire = decode_answer(response.body, _LIST, _List, sparse=SPARSE)
    if isinstance(wire, list):  # Together sends a list without an object around it.
        wire = _List(data=wire)
    if wire.data is msgspec.UNSET or (wire.error and not wire.data):
        raise (
            reported_error(response.body)
            or MalformedResponseError(f"the model list cannot be read: it has no data; {json.excerpt(response.body)}")
        )
    check_count(len(wire.data or ()), MODELS_LIMIT, what="models")
    models = [_model(model, target) for model in wire.data or () if text_of(model.id)]
    return ModelsResponse(data=models, provider=target.provider, raw=response.body)


def _model(model: _Model, target: Target) -> ModelInfo:
    # The names are those of Groq, OpenRouter and Together, Mistral, vLLM.
    windows = (model.context_window, model.context_length, model.max_context_length, model.max_model_len)
    return ModelInfo(
        id=text_of(model.id),
        provider=target.provider,
        name=text_of(model.name) or text_of(model.display_name) or None,
        created=seconds_of(model.created) or None,
        owned_by=text_of(model.owned_by) or None,
        context_window=next(filter(None, map(whole_of, windows)), None),
        max_output_tokens=whole_of(model.max_completion_tokens),
    )
